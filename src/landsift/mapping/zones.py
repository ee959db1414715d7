"""Areas of classes in polygons: cells that a border cuts count by the part that lies inside."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError, ProjError

from landsift.errors import DataError, RunError, listed, nearest
from landsift.mapping.cell_areas import DISTORTED, cell_areas
from landsift.mapping.map_file import blocks, read_classes, read_confidence, read_info
from landsift.mapping.zone_files import (
    LAYER,
    areal,
    around,
    brought_to,
    check_geopackage,
    layer_of,
    with_names_of_sqlite,
)
from landsift.runtime.whole import write_whole

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

ZONE = "zone"
NO_DATA = 0
STEP, METRES_OF_A_DEGREE = 0.1, 111_000.0
"""Degrees of the longest part of a side whose area on the ellipsoid is computed."""
_log = logging.getLogger("landsift")


def read_zones(
    path: Path | str,
    crs: CRS | str,
    *,
    column: str | None = None,
    layer: str | None = None,
    grid: GeoBox | None = None,
) -> Any:
    """Read polygons and bring them to the CRS of a map; invalid ones are mended, and it is said which.

    Args:
        path: a GeoPackage, GeoJSON, Shapefile, or what else GDAL reads.
        crs: of the map.
        column: names the zones; without it they are numbered from 1.
        layer: of a file of several.
        grid: of the map, to check that polygons which are far larger than it come to lie around it.

    Returns:
        A GeoDataFrame of `zone` and `geometry`, in the file's order.

    Raises:
        DataError: the file cannot be read or has no CRS, no polygons or several layers; the column is missing, or its
            values are not there or not unique.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist", "give a GeoPackage, GeoJSON or Shapefile of polygons")
    try:
        table = gpd.read_file(path, layer=layer_of(path, layer), engine="pyogrio")
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0].split("; It might help")[0]
        raise DataError(f"{path} cannot be read: {reason}", "give a GeoPackage, GeoJSON or Shapefile") from None
    if not isinstance(table, gpd.GeoDataFrame) or table.empty:
        raise DataError(f"{path} holds no polygons", "give a file of polygons")
    if table.crs is None:
        raise DataError(f"{path} does not say its CRS", "write it into the file, with QGIS or ogr2ogr -a_srs")
    names = _names(table, column, path)
    zones = gpd.GeoDataFrame({ZONE: names}, geometry=table.geometry.to_numpy(), crs=table.crs)
    zones = _mended(zones, path)
    try:
        zones = brought_to(zones, CRS(crs), path, ZONE, grid)
    except CRSError as error:
        raise DataError(f"{path} cannot be brought to the map's CRS: {error}", "give both a known CRS") from None
    one, other = zones.sindex.query(zones.geometry, predicate="intersects")
    pairs = one < other
    one, other = one[pairs], other[pairs]
    geometries = zones.geometry.to_numpy()
    shared = shapely.area(shapely.intersection(geometries[one], geometries[other])) > 0
    if shared.any():
        names = zones[ZONE].to_numpy()[np.unique([*one[shared], *other[shared]])]
        _log.warning("%s: zones overlap, so their areas do not add up: %s", path, listed(names))
    return zones


def zone_areas(
    map_path: Path | str, polygons: Path | str, *, column: str | None = None, layer: str | None = None
) -> Any:
    """Hectares and shares of a map's classes per polygon.

    Args:
        map_path: a map, of landsift or of another tool that names its classes.
        polygons: a GeoPackage, GeoJSON, Shapefile, or what else GDAL reads.
        column: names the zones; without it they are numbered from 1.
        layer: of a file of several.

    Returns:
        A GeoDataFrame in the map's CRS, as `areas_in_zones` describes it.

    Raises:
        DataError: the map or the polygons cannot be read or do not say what is needed.
    """
    info = read_info(map_path)
    hectares = cell_areas(info.grid)
    crs = CRS(info.grid.crs.to_wkt())
    zones = read_zones(polygons, crs, column=column, layer=layer, grid=info.grid)
    if crs.is_geographic:
        zones.geometry = around(zones.geometry.to_numpy(), info.grid)
    found = ((rows, read_classes(info, rows), read_confidence(info, rows)) for rows in blocks(info))
    return areas_in_zones(zones, info.grid, found, hectares, info.classes.names)


