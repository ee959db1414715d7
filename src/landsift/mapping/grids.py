"""The grid of a scene: whose pixels a model takes, and what becomes of files that lie on another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.transform import GCPTransformer, from_origin

from landsift.data.decoding.patches import SAME_GSD
from landsift.errors import DataError
from landsift.mapping.scene_files import SceneFile

WIDEST_OF_UTM = 12.0
"""Degrees of longitude that a grid in UTM spans at most: two zones. Of wider ones the grid has its own centre."""
FARTHEST = 100.0
"""Factor between the ground sampling distances of a scene and a model, beyond which nothing is resampled."""
MOST_PIXELS = 2**40
"""Of a grid; 10⁶ × 10⁶."""
_ALONG = 33  # points along each side of a raster, and inside it, that are brought to another CRS
_SAME_PIXEL = 0.01  # share of a pixel by which two grids may differ and be the same
_MAP_SCALE = 0.01
"""Share by which a metre of a CRS may differ from one on the ground and be taken as one, as in UTM."""
_DIGITS = 3  # significant ones of a ground sampling distance that was measured


class Grid(NamedTuple):
    """A grid, and what is to be said of it."""

    box: GeoBox
    reference: SceneFile
    """The file whose pixels it follows."""
    gsd: float
    """Ground sampling distance in metres."""
    notes: tuple[str, ...]


def grid_of(files: Sequence[SceneFile], gsd: float | None) -> Grid:
    """The grid on which a model sees a scene.

    It is that of the file whose ground sampling distance is nearest to the model's, where pixels are square and lie
    north up in a projected CRS. Other pixels are brought to such a grid: in the same CRS, or of degrees in UTM.

    Args:
        files: of the scene.
        gsd: ground sampling distance that the model takes, in metres; None: that is not known.

    Raises:
        DataError: the scene is too wide for any grid.
    """
    finest = min(file.place.gsd for file in files)
    target = finest if gsd is None else gsd
    # Of files of one resolution, which differs a little with their places, the largest.
    reference = min(files, key=lambda file: (round(abs(math.log(file.place.gsd / target)), 2), -math.prod(file.size)))
    own = reference.place.gsd
    if not 1 / FARTHEST <= own / target <= FARTHEST:
        raise DataError(
            f"{reference.path}: pixels of {own:.3g} m, where the model takes {target:.3g} m",
            "map a scene of a resolution nearer to that of the model's patches",
        )
    if own / SAME_GSD <= target <= own * SAME_GSD:
        target = own
    at = reference.transform
    projected = reference.crs.is_projected
    upright = not reference.gcps and projected and at.b == at.d == 0
    square = 1 / SAME_GSD <= abs(at.a / at.e) <= SAME_GSD if upright else False
    notes = [] if target == own else [_resampled(own, target)]
    if upright and square and target == own:
        return Grid(_as_it_is(reference), reference, own, tuple(notes))
    if upright:
        notes += [] if square else [f"pixels of {abs(at.a):g} × {abs(at.e):g}, resampled to square ones"]
        return Grid(_zoomed(reference, _side(reference, target)), reference, target, tuple(notes))
    if projected:
        side = _side(reference, target if gsd is None else gsd)
        points = _outline(reference, reference.crs)
        notes.append(f"pixels that do not lie north up, resampled to the grid of {_named(reference.crs)}")
        return Grid(_around(points, reference.crs, side), reference, target, tuple(notes))
    crs = _utm(reference)
    side = float(f"{own:.{_DIGITS}g}") if gsd is None else gsd
    notes = [f"pixels in degrees, resampled to {side:.4g} m in {_named(crs)}"]
    if not own / SAME_GSD <= side <= own * SAME_GSD:
        notes.insert(0, _resampled(own, side))
    return Grid(_around(_outline(reference, crs), crs, side), reference, side, tuple(notes))


def is_same(file: SceneFile, box: GeoBox) -> bool:
    """Whether a file's pixels are those of a grid."""
    offset = _offset(file, box)
    return offset is not None and file.size == tuple(box.shape) and _near(offset, Affine.identity())


def is_aligned(file: SceneFile, box: GeoBox) -> bool:
    """Whether a file's pixels are pixels of a grid, perhaps of another part of it or upside down."""
    offset = _offset(file, box)
    if offset is None:
        return False
    flip = Affine(math.copysign(1, offset.a), 0, round(offset.c), 0, math.copysign(1, offset.e), round(offset.f))
    return _near(offset, flip)


def overlaps(file: SceneFile, box: GeoBox) -> bool:
    """Whether a file has pixels within a grid."""
    if (found := _extent(file, box)) is None:
        return False
    (left, bottom, right, top), bounds = found, box.boundingbox
    return bool(left < bounds.right and right > bounds.left and bottom < bounds.top and top > bounds.bottom)


def covers(file: SceneFile, box: GeoBox) -> bool:
    """Whether a file reaches as far as a grid on all sides, but for a pixel of its own."""
    if (found := _extent(file, box)) is None:
        return False
    (left, bottom, right, top), bounds = found, box.boundingbox
    own = 1.5 * max((right - left) / file.size[1], (top - bottom) / file.size[0], box.resolution.x)
    inside = (bounds.left - left, bounds.bottom - bottom, right - bounds.right, top - bounds.top)
    return bool(min(inside) > -own)


