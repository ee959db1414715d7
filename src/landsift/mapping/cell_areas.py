"""The true area of a map's cells, in hectares."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from landsift.errors import DataError
from landsift.runtime.notices import once

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from pyproj import CRS

SQUARE_METRES = 10_000.0
"""In a hectare."""
DISTORTED = 0.01
"""Share by which a projection's areas may differ from those on the ellipsoid before they are corrected; UTM is within
0.2 % of them."""
_ROWS, _COLUMNS, _POINTS = 500, 9, 4
"""At which a projection's distortion is looked up, and points on each side of a cell."""


def cell_areas(grid: GeoBox) -> NDArray[np.float64]:
    """Hectares of a cell in each row of a grid, float64 [rows].

    In degrees they are those on the CRS's ellipsoid, between parallels and meridians (Snyder 1987, Map Projections, eq.
    3-12). In a projection they are those of the plane, in metres whatever its unit is; where it distorts areas by more
    than a hundredth in the middle of the grid, as Web Mercator does, they are divided by the mean of that in each row.

    Raises:
        DataError: the grid has no CRS, or is in degrees and not north-up, so that a row's cells differ in area.
    """
    from pyproj import CRS

    if grid.crs is None:
        raise DataError("a map without a coordinate reference system has no areas", "give the scene a CRS and map it")
    crs = CRS(grid.crs.to_wkt())
    if crs.is_geographic:
        return _in_degrees(grid, crs)
    unit = crs.axis_info[0].unit_conversion_factor  # metres
    plane = abs(grid.affine.determinant) * unit**2 / SQUARE_METRES
    return np.full(grid.height, plane) / _distortion(grid, crs, plane)


def _in_degrees(grid: GeoBox, crs: CRS) -> NDArray[np.float64]:
    affine = grid.affine
    if affine.b or affine.d:
        raise DataError(
            "the areas of a rotated map in degrees are not known row by row", "warp it to a grid that is north-up"
        )
    to_radians = crs.axis_info[0].unit_conversion_factor
    latitudes = np.clip((affine.f + affine.e * np.arange(grid.height + 1)) * to_radians, -np.pi / 2, np.pi / 2)
    minor, flattening = crs.ellipsoid.semi_minor_metre, 1 / (crs.ellipsoid.inverse_flattening or np.inf)
    e = np.sqrt(flattening * (2 - flattening))
    sine = np.sin(latitudes)
    zone = sine / (1 - (e * sine) ** 2) + (np.arctanh(e * sine) / e if e else sine)
    return np.asarray(np.abs(np.diff(zone)) * minor**2 / 2 * abs(affine.a) * to_radians / SQUARE_METRES)


def _distortion(grid: GeoBox, crs: CRS, plane: float) -> NDArray[np.float64] | float:
    """How much larger an area of the plane is than on the ellipsoid, [rows]; 1 where it is nearly that."""
    middle = plane / _on_ellipsoid(grid, crs, np.array([grid.height // 2]), np.array([grid.width // 2]))[0, 0]
    if not np.isfinite(middle) or abs(middle - 1) <= DISTORTED:
        return 1.0  # also of a CRS that belongs to no place on Earth
    name = crs.name or "the map's projection"
    once(logging.INFO, f"{name} makes areas {middle:.3g} times as large here: hectares are those on the ellipsoid")
    rows = np.unique(np.linspace(0, grid.height - 1, _ROWS).astype(np.int64))
    columns = np.unique(np.linspace(0, grid.width - 1, _COLUMNS).astype(np.int64))
    found = plane / _on_ellipsoid(grid, crs, rows, columns).mean(axis=1)
    return np.asarray(np.interp(np.arange(grid.height), rows, found))


def _on_ellipsoid(grid: GeoBox, crs: CRS, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Hectares of cells on the ellipsoid, [rows, columns]; not finite where the CRS leads to no place."""
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    base, geod, affine = crs.geodetic_crs, crs.get_geod(), grid.affine
    areas = np.full((len(rows), len(columns)), np.nan)
    if base is None or geod is None:
        return areas
    corner = np.arange(_POINTS) / _POINTS
    one, none = np.ones(_POINTS), np.zeros(_POINTS)
    across = np.concatenate([corner, one, 1 - corner, none])
    down = np.concatenate([none, corner, one, 1 - corner])
    column, row = columns[None, :, None] + across, rows[:, None, None] + down
    x, y = affine.a * column + affine.b * row + affine.c, affine.d * column + affine.e * row + affine.f
    try:
        places = Transformer.from_crs(crs, base, always_xy=True).transform(x, y)
    except ProjError:
        return areas
    longitude, latitude = (np.degrees(each * base.axis_info[0].unit_conversion_factor) for each in places)
    for i, j in np.ndindex(areas.shape):
        area, _ = geod.polygon_area_perimeter(longitude[i, j], latitude[i, j])
        areas[i, j] = abs(area) / SQUARE_METRES
    return areas
