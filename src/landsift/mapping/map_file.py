"""Maps as files: what they hold, read window by window.

A map is a raster of classes. Those of landsift say all about themselves in their tag `LANDSIFT`; those of other tools
are read through the names that their raster attribute table or category names give (`foreign_maps.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.errors import DataError
from landsift.mapping.classes import NO_DATA, ClassTable
from landsift.mapping.foreign_maps import codes_of, read_foreign
from landsift.mapping.gdal import errors, gdal, reason
from landsift.mapping.map_info import CONFIDENCE_SCALE, FORMAT, TAG, MapAbout, MapInfo

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

__all__ = ["MapAbout", "MapInfo", "blocks", "open_raster", "read_classes", "read_codes", "read_confidence", "read_info"]

CELLS = 4_000_000
"""Of a block of rows, about."""
TILE = 256
"""Side of a map's tiles, in cells."""


def read_info(path: Path | str, names: Mapping[int, str] | None = None) -> MapInfo:
    """What a map holds.

    Args:
        path: of the raster.
        names: of the classes of another tool's map, by its values, where the file does not give them.

    Raises:
        DataError: there is no such file, GDAL cannot read it, or it is no map of classes.
    """
    from odc.geo.geobox import GeoBox

    path = Path(path)
    with open_raster(path) as dataset:
        if not dataset.count:
            raise DataError(f"{path} is no map of classes: it has no band of its own", "give the raster of the classes")
        grid, hides = GeoBox.from_rio(dataset), hides_cells(dataset)
        raw = dataset.tags().get(TAG)
        if raw is None or names is not None:
            return read_foreign(path, dataset, grid, names, hides=hides)
        try:
            values = json.loads(raw)
            if values["format"] > FORMAT:
                version = values["about"]["landsift"]
                raise DataError(f"{path} is a map of landsift {version}, which is newer", "update landsift")
            classes, about = ClassTable.from_json(values["classes"]), MapAbout.from_json(values["about"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(f"{path}: its tag {TAG} is damaged", "make the map again") from None
        confidence = 2 if dataset.count > 1 and hides != 2 else None
        no_data = NO_DATA if dataset.nodata is None else int(dataset.nodata)
    return MapInfo(path, grid, classes, about, classes.codes, no_data, confidence, hides=hides)


def read_classes(info: MapInfo, window: Any = None) -> NDArray[np.uint16]:
    """Codes of a window of a map: 0 for no data, else 1 to K, uint16 [h, w].

    Args:
        info: from `read_info`.
        window: rasterio's Window, a pair of slices (rows, columns), or a slice of rows; None is the whole map.

    Raises:
        DataError: the file cannot be read, or has values that are no class.
    """
    with open_raster(info.path) as dataset:
        return read_codes(dataset, info, window=_window(info.grid, window))


def read_codes(dataset: DatasetReader, info: MapInfo, **how: Any) -> NDArray[np.uint16]:
    """Codes of an open map, uint16 [h, w]; `how` is that of rasterio's `read`."""
    raw = dataset.read(1, **how)
    if info.hides is None:
        return codes_of(raw, info)
    how.pop("resampling", None)
    shown = dataset.read(info.hides, **how) if info.hides else dataset.read_masks(1, **how)
    return codes_of(raw, info, shown == 0)


def hides_cells(dataset: DatasetReader) -> int | None:
    """The number of the alpha band that hides cells of a map; 0: a mask does; None: nothing."""
    from rasterio.enums import ColorInterp, MaskFlags

    kinds = list(dataset.colorinterp)
    if ColorInterp.alpha in kinds[1:]:
        return kinds.index(ColorInterp.alpha) + 1
    return 0 if MaskFlags.per_dataset in dataset.mask_flag_enums[0] else None


def read_confidence(info: MapInfo, window: Any = None) -> NDArray[np.float32] | None:
    """Confidence of a window, float32 [h, w] in 0..1, 0 where there is no class; None where the map has no such band.

    Raises:
        DataError: the file cannot be read.
    """
    if info.confidence_band is None:
        return None
    with open_raster(info.path) as dataset:
        raw = dataset.read(info.confidence_band, window=_window(info.grid, window))
    return np.asarray(raw.astype(np.float32) * np.float32(CONFIDENCE_SCALE))


def blocks(info: MapInfo, rows: int | None = None) -> Iterator[slice]:
    """Slices of all rows of a map, in order; by default such that a block has about 4 million cells, whole tiles."""
    height, width = info.grid.shape
    step = rows or max(1, CELLS // max(1, width) // TILE) * TILE
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


@contextmanager
def open_raster(path: Path, **options: Any) -> Iterator[DatasetReader]:
    """A raster, open for reading; GDAL's errors are DataErrors in two lines.

    Args:
        path: of a file.
        options: of `rasterio.open`, such as `overview_level`.
    """
    import rasterio

    if not path.is_file():
        raise DataError(f"{path}: there is no such file", "give the path of a map")
    try:
        with gdal(), rasterio.open(path, sharing=False, **options) as dataset:
            yield dataset
    except errors() as error:
        raise DataError(f"{path} cannot be read as a raster: {reason(error)}", "give a map that GDAL reads") from None


def _window(grid: GeoBox, window: Any) -> Window:
    from rasterio.windows import Window

    if isinstance(window, Window):
        return window
    rows, columns = window if isinstance(window, tuple) else (window, None)
    height, width = grid.shape
    top, bottom, _ = (rows or slice(None)).indices(height)
    left, right, _ = (columns or slice(None)).indices(width)
    return Window(left, top, max(0, right - left), max(0, bottom - top))
