"""Where a raster lies: its centre in WGS 84, and how large a pixel is on the ground."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from landsift.data.decoding.file_bands import NOWHERE, Place

if TYPE_CHECKING:
    from rasterio import Affine
    from rasterio.crs import CRS
    from rasterio.io import DatasetReader

WGS84 = "EPSG:4326"
_AXIS, _SQUARED_ECCENTRICITY = 6_378_137.0, 6.694379990141e-3  # of the ellipsoid of WGS 84, metres
_INFLATED = 0.01
"""Share by which a pixel's size may differ from what the CRS says in metres before it is worth a word."""

ON_THE_GROUND = (
    "pixels in degrees, or in metres that are longer than those on the ground: their ground sampling distance is "
    "worked out at the patch's centre"
)
ABSURD = "pixels of less than a millimetre or more than 1,000 km, so that its place is taken as not known"
FINEST, COARSEST = 1e-3, 1e6
"""Metres."""
PROJ = ("PROJ_DATA", "PROJ_LIB")
"""Variables of the environment that say where PROJ finds coordinate reference systems."""
LOST = "a place that its own coordinate reference system cannot give in degrees, taken as not known"


def place_of(dataset: DatasetReader) -> tuple[Place, tuple[str, ...]]:
    """The place of an open raster and what is to be said of it; nowhere without a CRS or a transform.

    The centre is the middle of the pixel in row H // 2 and column W // 2, as rasterio's `xy` gives it and as the
    published locations of EuroSAT are: in patches of an even size half a pixel off the point that halves the sides.

    The ground sampling distance is the root of a pixel's area on the ellipsoid.
    """
    return place_at(dataset.crs, dataset.transform, (dataset.height, dataset.width))


def place_at(crs: CRS | None, affine: Affine, size: tuple[int, int]) -> tuple[Place, tuple[str, ...]]:
    """The same of a raster of this height and width in pixels, from its CRS and transform."""
    from rasterio.warp import transform

    if not crs or affine.is_identity or affine.determinant == 0:
        return NOWHERE, ()
    height, width = size
    column, row = width // 2 + 0.5, height // 2 + 0.5
    ends = ((column, row), (column - width / 2, row), (column + width / 2, row), (column, row - height / 2),
            (column, row + height / 2))  # fmt: skip
    xs, ys = zip(*(_at(affine, end) for end in ends), strict=True)
    try:
        lons, lats = transform(crs, WGS84, xs, ys)
    except Exception:  # noqa: BLE001 (GDAL's errors have no base of their own in rasterio's API)
        return NOWHERE, (_lost(),)
    if not all(map(math.isfinite, (*lons, *lats))) or max(map(abs, lats)) > 90 or max(map(abs, lons)) > 540:
        return NOWHERE, (_lost(),)
    across = _metres(lons[1], lats[1], lons[2], lats[2], lats[0])
    down = _metres(lons[3], lats[3], lons[4], lats[4], lats[0])
    gsd = math.sqrt(abs(across[0] * down[1] - across[1] * down[0]) / (width * height))
    if not FINEST <= gsd <= COARSEST:
        return NOWHERE, (ABSURD,)
    told = math.sqrt(abs(affine.determinant)) * _unit(crs)
    notes = () if abs(told / gsd - 1) <= _INFLATED else (ON_THE_GROUND,)
    return Place((lons[0] + 180) % 360 - 180, lats[0], gsd), notes


def _lost() -> str:
    """What is said of a place that PROJ cannot give, often for the sake of another installation's PROJ."""
    name = next((name for name in PROJ if os.environ.get(name)), None)
    return f"{LOST} ({name}={os.environ[name]} is set: unset it if that belongs to other programs)" if name else LOST


def _at(affine: Affine, pixel: tuple[float, float]) -> tuple[float, float]:
    """Coordinates of a column and a row."""
    column, row = pixel
    return affine.a * column + affine.b * row + affine.c, affine.d * column + affine.e * row + affine.f


def _unit(crs: CRS) -> float:
    """Metres in a unit of the CRS; 0 for degrees."""
    if not crs.is_projected:
        return 0.0
    return float(crs.linear_units_factor[1])


def _metres(lon: float, lat: float, other_lon: float, other_lat: float, at: float) -> tuple[float, float]:
    """East and north of one point from another nearby, with the ellipsoid's radii of curvature at a latitude."""
    sine = math.sin(math.radians(at)) ** 2
    normal = _AXIS / math.sqrt(1 - _SQUARED_ECCENTRICITY * sine)
    meridian = normal * (1 - _SQUARED_ECCENTRICITY) / (1 - _SQUARED_ECCENTRICITY * sine)
    east = (other_lon - lon + 180) % 360 - 180
    return (
        math.radians(east) * normal * math.cos(math.radians(at)),
        math.radians(other_lat - lat) * meridian,
    )
