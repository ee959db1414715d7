"""Files of polygons: which layer holds them, and their shapes in the CRS of a map."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from landsift.errors import DataError, RunError, listed, nearest

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

LAYER = "zones"
"""Of a GeoPackage that is written."""
STEP, STEP_METRES = 0.1, 10_000.0
"""Degrees and metres of the longest part of a side that is brought to another CRS: in that it is no straight line."""
_OFF = 1e-3
"""Share of `STEP` by which a point may miss its place after it was brought there and back."""
_MOSTLY = 0.5
_END = 1e-9  # degrees
_log = logging.getLogger("landsift")


def layer_of(path: Path, layer: str | None) -> str | None:
    """The layer of polygons in a file; tables without shapes, such as the styles that QGIS keeps, are none.

    Raises:
        DataError: there are several, or there is none of this name.
    """
    layers = [(str(name), kind) for name, kind in pyogrio.list_layers(path)]
    names = [name for name, _ in layers]
    if layer is not None:
        if layer not in names:
            raise DataError(f"{path} has no layer {layer}", nearest(layer, names) or f"it has {', '.join(names)}")
        return layer
    shapes = [name for name, kind in layers if kind is not None]
    if len(shapes) > 1:
        raise DataError(f"{path} has {len(shapes)} layers: {listed(shapes)}", "name one of them, with --layer")
    return shapes[0] if shapes else None


def brought_to(
    zones: gpd.GeoDataFrame, crs: CRS, path: Path, column: str, grid: GeoBox | None = None
) -> gpd.GeoDataFrame:
    """Polygons in another CRS, their sides divided where they are long.

    Args:
        zones: valid polygons.
        crs: to bring them to.
        path: of their file.
        column: that names them.
        grid: of a map in that CRS, which must lie on the same side of their borders as before.

    Raises:
        DataError: their coordinates are none of their own CRS, or have no place in the other.
    """
    own = CRS(zones.crs)
    _check_degrees(zones, own, path)
    if own == crs:
        return zones
    unit = own.axis_info[0].unit_conversion_factor if own.axis_info else 1.0
    step = STEP if own.is_geographic else STEP_METRES / unit
    fine = gpd.GeoDataFrame(
        zones.drop(columns=zones.geometry.name),
        geometry=shapely.segmentize(zones.geometry.to_numpy(), step),
        crs=zones.crs,
    )
    if own.is_geographic:  # what ends at 180° must not come to lie at -180°, on the other side of a map of the world
        inward = shapely.transform(fine.geometry.to_numpy(), _inward)
        moved = gpd.GeoDataFrame(fine.drop(columns=fine.geometry.name), geometry=inward, crs=fine.crs).to_crs(crs)
    else:
        moved = fine.to_crs(crs)
    before, after = fine.geometry.to_numpy(), moved.geometry.to_numpy()
    lost = _lost(before, after, own, crs, _OFF * step)
    for i in np.flatnonzero(~lost & ~shapely.is_valid(after)):
        after[i] = areal(shapely.make_valid(after[i]))
        lost[i] = after[i] is None
    if grid is not None and not lost.all():
        lost[~lost] = _turned(before[~lost], after[~lost], own, crs, grid)
    if lost.any():
        hint = "leave out what lies far from the map, or cut it to the map's surroundings"
        raise DataError(f"{path}: {listed(zones[column][lost])} cannot be brought to the map's CRS", hint)
    moved.geometry = after
    return moved


def _inward(points: NDArray[np.float64]) -> NDArray[np.float64]:
    ends = np.abs(np.abs(points[:, 0]) - 180) < _END
    x = np.where(ends, np.sign(points[:, 0]) * (180 - _END), points[:, 0])
    return np.stack([x, points[:, 1]], axis=1)


def areal(geometry: Any) -> Any:
    """The areal part of a shape in two dimensions, or None."""
    if geometry is None or geometry.is_empty:
        return None
    parts = shapely.get_parts(shapely.force_2d(geometry)).tolist()
    parts = [q for p in parts for q in (shapely.get_parts(p).tolist() if "Multi" in p.geom_type else [p])]
    parts = [p for p in parts if p.geom_type == "Polygon" and p.area > 0]
    return shapely.union_all(parts) if parts else None


def _turned(before: NDArray[Any], after: NDArray[Any], own: CRS, crs: CRS, grid: GeoBox) -> NDArray[np.bool_]:
    """Which shapes hold a map in one CRS and not in the other: their borders are right, their insides are not."""
    west, south, east, north = grid.boundingbox.bbox
    x, y = (each.ravel() for each in np.meshgrid(np.linspace(west, east, 5)[1:-1], np.linspace(south, north, 5)[1:-1]))
    there = Transformer.from_crs(crs, own, always_xy=True).transform(x, y)
    shifts = (0, -360, 360) if own.is_geographic else (0,)
    was = np.array([[shapely.contains_xy(each, there[0] + k, there[1]) for k in shifts] for each in before]).any(axis=1)
    now = np.array([shapely.contains_xy(each, x, y) for each in after])
    return np.asarray((was != now).mean(axis=1) > _MOSTLY)


def _check_degrees(zones: gpd.GeoDataFrame, crs: CRS, path: Path) -> None:
    if not crs.is_geographic:
        return
    west, south, east, north = zones.total_bounds
    if max(abs(west), abs(east)) > 540 or max(abs(south), abs(north)) > 90 + STEP:
        x, y = shapely.get_coordinates(zones.geometry.to_numpy())[0]
        raise DataError(
            f"{path}: its CRS is of degrees, and its coordinates are not, such as {x:g}, {y:g}",
            "write the CRS that they are in into the file; GeoJSON that names none is in degrees",
        )


def _lost(before: NDArray[Any], after: NDArray[Any], own: CRS, crs: CRS, tolerance: float) -> NDArray[np.bool_]:
    """Which shapes have points that do not come back to their place: projections fold what lies far from them."""
    points, where = shapely.get_coordinates(before, return_index=True)
    there = shapely.get_coordinates(after)
    try:
        back = np.stack(Transformer.from_crs(crs, own, always_xy=True).transform(*there.T), axis=1)
    except ProjError:
        return np.ones(len(before), bool)
    off = np.abs(back - points)
    if own.is_geographic:
        off[:, 0] = np.abs((off[:, 0] + 180) % 360 - 180)
        off[np.abs(points[:, 1]) > 90 - STEP, 0] = 0  # longitudes are any at the poles
    wrong = ~(np.isfinite(there).all(axis=1) & (off <= tolerance).all(axis=1))
    return np.isin(np.arange(len(before)), where[wrong])


def around(shapes: NDArray[Any], grid: GeoBox) -> NDArray[Any]:
    """Shapes in degrees where a map has them: longitudes are the same a whole turn on, such as 179.9 and -180.1."""
    west, _, east, _ = grid.boundingbox.bbox
    outline = shapely.box(*grid.boundingbox.bbox)
    middle = (west + east) / 2
    found = shapes.copy()
    for i, shape in enumerate(shapes):
        left, _, right, _ = shape.bounds
        turns = range(int((left - middle + 180) // 360), int((right - middle + 180) // 360) + 1)
        parts = {turn: _part(shape, middle, turn) for turn in turns}
        if any(turn and part.intersects(outline) for turn, part in parts.items()):
            found[i] = shapely.union_all([*parts.values()])
    return found


def _part(shape: Any, middle: float, turn: int) -> Any:
    """What of a shape lies within half a turn of a meridian after so many turns, brought there."""
    cut = shapely.box(middle - 180 + 360 * turn, -91, middle + 180 + 360 * turn, 91)
    return shapely.transform(shapely.intersection(shape, cut), lambda points: points - [360 * turn, 0])


def check_geopackage(out: Path) -> None:
    """Refuse to replace a GeoPackage that holds other layers than zones; raises RunError."""
    if out.suffix.lower() != ".gpkg" or not out.is_file():
        return
    try:
        others = [str(name) for name, _ in pyogrio.list_layers(out) if str(name) != LAYER]
    except pyogrio.errors.DataSourceError:
        return
    if others:
        raise RunError(f"{out} holds other layers, which would be lost: {listed(others)}", "give --out another name")


def with_names_of_sqlite(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """A table with columns that a GeoPackage can tell apart, which it does not by case."""
    seen: set[str] = set()
    names: dict[str, str] = {}
    for name in table.columns:
        other, number = name, 1
        while other.lower() in seen:
            number += 1
            other = f"{name} {number}"
        seen.add(other.lower())
        names[name] = other
    if changed := [f"{name} as {other}" for name, other in names.items() if name != other]:
        _log.warning("columns that differ in case alone are renamed in a GeoPackage: %s", listed(changed))
    return table.rename(columns=names)