def areas_in_zones(
    zones: Any,
    grid: GeoBox,
    blocks: Iterable[tuple[slice, NDArray[np.integer], NDArray[np.floating] | None]],
    hectares: NDArray[np.float64],
    classes: Sequence[str],
) -> Any:
    """Hectares and shares of classes per zone; memory does not grow with the map.

    Args:
        zones: a GeoDataFrame of `zone` and polygons in the grid's CRS, as `read_zones` gives it.
        grid: of the map's cells; north is up.
        blocks: rows of the grid with their codes [h, w] (0 is no data) and confidences [h, w] in 0..1 or None.
        hectares: of each cell of a row, float64 [rows]; true ones for degrees.
        classes: names of the codes 1 to K.

    Returns:
        `zones` with the columns `hectares` (of the polygon), `outside` and `no data` (hectares), `confidence` (mean
        over the classified area; NaN where there is none), and for each class `CLASS ha` and `CLASS share`, the share
        of the classified area.

    Raises:
        DataError: the grid is turned, or a code has no class.
    """
    if not (grid.affine.b == grid.affine.d == 0 and grid.affine.a > 0 and grid.affine.e < 0):
        raise DataError("the map's grid is turned or upside down", "warp it with gdalwarp first")
    count = len(classes)
    area = np.zeros((len(zones), count + 1))
    weighted, known = np.zeros(len(zones)), np.zeros(len(zones))
    geometries = zones.geometry
    left, top, dx, dy = grid.affine.c, grid.affine.f, grid.affine.a, -grid.affine.e
    wkt = zones.crs.to_wkt()
    bounds = geometries.bounds.to_numpy()
    for rows, codes, confidence in blocks:
        if codes.size and codes.max() > count:
            raise DataError(f"the map holds the code {codes.max()}, but {count} classes", "check its list of classes")
        ymax, ymin = top - rows.start * dy, top - rows.stop * dy
        xmax = left + codes.shape[1] * dx
        hit = (bounds[:, 0] < xmax) & (bounds[:, 2] > left) & (bounds[:, 1] < ymax) & (bounds[:, 3] > ymin)
        if not hit.any():
            continue
        source = NumPyRasterSource(codes, left, ymin, xmax, ymax, srs_wkt=wkt)
        features = gpd.GeoDataFrame({"place": np.flatnonzero(hit)}, geometry=geometries.to_numpy()[hit], crs=zones.crs)
        found = exact_extract(source, features, ["cell_id", "coverage"], include_cols=["place"], output="pandas")
        for place, cells, part in found.itertuples(index=False):
            cells = np.asarray(cells, np.int64)
            weight = np.asarray(part, float) * hectares[rows][cells // codes.shape[1]]
            inside = codes.ravel()[cells]
            area[place] += np.bincount(inside, weight, minlength=count + 1)
            if confidence is not None:
                valid = inside != NO_DATA
                weighted[place] += (weight * confidence.ravel()[cells])[valid].sum()
                known[place] += weight[valid].sum()
    confidences = np.divide(weighted, known, where=known > 0, out=np.full(len(zones), np.nan))
    plane = float(hectares.mean()) / (dx * dy)
    return _table(zones, grid, area, classes, confidences, plane)


def _table(
    zones: Any, grid: GeoBox, area: NDArray[np.float64], classes: Sequence[str], confidence: Any, plane: float
) -> Any:
    """The columns; `plane` is how many hectares a square unit of the map's CRS has, on the average of the map."""
    outside_parts = shapely.difference(zones.geometry.to_numpy(), shapely.box(*grid.boundingbox.bbox))
    away = ~shapely.intersects(zones.geometry.to_numpy(), shapely.box(*grid.boundingbox.bbox))
    if away.any():
        _log.warning("wholly outside the map: %s", listed(zones[ZONE][away]))
    outside = np.array([_hectares(part, zones.crs, plane) for part in outside_parts])
    mapped = area[:, 1:].sum(axis=1)
    columns: dict[str, Any] = {
        ZONE: zones[ZONE].to_numpy(),
        "hectares": area.sum(axis=1) + outside,
        "outside": outside,
        "no data": area[:, NO_DATA],
        "confidence": confidence,
    }
    for code, name in enumerate(classes, 1):
        columns[f"{name} ha"] = area[:, code]
        columns[f"{name} share"] = np.divide(area[:, code], mapped, where=mapped > 0, out=np.full(len(zones), np.nan))
    return gpd.GeoDataFrame(pd.DataFrame(columns), geometry=zones.geometry.to_numpy(), crs=zones.crs)


def _hectares(part: Any, crs: CRS, plane: float) -> float:
    """Of a polygon: on the ellipsoid for degrees, and where the plane of the CRS is more distorted than the map."""
    if part.is_empty:
        return 0.0
    if crs.is_geographic:
        return _on_ellipsoid(part, crs)
    flat = float(part.area * plane)
    if crs.geodetic_crs is None:
        return flat
    step = STEP * METRES_OF_A_DEGREE / crs.axis_info[0].unit_conversion_factor
    try:
        to_degrees = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
        there = shapely.transform(
            shapely.segmentize(part, step), lambda points: np.stack(to_degrees.transform(*points.T), axis=1)
        )
        true = _on_ellipsoid(there, crs.geodetic_crs) if shapely.is_valid(there) else flat
    except ProjError:
        return flat
    return flat if not true or abs(flat / true - 1) <= DISTORTED else true


def _on_ellipsoid(part: Any, crs: CRS) -> float:
    quarters = [shapely.box(west, -90, west + 90, 90) for west in range(-360, 360, 90)]  # none goes round the Earth
    pieces = [shapely.intersection(part, q) for q in quarters if part.intersects(q)]
    geod, total = crs.get_geod() or Geod(ellps="WGS84"), 0.0
    for piece in filter(None, map(areal, pieces)):
        fine = shapely.segmentize(piece, STEP)  # a geodesic leaves the straight line between far corners
        total += abs(geod.geometry_area_perimeter(shapely.orient_polygons(fine))[0]) / 1e4
    return total


def _names(table: Any, column: str | None, path: Path) -> Any:
    if column is None:
        return np.arange(1, len(table) + 1)
    if column not in table.columns or column == table.geometry.name:
        have = [str(name) for name in table.columns if name != table.geometry.name]
        like = [name for name in have if name.casefold() == column.casefold()]
        hint = f"did you mean '{like[0]}'?" if like else nearest(column, have) or f"it has {', '.join(have) or 'none'}"
        raise DataError(f"{path} has no column {column}", hint)
    names = table[column]
    if nameless := int((names.isna() | names.astype(str).str.strip().eq("")).sum()):
        raise DataError(f"{path}: {nameless} polygons have no {column}", "name all, or give another column")
    if names.map(lambda name: isinstance(name, list | dict | np.ndarray)).any():
        raise DataError(f"{path}: {column} holds lists, where names are read", "name another column")
    if names.duplicated().any():
        twice = names[names.duplicated()].unique()
        raise DataError(f"{path}: {column} names several polygons {listed(twice)}", "dissolve them or name another")
    return names.to_numpy()


def _mended(zones: Any, path: Path) -> Any:
    """Valid polygons; what is empty or no polygon is left out with a notice."""
    shapes = zones.geometry.to_numpy()
    invalid = ~(shapely.is_valid(shapes) | shapely.is_missing(shapes))
    if invalid.any():
        _log.warning("%s: invalid geometries mended: %s", path, listed(zones[ZONE][invalid]))
        zones.geometry = np.where(invalid, shapely.make_valid(zones.geometry.to_numpy()), zones.geometry.to_numpy())
    found = [areal(geometry) for geometry in zones.geometry]
    empty = np.array([geometry is None for geometry in found])
    if empty.all():
        raise DataError(f"{path} holds no polygons", "give a file of polygons")
    if empty.any():
        _log.warning("%s: left out as empty or no polygon: %s", path, listed(zones[ZONE][empty]))
    return gpd.GeoDataFrame(
        {ZONE: zones[ZONE][~empty].to_numpy()}, geometry=[g for g in found if g is not None], crs=zones.crs
    )


def write_zones(table: Any, out: Path | str) -> None:
    """Write what `areas_in_zones` gives as CSV (without the polygons) or GeoPackage, with the same columns.

    Raises:
        DataError: `out` ends in neither .csv nor .gpkg.
        RunError: it cannot be written.
    """
    out = Path(out)
    ending = out.suffix.lower()
    if ending == ".csv":
        write_whole(out, lambda path: table.drop(columns="geometry").to_csv(path, index=False))
    elif ending == ".gpkg":
        check_geopackage(out)
        named = with_names_of_sqlite(table)
        try:
            write_whole(out, lambda path: named.to_file(path, driver="GPKG", layer=LAYER, engine="pyogrio"))
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FieldError) as error:
            raise RunError(f"{out} cannot be written: {str(error).splitlines()[0]}", "write a .csv") from None
    else:
        raise DataError(f"{out} is neither .csv nor .gpkg", "give --out a name that ends in one of them")
