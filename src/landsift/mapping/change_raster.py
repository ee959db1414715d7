"""The raster of a change: a code per transition, with names and colours, and the lower confidence as second band.

It is a map of classes like others: its classes are transitions, so what reads maps reads it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.errors import DataError, RunError
from landsift.mapping.change_tables import ARROW
from landsift.mapping.classes import MOST, NO_DATA, ClassTable, MapClass
from landsift.mapping.gdal import gdal, reason
from landsift.mapping.map_file import TILE, open_raster
from landsift.mapping.map_info import CONFIDENCE_SCALE, FORMAT, TAG, MapAbout
from landsift.mapping.vrt import Band, vrt_of
from landsift.runtime.whole import writing

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

PALE = 0.75
"""White in the colour of an unchanged cell."""
SIDE = 4 * TILE
"""Of the windows in which maps are compared, in cells: memory does not grow with the maps."""


def transition_classes(classes: ClassTable) -> ClassTable:
    """A class per transition, K x K, in the order of `transition_codes`; pale where nothing changes.

    A change has the colour of the new class.

    Raises:
        DataError: there are more transitions than 16 bits hold.
    """
    if len(classes) ** 2 > MOST:
        raise DataError(
            f"{len(classes):,} classes have more transitions than a raster of 16 bits holds, {MOST:,}",
            "join some of them",
        )
    pairs = [(before, after) for before in classes for after in classes]
    return ClassTable(
        tuple(
            MapClass(code, f"{before.name}{ARROW}{after.name}", after.colour if before != after else _pale(after))
            for code, (before, after) in enumerate(pairs, start=1)
        )
    )


def windows(grid: GeoBox) -> Iterator[tuple[slice, slice]]:
    """All cells of a grid as windows of rows and columns, whole tiles."""
    height, width = grid.shape
    for top in range(0, height, SIDE):
        for left in range(0, width, SIDE):
            yield slice(top, min(top + SIDE, height)), slice(left, min(left + SIDE, width))


class ChangeRaster:
    """A raster of transitions that is being written; used in a `with` statement, then `finish`.

    Args:
        folder: nobody else writes to it.
        out: where the folder will be; errors name it.
        grid: of the cells.
        transitions: its classes.
        confidence: whether there is a second band.
    """

    def __init__(self, folder: Path, out: Path, grid: GeoBox, transitions: ClassTable, *, confidence: bool) -> None:
        self.path, self._shown = folder / "change.tif", out / "change.tif"
        self.grid, self.transitions = grid, transitions
        self._names = ["class.tif", *(["confidence.tif"] if confidence else [])]
        self._cells = np.zeros(len(transitions) + 1, np.int64)

    def __enter__(self) -> ChangeRaster:
        import rasterio

        height, width = self.grid.shape
        place = {"transform": self.grid.affine, "crs": _crs(self.grid)}
        with contextlib.ExitStack() as stack, _writing(self._shown):
            self._open = [
                stack.enter_context(
                    rasterio.open(
                        self.path.with_name(name), "w", driver="GTiff", height=height, width=width, count=1,
                        dtype="uint16", nodata=NO_DATA, tiled=True, blockxsize=TILE, blockysize=TILE,
                        BIGTIFF="IF_SAFER", SPARSE_OK=True, **place,
                    )
                )
                for name in self._names
            ]  # fmt: skip
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        with _writing(self._shown):
            self._stack.close()

    def write(
        self, rows: slice, columns: slice, codes: NDArray[np.integer], per_cent: NDArray[np.integer] | None
    ) -> None:
        """Write a window: codes of transitions [h, w] and the confidence in per cent [h, w]."""
        from rasterio.windows import Window

        window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        self._cells += np.bincount(codes.ravel(), minlength=len(self._cells))
        bands = [codes] if per_cent is None else [codes, np.where(codes == NO_DATA, NO_DATA, per_cent)]
        with _writing(self._shown):
            for dataset, values in zip(self._open, bands, strict=True):
                dataset.write(values.astype(np.uint16), 1, window=window)

    def finish(self, about: MapAbout) -> None:
        """Join the bands in a Cloud-Optimized GeoTIFF, after the `with` statement."""
        import rasterio.shutil

        described = {"format": FORMAT, "classes": self.transitions.to_json(), "about": about.to_json()}
        bands = [Band("class.tif", 1, "class", "uint16", NO_DATA, classes=self.transitions)]
        if len(self._names) > 1:
            bands.append(Band("confidence.tif", 1, "confidence", "uint16", NO_DATA, CONFIDENCE_SCALE))
        vrt = self.path.with_name("change.vrt")
        with _writing(self._shown):
            for name, resampling in zip(self._names, ("mode", "average"), strict=False):
                _add_overviews(self.path.with_name(name), resampling, self.grid)
            vrt.write_text(
                vrt_of(self.grid, vrt.parent.absolute(), bands, {TAG: json.dumps(described)}), encoding="utf-8"
            )
            rasterio.shutil.copy(
                vrt, self.path, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=TILE, OVERVIEW_RESAMPLING="MODE",
                BIGTIFF="IF_SAFER",
            )  # fmt: skip
            for name in (*self._names, vrt.name):
                self.path.with_name(name).unlink()
                self.path.with_name(f"{name}.aux.xml").unlink(missing_ok=True)
        self._check()

    def _check(self) -> None:
        """Read the raster back: what a full disk swallows raises no error in GDAL."""
        from rasterio.windows import Window

        counts = np.zeros_like(self._cells)
        with open_raster(self.path) as dataset:
            for rows, columns in windows(self.grid):
                window = Window.from_slices(rows, columns)
                counts += np.bincount(dataset.read(1, window=window).ravel(), minlength=len(counts))
        if not np.array_equal(counts, self._cells):
            raise RunError(f"cannot write {self._shown}: the file does not hold what was written", "free space on disk")


def _pale(each: MapClass) -> str:
    return "#" + "".join(f"{round(255 * PALE + level * (1 - PALE)):02x}" for level in each.rgb)


def _crs(grid: GeoBox) -> str:
    assert grid.crs is not None
    return grid.crs.to_wkt() if grid.crs.epsg is None else f"EPSG:{grid.crs.epsg}"


def _add_overviews(path: Path, resampling: str, grid: GeoBox) -> None:
    import rasterio
    from rasterio.enums import Resampling

    factors: list[int] = []
    side = max(grid.shape)
    while side > TILE:
        side = -(-side // 2)
        factors.append(2 ** (len(factors) + 1))
    if factors:
        with rasterio.open(path, "r+") as dataset:
            dataset.build_overviews(factors, Resampling[resampling])


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    from rasterio.errors import RasterioError

    try:
        with gdal(), writing(path):
            yield
    except RasterioError as error:
        hint = "check the disk's free space and the folder's rights"
        raise RunError(f"cannot write {path}: {reason(error)}", hint) from None
