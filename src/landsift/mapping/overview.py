"""A map in few pixels: for its PNG, and for pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landsift.mapping.classes import ClassTable
from landsift.mapping.map_file import open_raster, read_codes
from landsift.mapping.map_info import CONFIDENCE_SCALE, MapInfo

PNG_SIDE = 1024
"""Pixels of the longer side of MAP.png at most; small maps are enlarged to about half of it."""


def small_shape(shape: tuple[int, int], longest: int) -> tuple[int, int]:
    """The shape of an overview whose longer side is at most `longest`; that of the map where it is small enough."""
    factor = max(1.0, max(shape) / longest)
    return max(1, round(shape[0] / factor)), max(1, round(shape[1] / factor))


def small_classes(info: MapInfo, longest: int) -> NDArray[np.uint16]:
    """Codes of an overview, uint16 [h, w]: of each square of cells the most frequent class.

    Raises:
        DataError: the file cannot be read, or has values that are no class.
    """
    from rasterio.enums import Resampling

    with open_raster(info.path) as dataset:
        shape = small_shape(info.grid.shape, longest)
        return read_codes(dataset, info, out_shape=shape, resampling=Resampling.mode)


def small_confidence(info: MapInfo, longest: int) -> NDArray[np.float32] | None:
    """Mean confidence of an overview, float32 [h, w] in 0..1, 0 where there is no class; None without such a band.

    Raises:
        DataError: the file cannot be read.
    """
    from rasterio.enums import Resampling

    if info.confidence_band is None:
        return None
    shape = small_shape(info.grid.shape, longest)
    with open_raster(info.path) as dataset:
        raw = dataset.read(info.confidence_band, out_shape=shape, resampling=Resampling.average)
    return np.asarray(raw * np.float32(CONFIDENCE_SCALE), dtype=np.float32)


def coloured(codes: NDArray[np.integer], classes: ClassTable) -> NDArray[np.uint8]:
    """Codes as colours, uint8 [h, w, 4]; no data is transparent."""
    colours = np.zeros((len(classes) + 1, 4), np.uint8)
    for each in classes:
        colours[each.code] = (*each.rgb, 255)
    return np.asarray(colours[codes])


def write_png(path: Path, info: MapInfo) -> None:
    """Write a map as a picture."""
    from PIL import Image

    picture = Image.fromarray(coloured(small_classes(info, PNG_SIDE), info.classes))
    if (factor := PNG_SIDE // 2 // max(picture.size)) > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    picture.save(path, format="PNG", optimize=True)
