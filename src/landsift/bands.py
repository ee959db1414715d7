"""What the numbers of a patch mean: which bands, in which type, units and order, and which number means nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

DType = Literal["uint8", "uint16", "int16", "float32"]
"""What a store keeps, and what a model takes."""
DTYPES: tuple[DType, ...] = ("uint8", "uint16", "int16", "float32")
BRIGHTNESS, REFLECTANCE, UNKNOWN = "brightness", "reflectance", "unknown"
"""Units: of pictures for people, 0 to 1; of surfaces or the top of the atmosphere, 0 to about 1; not said."""
PLAUSIBLE = (-1.0, 5.0)
"""Mean reflectance of a band, outside of which scale or offset are wrong: snow and clouds reach 1.5."""
RGB_NAMES = ("red", "green", "blue")
MOST = 1000
"""Bands, which is more than any sensor has."""
SMALLEST, LARGEST = 1e-30, 1e30
"""Of scales, and of offsets the largest: float32, which networks compute in, holds what comes out."""

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
        elif self.nodata is not None and self.dtype == "float32" and self.takes_nodata:
            object.__setattr__(self, "nodata", float(np.float32(self.nodata)))  # as it stands in the array
        if len(set(self.names)) < len(self.names):
            raise ValueError("names contains a band twice")
        if not len(self.scale) == len(self.offset) == len(self.names):
            raise ValueError("names, scale and offset have different lengths")
        if not all(SMALLEST <= scale <= LARGEST for scale in self.scale):
            raise ValueError(f"a scale is not between {SMALLEST:g} and {LARGEST:g}")
        if not all(abs(offset) <= LARGEST for offset in self.offset):
            raise ValueError(f"an offset is above {LARGEST:g}")

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
        """Plain values for JSON; `nodata` may be the text "nan", "inf" or "-inf", which JSON has no number for."""
        stored = asdict(self)
        if self.nodata is not None and not math.isfinite(self.nodata):
            stored["nodata"] = str(self.nodata)
        return stored

    @cached_property
    def numpy_dtype(self) -> np.dtype[Any]:
        """NumPy's type of the stored numbers, in this machine's byte order."""
        return np.dtype(self.dtype)

    @property
    def is_rgb8(self) -> bool:
        """Whether these are 8-bit red, green and blue, which images for people hold; whatever their pixels' size."""
        return replace(self, gsd=None) == BandSpec.pictures()

    @property
    def divisors(self) -> tuple[float, ...]:
        """What stored numbers are divided by: 1 / scale, whole where a whole number is meant (255; 10,000)."""
        return tuple(_whole(1.0 / scale) for scale in self.scale)

    @property
    def takes_nodata(self) -> bool:
        """Whether a number of this type can be `nodata`; true where there is none."""
        if self.nodata is None:
            return True
        if self.dtype == "float32":
            with np.errstate(over="ignore"):
                return not math.isfinite(self.nodata) or bool(np.isfinite(np.float32(self.nodata)))
        limits = np.iinfo(self.numpy_dtype)
        return bool(float(self.nodata).is_integer() and limits.min <= self.nodata <= limits.max)

    def missing(self, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Where stored numbers, of any shape, are `nodata`; None where there is no such number."""
        if self.nodata is None or not self.takes_nodata:
            return None
        found: NDArray[np.bool_] = (
            np.isnan(stored) if math.isnan(self.nodata) else stored == self.numpy_dtype.type(self.nodata)
        )
        return found

    def __str__(self) -> str:
        """In a line for people."""
        names = self.names if len(self) <= SOME else (*self.names[: SOME - 1], "…", self.names[-1])
        text = f"{self.dtype}, {len(self)} {'band' if len(self) == 1 else 'bands'} ({', '.join(names)}), {self.units}"
        if len({*self.scale}) == len({*self.offset}) == 1 and (self.scale[0], self.offset[0]) != (1.0, 0.0):
            offset = f" {'-' if self.offset[0] < 0 else '+'} {abs(self.offset[0]):g}" if self.offset[0] else ""
            text += f" = {self.scale[0]:.6g} x{offset}"
        return text if self.nodata is None else f"{text}, nodata {self.nodata:g}"

    def differences(self, other: BandSpec) -> list[str]:
        """In what other patches' numbers mean another thing than these, a text for each; their size in metres is none.

        Args:
            other: what is compared.

        Returns:
            Such as "scale is 1, not 0.0001".
        """
        if self.names != other.names:
            return [f"bands are {_some(other.names)}, not {_some(self.names)}"]
        found = []
        for name in ("dtype", "scale", "offset", "nodata", "units"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours == theirs or repr(ours) == repr(theirs):
                continue
            if isinstance(ours, tuple):
                at = next(i for i in range(len(self)) if ours[i] != theirs[i])
                alike = len({*ours}) == len({*theirs}) == 1
                of = "" if alike else f" of {self.names[at]}"
                found.append(f"{name}{of} is {theirs[at]:.6g}, not {ours[at]:.6g}")
            else:
                found.append(f"{name} is {_said(theirs)}, not {_said(ours)}")
        return found

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


SOME = 6
"""Bands that are named in a line."""


def _some(names: Sequence[str]) -> str:
    text = ", ".join(names[:SOME])
    return text if len(names) <= SOME else f"{text}, … ({len(names)})"


def _said(value: float | str | None) -> str:
    return "none" if value is None else value if isinstance(value, str) else f"{value:g}"


def _whole(value: float) -> float:
    """The value, or the whole number that it is meant to be."""
    nearest = float(round(value))
    return nearest if nearest and math.isclose(value, nearest, rel_tol=1e-12) else value
