"""How a sample was drawn from a map: its strata and what was drawn, kept beside the points and apart from them.

Whoever labels the points must not see what the map says of them, so POINTS.gpkg or POINTS.csv has none of it, and
POINTS.design.json all.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.errors import DataError, RunError
from landsift.runtime.whole import write_whole
from landsift.version import __version__

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = 1
ENDING, PAGE, LABELLED = ".design.json", ".label.html", ".labelled.csv"
"""Of what lies beside a file of points: the design, the page to label them, and what that page saves."""
_DOWNLOADED = re.compile(r"\.labelled( ?\(\d+\))?$")
"""Of the name of a saved file, as browsers number a second one."""
REFERENCE, NOTE = "reference", "note"
LAYER = "points"
_NO_DESIGN = "put it beside them or give --design FILE; without one, draw points with landsift sample"
WHY = (
    "areas need a probability sample of the map: the chances of a run's test patches, or of points chosen by hand, to "
    "be in the sample are not known"
)


@dataclass(frozen=True)
class Stratum:
    """A part of a map of which cells were drawn with equal chance.

    Attributes:
        name: of the class of the map, or of the raster of strata.
        cells: with data.
        hectares: of them.
        points: that were drawn.
        expected: the accuracy that was expected of it, 0..1.
    """

    name: str
    cells: int
    hectares: float
    points: int
    expected: float


@dataclass(frozen=True)
class MappedClass:
    """A class of the map: its cells, and the hectares of them."""

    name: str
    cells: int
    hectares: float


@dataclass(frozen=True)
class DrawnPoint:
    """A drawn cell: the point's number, row and column, stratum, class in the map and hectares."""

    id: int
    row: int
    col: int
    stratum: str
    mapped: str
    hectares: float


@dataclass(frozen=True)
class SampleDesign:
    """How a sample was drawn.

    Attributes:
        map: name of the map's file.
        fingerprint: of the map's cells and classes.
        when: date of the map's scene, ISO 8601; None: not known.
        crs: of the map, as WKT.
        transform: of its grid, 6 numbers from a to f.
        strata_from: the file of the strata; None: the map's classes, or the whole map.
        allocation: how points were given to strata.
        seed: of the draw.
        classes: of the map, in its order.
        strata: those that have cells.
        points: in the order of their numbers.
    """

    map: str
    fingerprint: str
    when: str | None
    crs: str
    transform: tuple[float, ...]
    strata_from: str | None
    allocation: str
    seed: int
    classes: tuple[MappedClass, ...]
    strata: tuple[Stratum, ...]
    points: tuple[DrawnPoint, ...]

    def table(self) -> DataFrame:
        """The points for whoever labels them: `id`, `lon`, `lat` (degrees), `x`, `y`, and empty `reference`, `note`."""
        import pandas as pd
        from pyproj import CRS, Transformer

        a, b, c, d, e, f = self.transform
        col, row = (np.array([getattr(point, name) + 0.5 for point in self.points]) for name in ("col", "row"))
        x, y = a * col + b * row + c, d * col + e * row + f
        lon, lat = Transformer.from_crs(CRS(self.crs), 4326, always_xy=True).transform(x, y)
        degrees = {"lon": np.round(lon, 7), "lat": np.round(lat, 7)}
        return pd.DataFrame(
            {"id": [point.id for point in self.points], **degrees, "x": x, "y": y, REFERENCE: "", NOTE: ""}
        )

    @property
    def key(self) -> str:
        """What tells this sample from others: hash of the map's fingerprint and of which cells were drawn."""
        drawn = [[point.id, point.row, point.col] for point in self.points]
        return _digest({"map": self.fingerprint, "points": drawn})[:16]

    def to_json(self) -> dict[str, Any]:
        """As the file holds it, with the digest of all else."""
        values = {"format": FORMAT, "landsift": __version__, **asdict(self)}
        values["points"] = [list(asdict(point).values()) for point in self.points]
        values = dict(json.loads(json.dumps(values)))
        return values | {"digest": _digest(values)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SampleDesign:
        """What `to_json` described; raises ValueError, KeyError or TypeError where it is not that."""
        rest = {key: value for key, value in values.items() if key != "digest"}
        if values["digest"] != _digest(rest):
            raise ValueError("its content was changed")
        known = {key: rest[key] for key in cls.__dataclass_fields__}
        return cls(
            **known
            | {
                "transform": tuple(known["transform"]),
                "classes": tuple(MappedClass(**each) for each in known["classes"]),
                "strata": tuple(Stratum(**each) for each in known["strata"]),
                "points": tuple(DrawnPoint(*each) for each in known["points"]),
            }
        )


def design_path(points: Path) -> Path:
    """Where the design of a file of points lies: beside it, POINTS.design.json; also that of POINTS.labelled.csv."""
    return points.with_name(_DOWNLOADED.sub("", points.stem) + ENDING)


def page_path(points: Path) -> Path:
    """Where the page to label a file of points lies."""
    return points.with_name(points.stem + PAGE)


def check_new(points: Path) -> None:
    """Refuse to replace points, which may have been labelled.

    Raises:
        RunError: they or a design are there.
    """
    for path in (points, design_path(points)):
        if path.exists():
            raise RunError(f"{path} is there, and labels in it would be lost", "give --out another name, or delete it")


def write_sample(design: SampleDesign, points: Path) -> None:
    """Write the points as .csv or .gpkg, and their design beside them.

    Raises:
        DataError: `points` ends in neither.
        RunError: they cannot be written, or are there already.
    """
    import geopandas as gpd

    check_new(points)
    table = design.table()
    ending = points.suffix.lower()
    if ending not in (".csv", ".gpkg"):
        raise DataError(f"{points} is neither .csv nor .gpkg", "give --out a name that ends in one of them")
    beside = design_path(points)
    text = json.dumps(design.to_json(), ensure_ascii=False, indent=1) + "\n"
    write_whole(beside, lambda path: path.write_text(text, encoding="utf-8"))
    try:
        if ending == ".csv":
            write_whole(points, lambda path: table.to_csv(path, index=False))
        else:
            placed = gpd.GeoDataFrame(table, geometry=gpd.points_from_xy(table["x"], table["y"]), crs=design.crs)
            with warnings.catch_warnings():  # GDAL's, of a name that does not end in .gpkg yet
                warnings.simplefilter("ignore", RuntimeWarning)
                write_whole(points, lambda path: placed.to_file(path, driver="GPKG", layer=LAYER, engine="pyogrio"))
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def read_design(path: Path, points: Path) -> SampleDesign:
    """Read the design of a file of points.

    Raises:
        DataError: it is not there, is damaged, or was changed.
    """
    if not path.is_file():
        what = f"there is no design at {path}" if path != design_path(points) else f"no design beside it, {path.name}"
        raise DataError(f"{points}: {what}: {WHY}", _NO_DESIGN)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] > FORMAT:
            raise DataError(f"{path} is of landsift {values['landsift']}, which is newer", "update landsift")
        return SampleDesign.from_json(values)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{path} is damaged, or was changed since landsift sample wrote it", "give the file as it was written"
        ) from None


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
