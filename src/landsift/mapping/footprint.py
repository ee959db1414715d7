"""The outline of a map in longitude and latitude, also across the antimeridian and around a pole (RFC 7946)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

_POINTS = 20
"""Of each side, as straight lines of a projection are curves in degrees."""


def footprint_of(grid: GeoBox) -> tuple[dict[str, Any] | None, list[float] | None]:
    """Outline (GeoJSON) and bounding box of a grid in WGS 84; None where it has no place on Earth.

    A grid that crosses the antimeridian has two polygons, and a box whose west is east of its east. Around a pole the
    outline is the cap that holds the grid.
    """
    from pyproj import Transformer
    from pyproj.exceptions import ProjError
    from shapely import Polygon, box
    from shapely.affinity import translate
    from shapely.geometry import MultiPolygon, mapping

    if grid.crs is None:
        return None, None
    try:
        to_degrees = Transformer.from_crs(grid.crs.to_wkt(), "EPSG:4326", always_xy=True)
        longitude, latitude = map(np.asarray, to_degrees.transform(*_outline(grid)))
    except ProjError:
        return None, None
    if not (np.isfinite(longitude).all() and np.isfinite(latitude).all()):
        return None, None
    unrolled = np.unwrap(longitude, period=360)
    if abs(unrolled[-1] - unrolled[0]) > 180:  # it goes round a pole
        south, north = (-90.0, latitude.max()) if latitude.mean() < 0 else (latitude.min(), 90.0)
        return mapping(box(-180, south, 180, north)), [-180.0, float(south), 180.0, float(north)]
    unrolled -= 360 * np.floor((unrolled.mean() + 180) / 360)
    outline = Polygon(zip(unrolled, latitude, strict=True))
    parts = [
        translate(outline.intersection(box(180 * k, -90, 180 * k + 360, 90)), xoff=-180 * (k + 1)) for k in (-3, -1, 1)
    ]
    polygons = [part for part in parts if not part.is_empty and part.geom_type == "Polygon"]
    west, south, east, north = map(float, outline.bounds)
    if len(polygons) == 1:
        return mapping(polygons[0]), [*map(float, polygons[0].bounds)]
    if not polygons:  # of no extent, or a shape that no polygon is
        return mapping(box(west, south, east, north)), [west, south, east, north]
    return mapping(MultiPolygon(polygons)), [(west + 180) % 360 - 180, south, (east + 180) % 360 - 180, north]


def _outline(grid: GeoBox) -> tuple[Any, Any]:
    """Coordinates of points along the border, the first at the end again."""
    height, width = grid.shape
    share, end = np.arange(_POINTS) / _POINTS, np.ones(_POINTS)
    column = width * np.concatenate([share, end, 1 - share, 0 * end, [0]])
    row = height * np.concatenate([0 * end, share, end, 1 - share, [0]])
    a = grid.affine
    return a.a * column + a.b * row + a.c, a.d * column + a.e * row + a.f
