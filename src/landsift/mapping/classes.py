"""The table of a map's classes: colours, names and codes of everything that shows the map come from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from landsift.errors import DataError
from landsift.palette import class_colours

NO_DATA = 0
"""The code of cells without a class."""
NO_DATA_NAME = "no data"
MOST = 65_534
"""Classes that 16 bits hold beside no data; the last value is kept free."""


@dataclass(frozen=True)
class MapClass:
    """A class of a map.

    Attributes:
        code: its value in `read_classes`, from 1.
        name: as people wrote it.
        colour: `#rrggbb`.
    """

    code: int
    name: str
    colour: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour in 0..255."""
        red, green, blue = (int(self.colour[i : i + 2], 16) for i in (1, 3, 5))
        return red, green, blue


@dataclass(frozen=True)
class ClassTable:
    """The classes of a map in the order of their codes, 1 to K.

    Raises:
        DataError: there is none, there are too many, or two have one name.
    """

    classes: tuple[MapClass, ...]

    def __post_init__(self) -> None:
        names = self.names
        if not names:
            raise DataError("a map without classes", "give the names of its classes")
        if len(names) > MOST:
            raise DataError(f"{len(names):,} classes are more than a map holds, {MOST:,}", "join some of them")
        if double := sorted({name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else ()):
            raise DataError(f"two classes of a map are called {double[0]!r}", "give each a name of its own")
        if [each.code for each in self.classes] != list(range(1, len(names) + 1)):
            raise DataError("the codes of a map's classes are not 1, 2, 3, ...", "number them in their order")

    @classmethod
    def of(cls, names: Sequence[str], colours: Mapping[str, str] | None = None) -> ClassTable:
        """Classes in this order, with colours of the palette where none are given (`#rrggbb`, by name)."""
        found = class_colours(names) | dict(colours or {})
        return cls(tuple(MapClass(code, name, found[name]) for code, name in enumerate(names, start=1)))

    @classmethod
    def from_json(cls, rows: Iterable[Mapping[str, Any]]) -> ClassTable:
        """The table that `to_json` described."""
        return cls(tuple(MapClass(int(row["code"]), str(row["name"]), str(row["colour"])) for row in rows))

    def to_json(self) -> list[dict[str, Any]]:
        """The table as JSON holds it."""
        return [{"code": each.code, "name": each.name, "colour": each.colour} for each in self.classes]

    @property
    def names(self) -> tuple[str, ...]:
        """The names, K."""
        return tuple(each.name for each in self.classes)

    @property
    def codes(self) -> tuple[int, ...]:
        """The codes, 1 to K."""
        return tuple(each.code for each in self.classes)

    @property
    def dtype(self) -> str:
        """The type of the raster's values that holds all codes."""
        return "uint8" if len(self) <= 255 else "uint16"

    def name(self, code: int) -> str:
        """The name of a code, that of no data included."""
        return self.classes[code - 1].name if code != NO_DATA else NO_DATA_NAME

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[MapClass]:
        return iter(self.classes)

    def __getitem__(self, position: int) -> MapClass:
        return self.classes[position]
