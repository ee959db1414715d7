"""MapLibre GL JS as a page carries it, and the plane on which maps lie there.

The Python package `maplibre` holds MapLibre's script and style sheet (3-clause BSD licence, which the script names).
It is not imported, because it imports what pages do not need.

MapLibre knows one projection, Mercator's. A map of any CRS is laid around the point 0, 0 as a plane: near it Mercator's
plane is even, and its corners are placed by the exact formula, so that the map appears as it is in its CRS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift.extras import needs
from landsift.mapping.cell_areas import SQUARE_METRES, cell_areas

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; worker-src blob:"
)
"""What a page with a map may do: nothing with the network; MapLibre starts its workers from the page itself."""
_SPAN = 1 / 64
"""Of the longer side of a map, in units of Mercator's plane, of which 1 is the Earth."""


@cache
def script() -> str:
    """MapLibre's JavaScript, about 0.9 MB.

    Raises:
        MissingExtraError: the package is not installed.
    """
    return _text("maplibre-gl.js")


@cache
def style() -> str:
    """MapLibre's style sheet.

    Raises:
        MissingExtraError: the package is not installed.
    """
    return _text("maplibre-gl.css")


def _text(name: str) -> str:
    needs("maplibre", extra="maps", what="a page with a map")
    spec = find_spec("maplibre")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return (Path(spec.submodule_search_locations[0]) / "srcjs" / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Plane:
    """Where a map lies on MapLibre's plane.

    Attributes:
        scale: units of the plane in a unit of the CRS.
        squeeze: of the first axis: degrees of longitude are shorter than those of latitude.
        x: of the map's centre in its CRS.
        y: of the map's centre.
        metres: on the ground in a unit of the plane, at the map's centre; None: not known.
    """

    scale: float
    squeeze: float
    x: float
    y: float
    metres: float | None

    @classmethod
    def of(cls, grid: GeoBox) -> Plane:
        """The plane of a map's grid."""
        affine, (height, width) = grid.affine, grid.shape
        x, y = _at(affine, width / 2, height / 2)
        squeeze = 1.0
        if grid.crs is not None and grid.crs.geographic:
            squeeze = max(0.01, math.cos(math.radians(min(90.0, abs(y)))))
        corners = [_at(affine, column, row) for column in (0, width) for row in (0, height)]
        wide = (max(c[0] for c in corners) - min(c[0] for c in corners)) * squeeze
        high = max(c[1] for c in corners) - min(c[1] for c in corners)
        scale = _SPAN / max(wide, high)
        metres = None
        if grid.crs is not None and not (grid.crs.geographic and (affine.b or affine.d)):
            cell = abs(affine.determinant) * squeeze * scale**2
            metres = math.sqrt(cell_areas(grid)[grid.height // 2] * SQUARE_METRES / cell)
        return cls(scale, squeeze, x, y, metres)

    def mercator(self, x: float, y: float) -> tuple[float, float]:
        """Coordinates of the map's CRS on the plane, of which 0, 0 is the north-west corner and 1, 1 the other."""
        return 0.5 + (x - self.x) * self.squeeze * self.scale, 0.5 - (y - self.y) * self.scale

    def degrees(self, x: float, y: float) -> tuple[float, float]:
        """Longitude and latitude that MapLibre shows at that place of the plane."""
        east, south = self.mercator(x, y)
        return 360 * east - 180, math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * south))))

    def corners(self, grid: GeoBox) -> list[tuple[float, float]]:
        """The corners of a picture with this grid, as MapLibre wants them: the first pixel's, then clockwise."""
        height, width = grid.shape
        ends = ((0, 0), (width, 0), (width, height), (0, height))
        return [self.degrees(*_at(grid.affine, *end)) for end in ends]

    def pixels(self, grid: GeoBox) -> list[float]:
        """The affine transform from the plane to columns and rows of a grid: a, b, c, d, e, f."""
        a = grid.affine
        origin, right, down = (self.mercator(*_at(a, *end)) for end in ((0, 0), (1, 0), (0, 1)))
        m = ((right[0] - origin[0], down[0] - origin[0]), (right[1] - origin[1], down[1] - origin[1]))
        det = m[0][0] * m[1][1] - m[0][1] * m[1][0]
        inverse = (m[1][1] / det, -m[0][1] / det, -m[1][0] / det, m[0][0] / det)
        c = -(inverse[0] * origin[0] + inverse[1] * origin[1])
        f = -(inverse[2] * origin[0] + inverse[3] * origin[1])
        return [inverse[0], inverse[1], c, inverse[2], inverse[3], f]

    def cell(self, grid: GeoBox) -> float:
        """Side of a cell on the plane, about."""
        return math.sqrt(abs(grid.affine.determinant) * self.squeeze) * self.scale


def _at(affine: Any, column: float, row: float) -> tuple[float, float]:
    return affine.a * column + affine.b * row + affine.c, affine.d * column + affine.e * row + affine.f
