"""What the numbers of a patch mean: which bands, in which type, units and order, and which number means nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

DType = Literal["uint8", "uint16", "int16", "float32"]
"""What a store keeps, and what a model takes."""
DTYPES: tuple[DType, ...] = ("uint8", "uint16", "int16", "float32")
BRIGHTNESS, REFLECTANCE, UNKNOWN = "brightness", "reflectance", "unknown"
"""Units: of pictures for people, 0 to 1; of surfaces or the top of the atmosphere, 0 to about 1; not said."""
RGB_NAMES = ("red", "green", "blue")
MOST = 1000
"""Bands, which is more than any sensor has."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class BandSpec:
    """The bands of a store, of a batch, or that a model was trained on.

    A stored number x of band i stands for `x * scale[i] + offset[i]`, in `units`.

    Attributes:
        names: C different ones, in the order of the array's last axis.
        dtype: of the array.
        scale: C factors, above 0.
        offset: C summands.
        nodata: the stored number that means that there is nothing, NaN included; None: there is none.
        units: "brightness", "reflectance", "unknown", or any other name such as "dB".
        gsd: ground sampling distance in metres; None: not known.
    """

    names: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MOST)]
    dtype: DType
    scale: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...]
    offset: tuple[Finite, ...]
    nodata: float | None = None
    units: Annotated[str, Field(min_length=1, max_length=40)] = UNKNOWN
    gsd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    def __post_init__(self) -> None:
        if self.nodata is not None and math.isnan(self.nodata):
            object.__setattr__(self, "nodata", math.nan)  # one and the same object: two such specs are equal
        if len(set(self.names)) < len(self.names):
            raise ValueError("names contains a band twice")
        if not len(self.scale) == len(self.offset) == len(self.names):
            raise ValueError("names, scale and offset have different lengths")

    def __len__(self) -> int:
        """C, how many bands."""
        return len(self.names)

    @classmethod
    def pictures(cls, names: Sequence[str] = RGB_NAMES) -> Self:
        """Of 8-bit images: brightness 0 to 1, which 255 stands for."""
        count = len(names)
        return cls(names=tuple(names), dtype="uint8", scale=(1 / 255,) * count, offset=(0.0,) * count, units=BRIGHTNESS)

    @classmethod
    def from_dict(cls, stored: Any) -> Self:
        """What `to_dict` gave.

        Raises:
            ValueError: a key is unknown or missing, or a value makes no bands; in one line.
        """
        try:
            spec: Self = TypeAdapter(cls).validate_python(stored)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"bands{'.' + where if where else ''}: {first['msg']}") from None
        return spec

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `nodata` may be the text "nan", which JSON has no number for."""
        stored = asdict(self)
        if self.nodata is not None and math.isnan(self.nodata):
            stored["nodata"] = "nan"
        return stored

    def take(self, names: Sequence[str]) -> Self:
        """The spec of some of the bands, in this order.

        Raises:
            ValueError: there is no band of that name, or one stands twice.
        """
        if absent := [name for name in names if name not in self.names]:
            raise ValueError(f"there is no band {absent[0]!r} among {', '.join(self.names)}")
        where = [self.names.index(name) for name in names]
        scale, offset = (tuple(values[i] for i in where) for values in (self.scale, self.offset))
        return type(self)(tuple(names), self.dtype, scale, offset, self.nodata, self.units, self.gsd)
