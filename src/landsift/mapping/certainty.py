"""How certain a map is: the mean confidence of each class, and its least certain places."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landsift.mapping.classes import NO_DATA
from landsift.mapping.map_file import blocks, read_classes, read_confidence
from landsift.mapping.map_info import MapInfo

PARTS = 16
"""Of each side of a map: the least certain cell of each part may be among the places, so that they are not all in one
field."""


@dataclass(frozen=True)
class Uncertain:
    """A cell of a map of which the class is least certain.

    Attributes:
        row: of the map.
        column: of the map.
        code: its class.
        confidence: 0 to 1.
        x: of its centre, in the map's CRS.
        y: of its centre.
        longitude: of its centre, in degrees (WGS 84); NaN where the map has no place.
        latitude: of its centre.
    """

    row: int
    column: int
    code: int
    confidence: float
    x: float
    y: float
    longitude: float
    latitude: float


@dataclass(frozen=True)
class Certainty:
    """How certain a map is.

    Attributes:
        mean: confidence of each code, float64 [K + 1]; NaN where it has no cells.
        places: the least certain cells.
    """

    mean: NDArray[np.float64]
    places: tuple[Uncertain, ...]


def certainty(info: MapInfo, count: int = 20) -> Certainty | None:
    """Go through a map in blocks of rows; None where it has no confidences.

    Args:
        info: of the map.
        count: places at most, the least certain first.

    Raises:
        DataError: the file cannot be read.
    """
    if info.confidence_band is None:
        return None
    height, width = info.grid.shape
    high, wide = math.ceil(height / PARTS), math.ceil(width / PARTS)
    sums, cells = np.zeros(len(info.classes) + 1), np.zeros(len(info.classes) + 1)
    lowest: dict[tuple[int, int], tuple[float, int, int, int]] = {}
    for rows in blocks(info):
        codes, confidence = read_classes(info, rows), read_confidence(info, rows)
        assert confidence is not None
        sums += np.bincount(codes.ravel(), confidence.ravel(), minlength=len(sums))
        cells += np.bincount(codes.ravel(), minlength=len(sums))
        shown = np.where(codes == NO_DATA, np.inf, confidence)
        for top in range(rows.start - rows.start % high, rows.stop, high):
            first, last = max(top, rows.start) - rows.start, min(top + high, rows.stop) - rows.start
            for left in range(0, width, wide):
                part = shown[first:last, left : left + wide]
                row, column = np.unravel_index(part.argmin(), part.shape)
                value = float(part[row, column])
                where = (rows.start + first + int(row), left + int(column))
                found = (value, *where, int(codes[first + row, left + column]))
                key = (top // high, left // wide)
                if math.isfinite(value) and (key not in lowest or found < lowest[key]):
                    lowest[key] = found
    cells[NO_DATA] = 0
    mean = np.divide(sums, cells, out=np.full(len(sums), np.nan), where=cells > 0)
    return Certainty(mean, _places(info, sorted(lowest.values())[:count]))


def _places(info: MapInfo, found: list[tuple[float, int, int, int]]) -> tuple[Uncertain, ...]:
    affine = info.grid.affine
    centres = [
        (affine.a * (c + 0.5) + affine.b * (r + 0.5) + affine.c, affine.d * (c + 0.5) + affine.e * (r + 0.5) + affine.f)
        for _, r, c, _ in found
    ]
    degrees = [(math.nan, math.nan)] * len(found)
    if info.grid.crs is not None and found:
        from pyproj import Transformer
        from pyproj.exceptions import ProjError

        try:
            to_degrees = Transformer.from_crs(info.grid.crs.to_wkt(), "EPSG:4326", always_xy=True)
            degrees = [to_degrees.transform(x, y) for x, y in centres]
        except ProjError:  # of no place on Earth
            pass
    return tuple(
        Uncertain(row, column, code, value, *centre, *place)
        for (value, row, column, code), centre, place in zip(found, centres, degrees, strict=True)
    )
