"""What a file says of its bands, before anybody says which of them are wanted."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

from landsift.bands import RGB_NAMES
from landsift.data.decoding.unreadable import Cause, Reason


class Place(NamedTuple):
    """Where a patch lies; NaN where a file does not tell."""

    lon: float = math.nan
    """Longitude of its centre in degrees, WGS 84: of the middle of the pixel in row H // 2 and column W // 2."""
    lat: float = math.nan
    gsd: float = math.nan
    """Ground sampling distance in metres."""

    @property
    def known(self) -> bool:
        """Whether the file tells."""
        return not math.isnan(self.lon)


NOWHERE = Place()


@dataclass(frozen=True)
class FileBands:
    """What is the same for all files that were made in the same way.

    Attributes:
        dtype: numpy's name of the type of all bands.
        names: of C bands, as far as the file describes them.
        scale, offset: C factors and summands each; None where the file says none.
        nodata: of all bands; None: none is declared.
        units: of all bands; "" where the file does not say.
        masked: whether a mask lies in the file or beside it.
        alpha: position of the alpha band; None: there is none.
        add_offset: Sentinel-2's BOA_ADD_OFFSET or RADIO_ADD_OFFSET: what is added to the numbers before scaling.
        quantification: Sentinel-2's quantification value, which numbers are divided by.
        baseline: Sentinel-2's processing baseline, such as "05.09"; "" where the file does not say.
        pillow: whether Pillow reads it: a picture of 8 bits, which is stored as RGB.
        picture: whether it is red, green and blue of 8 bits, whoever reads it.
        unread: what is said where nobody says which bands these are; None: the file itself does.
    """

    dtype: str
    names: tuple[str | None, ...]
    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    nodata: float | None = None
    units: str = ""
    masked: bool = False
    alpha: int | None = None
    add_offset: float | None = None
    quantification: float | None = None
    baseline: str = ""
    pillow: bool = False
    picture: bool = False
    unread: str | None = None

    def __post_init__(self) -> None:
        if self.nodata is not None and math.isnan(self.nodata):
            object.__setattr__(self, "nodata", math.nan)  # one and the same object: two such are equal

    def __len__(self) -> int:
        return len(self.names)

    @property
    def colours(self) -> tuple[int, ...]:
        """Positions of the bands that are not alpha."""
        return tuple(i for i in range(len(self)) if i != self.alpha)

    @property
    def named(self) -> bool:
        """Whether the file names all its bands, each differently."""
        names = [self.names[i] for i in self.colours]
        return all(names) and len(set(names)) == len(names)

    @property
    def half_named(self) -> str:
        """What is said of names that are passed over; "" where all bands have their own, or none has any."""
        names = [self.names[i] for i in self.colours]
        if self.named or not any(names):
            return ""
        if not all(names):
            return f" with names for {len(names) - names.count(None)} of them alone"
        twice = next(name for name in names if names.count(name) > 1)
        return f", two of them called {twice}"

    @property
    def reason(self) -> Reason:
        """Why the bands cannot be read as they are, where nobody says which these are."""
        many = said(len(self.colours), self.dtype)
        if self.half_named:
            return Reason(many + self.half_named, Cause.UNNAMED)
        return Reason(self.unread or f"{many} without names", Cause.UNNAMED)

    def to_json(self) -> str:
        """Text that `from_json` reads."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote."""
        stored: dict[str, Any] = json.loads(text)
        for name in ("names", "scale", "offset"):
            stored[name] = None if stored[name] is None else tuple(stored[name])
        return cls(**stored)


def said(bands: int, dtype: str) -> str:
    """A number of bands in words: "13 bands of uint16"."""
    return f"{bands} band{'s' if bands != 1 else ''} of {dtype}"


PICTURE = FileBands("uint8", RGB_NAMES, pillow=True, picture=True)
"""Of what Pillow reads."""


class Seen(NamedTuple):
    """What one look at a file tells."""

    size: tuple[int, int]
    """Height and width in pixels."""
    bands: FileBands = PICTURE
    place: Place = NOWHERE
    notes: tuple[str, ...] = ()
    """What is to be said of how it is read."""
    beside: str = ""
    """Hash of the files that belong to it; empty where it stands alone."""
