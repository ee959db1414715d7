"""Writes small rasters of any bands through rasterio, with what GDAL says of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

NORTH_UP = from_origin(500_000, 5_500_000, 10, 10)
"""Pixels of 10 m, near 3° E and 49.6° N in EPSG:32631."""


def raster(
    path: Path,
    values: np.ndarray,
    *,
    names: Sequence[str] = (),
    scale: float | Sequence[float] = 1.0,
    offset: float | Sequence[float] = 0.0,
    units: str = "",
    nodata: float | None = None,
    tags: dict[str, str] | None = None,
    driver: str = "GTiff",
    crs: str | None = "EPSG:32631",
    transform=NORTH_UP,
    mask: np.ndarray | None = None,
    **options: object,
) -> Path:
    """Write values [H, W, C] as they are."""
    height, width, count = values.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        rasterio.Env(GDAL_PAM_ENABLED="YES", GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver=driver, height=height, width=width, count=count, dtype=values.dtype, crs=crs,
            transform=transform, nodata=nodata, **options,
        ) as file,
    ):  # fmt: skip
        file.write(np.moveaxis(values, -1, 0))
        if names:
            file.descriptions = tuple(names)
        if scale != 1.0 or offset != 0.0:
            file.scales = np.broadcast_to(scale, count).tolist()
            file.offsets = np.broadcast_to(offset, count).tolist()
        if units:
            file.units = (units,) * count
        if tags:
            file.update_tags(**tags)
        if mask is not None:
            file.write_mask(mask)
    return path


def numbers(count: int, dtype: str = "uint16", size: tuple[int, int] = (16, 12), seed: int = 0) -> np.ndarray:
    """Values [H, W, C] as Sentinel-2's reflectances are: some hundreds to some thousands, each band another level."""
    random = np.random.default_rng(seed)
    if dtype == "uint8":
        return random.integers(1, 255, (*size, count), dtype=np.uint8)
    level = np.linspace(500, 3000, count)
    return (level + random.integers(0, 400, (*size, count))).astype(dtype)
