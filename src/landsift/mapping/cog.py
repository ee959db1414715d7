"""A Cloud-Optimized GeoTIFF of bands that are written one by one.

Each band is written to a file of its own first, with overviews of its own: the most frequent class, but the mean
confidence. A VRT joins them, with names and colours, and GDAL's driver COG copies it. That driver alone would make the
overviews of all bands in one way. Memory does not grow with the raster.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift.errors import RunError
from landsift.mapping.gdal import crs_of, errors, gdal, reason
from landsift.mapping.map_file import TILE
from landsift.mapping.vrt import Band, vrt_of
from landsift.runtime.whole import writing

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from rasterio.io import DatasetWriter

FULL = "free space on disk"
"""What to do where a file does not hold what was written: GDAL raises no error on a full disk."""


@contextlib.contextmanager
def writing_raster(path: Path) -> Iterator[None]:
    """GDAL's settings for writing, and its errors in our words; `path` is what they name.

    Raises:
        RunError: it cannot be written.
    """
    try:
        with gdal(), writing(path):
            yield
    except errors() as error:
        hint = "check the disk's free space and the folder's rights"
        raise RunError(f"cannot write {path}: {reason(error)}", hint) from None


def open_band(path: Path, grid: GeoBox, dtype: str, no_data: int, count: int = 1) -> DatasetWriter:
    """A tiled GeoTIFF to write one band to, or several that belong together."""
    import rasterio

    height, width = grid.shape
    place: dict[str, Any] = {} if grid.affine.is_identity else {"transform": grid.affine}
    if grid.crs is not None:
        place["crs"] = crs_of(grid)
    return rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=count, dtype=dtype, nodata=no_data, tiled=True,
        blockxsize=TILE, blockysize=TILE, interleave="band", BIGTIFF="IF_SAFER", SPARSE_OK=True, **place,
    )  # fmt: skip


def join(work: Path, bands: Sequence[Band], grid: GeoBox, tags: Mapping[str, str], out: Path) -> None:
    """Join bands in a Cloud-Optimized GeoTIFF.

    Args:
        work: the folder of the bands' files, which are closed; it is of no further use to them.
        bands: of the GeoTIFF; classes get overviews by mode, all others by mean.
        grid: of the cells.
        tags: of the GeoTIFF.
        out: the GeoTIFF.
    """
    import rasterio.shutil

    levels = 0
    for source in {band.source for band in bands}:
        is_classes = any(band.classes for band in bands if band.source == source)
        levels = _add_overviews(work / source, "mode" if is_classes else "average", grid)
    bands = [replace(band, overviews=levels) for band in bands]
    vrt = work / f"{out.name}.vrt"
    vrt.write_text(vrt_of(grid, work.absolute(), bands, tags), encoding="utf-8")
    rasterio.shutil.copy(
        vrt, out, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=TILE, OVERVIEWS="FORCE_USE_EXISTING", BIGTIFF="IF_SAFER"
    )


def _add_overviews(path: Path, resampling: str, grid: GeoBox) -> int:
    """Add overviews until the smallest is one tile; returns how many."""
    import rasterio
    from rasterio.enums import Resampling

    factors: list[int] = []
    side = max(grid.shape)
    while side > TILE and 2 ** (len(factors) + 1) <= grid.width:  # COG readers take the decimation from the widths
        side = -(-side // 2)
        factors.append(2 ** (len(factors) + 1))
    if factors:
        with rasterio.open(path, "r+") as dataset:
            dataset.build_overviews(factors, Resampling[resampling])
    return len(factors)
