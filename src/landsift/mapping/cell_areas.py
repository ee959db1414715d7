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
_SAMPLES = 9
"""Columns at which a row's distortion is looked up."""


def cell_areas(grid: GeoBox) -> NDArray[np.float64]:
    """Hectares of a cell in each row of a grid, float64 [rows].

    In degrees they are those on the CRS's ellipsoid, between parallels and meridians (Snyder 1987, Map Projections, eq.
    3-12). In a projection they are those of the plane, in metres whatever its unit is; where it distorts areas by more
    than a hundredth in the middle of the grid, such as Web Mercator, they are divided by the distortion of each row.

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
    return np.full(grid.height, plane) / _distortion(grid, crs)


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


def _distortion(grid: GeoBox, crs: CRS) -> NDArray[np.float64] | float:
    """How much larger an area of the plane is than on the ellipsoid, [rows]; 1 where it is nearly that."""
    middle = _areal_scale(grid, crs, np.array([grid.height / 2]), np.array([grid.width / 2]))[0, 0]
    if not np.isfinite(middle) or abs(middle - 1) <= DISTORTED:
        return 1.0  # also of a CRS that belongs to no place on Earth
    name = crs.name or "the map's projection"
    once(logging.INFO, f"{name} makes areas {middle:.3g} times as large here: hectares are those on the ellipsoid")
    columns = (np.arange(_SAMPLES) + 0.5) / _SAMPLES * grid.width
    return np.asarray(_areal_scale(grid, crs, np.arange(grid.height) + 0.5, columns).mean(axis=1))


def _areal_scale(
    grid: GeoBox, crs: CRS, rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Areal scale at rows and columns, [rows, columns]; not finite where the CRS has no inverse."""
    from pyproj import Proj, Transformer
    from pyproj.exceptions import ProjError

    column, row = np.meshgrid(columns, rows)
    affine = grid.affine
    x, y = affine.a * column + affine.b * row + affine.c, affine.d * column + affine.e * row + affine.f
    try:
        base = crs.geodetic_crs
        if base is None:
            return np.full(column.shape, np.nan)
        longitude, latitude = Transformer.from_crs(crs, base, always_xy=True).transform(x, y)
        factors = Proj(crs).get_factors(longitude, latitude)
    except ProjError:
        return np.full(column.shape, np.nan)
    return np.asarray(factors.areal_scale)