def _extent(file: SceneFile, box: GeoBox) -> tuple[float, float, float, float] | None:
    """West, south, east and north of a file in the CRS of a grid; None: it has no place there."""
    points = _outline(file, _crs(box))
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return None
    (left, bottom), (right, top) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return left, bottom, right, top


def _crs(box: GeoBox) -> CRS:
    return CRS.from_wkt(box.crs.to_wkt())


def _offset(file: SceneFile, box: GeoBox) -> Affine | None:
    """From a file's pixels to those of a grid, where both have one CRS and the file a transform."""
    if file.gcps or file.crs != _crs(box):
        return None
    return ~box.affine * file.transform


def _near(one: Affine, other: Affine) -> bool:
    # Over 10⁴ pixels the scale must not add up to a visible part of one.
    return all(
        abs(a - b) <= (_SAME_PIXEL if i in (2, 5) else 1e-6)
        for i, (a, b) in enumerate(zip(one[:6], other[:6], strict=True))
    )


def _as_it_is(file: SceneFile) -> GeoBox:
    """The grid of a file, turned so that the first row is the northernmost and the first column the westernmost."""
    at, (height, width) = file.transform, file.size
    left = at.c if at.a > 0 else at.c + at.a * width
    top = at.f if at.e < 0 else at.f + at.e * height
    return GeoBox(file.size, Affine(abs(at.a), 0, left, 0, -abs(at.e), top), file.crs.to_wkt())


def _side(file: SceneFile, target: float) -> float:
    """Side of a square pixel of `target` metres on the ground, in units of the file's CRS."""
    side, metres = math.sqrt(abs(file.transform.determinant)), float(file.crs.linear_units_factor[1])
    if abs(side * metres / file.place.gsd - 1) <= _MAP_SCALE:
        return target / metres
    return side * target / file.place.gsd


def _zoomed(file: SceneFile, side: float) -> GeoBox:
    """Pixels of another size from the north-western corner of a file on."""
    bounds = _as_it_is(file).boundingbox
    shape = (_count(bounds.top - bounds.bottom, side), _count(bounds.right - bounds.left, side))
    return GeoBox(shape, from_origin(bounds.left, bounds.top, side, side), file.crs.to_wkt())


def _around(points: NDArray[np.float64], crs: CRS, side: float) -> GeoBox:
    """The pixels around some points, whose corners are multiples of their side: scenes of one place lie on one grid."""
    points = points[np.isfinite(points).all(axis=1)]
    (left, bottom), (right, top) = points.min(axis=0) / side, points.max(axis=0) / side
    left, bottom = math.floor(left + _SAME_PIXEL), math.floor(bottom + _SAME_PIXEL)
    right, top = math.ceil(right - _SAME_PIXEL), math.ceil(top - _SAME_PIXEL)
    height, width = max(top - bottom, 1), max(right - left, 1)
    if height * width > MOST_PIXELS:
        raise DataError(
            f"a scene of {height:,} × {width:,} pixels of {side:g} m, which is more than is mapped at once", "cut it"
        )
    return GeoBox((height, width), from_origin(left * side, top * side, side, side), crs.to_wkt())


def _count(length: float, side: float) -> int:
    """Pixels of a side that have room in a length, the last one perhaps not whole."""
    return max(1, math.ceil(length / side - _SAME_PIXEL))


def _outline(file: SceneFile, crs: CRS) -> NDArray[np.float64]:
    """Points along the sides of a file and inside it in some CRS, [N, 2]; not finite where they have no place in it."""
    height, width = file.size
    across, down = np.meshgrid(np.linspace(0, width, _ALONG), np.linspace(0, height, _ALONG))
    columns, rows = across.ravel(), down.ravel()
    if file.gcps:
        with GCPTransformer(list(file.gcps)) as transformer:
            xs, ys = map(np.asarray, transformer.xy(rows, columns, offset="ul"))
    else:
        at = file.transform
        xs, ys = at.a * columns + at.b * rows + at.c, at.d * columns + at.e * rows + at.f
    if file.crs == crs:
        return np.stack([xs, ys], axis=1)
    transform = Transformer.from_crs(file.crs.to_wkt(), crs.to_wkt(), always_xy=True)
    return np.stack(transform.transform(xs, ys), axis=1)


def _utm(file: SceneFile) -> CRS:
    """UTM of a file's centre; of one that is wide, or near a pole, equal areas around its centre."""
    longitudes = _outline(file, file.crs)[:, 0]
    wide = float(longitudes.max() - longitudes.min())
    lon, lat = file.place.lon, file.place.lat
    if wide > WIDEST_OF_UTM or abs(lat) > 84:
        return CRS.from_string(f"+proj=laea +lat_0={lat:.4f} +lon_0={lon:.4f} +datum=WGS84 +units=m +no_defs")
    zone = int((lon + 180) // 6) % 60 + 1
    return CRS.from_epsg((32600 if lat >= 0 else 32700) + zone)


def _named(crs: CRS) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_proj4() or "its CRS"


def _resampled(own: float, target: float) -> str:
    text = f"pixels of {own:.3g} m, resampled to the {target:.3g} m that the model takes"
    return text if own < 2 * target else f"{text}: they show nothing finer than before"
