"""The raster of a change: a code per transition, with names and colours, and the lower confidence as second band.

It is a map of classes like others: its classes are transitions, so what reads maps reads it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.errors import DataError, RunError
from landsift.mapping.change_tables import ARROW
from landsift.mapping.classes import MOST, NO_DATA, ClassTable, MapClass
from landsift.mapping.cog import FULL, join, open_band, writing_raster
from landsift.mapping.map_file import TILE, open_raster
from landsift.mapping.map_info import CONFIDENCE_SCALE, FORMAT, TAG, MapAbout
from landsift.mapping.vrt import Band

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
        self._work = folder / "work"
        self._bands = [Band("class.tif", 1, "class", "uint16", NO_DATA, classes=transitions)]
        if confidence:
            self._bands.append(Band("confidence.tif", 1, "confidence", "uint16", NO_DATA, CONFIDENCE_SCALE))
        self._cells = np.zeros(len(transitions) + 1, np.int64)

    def __enter__(self) -> ChangeRaster:
        with contextlib.ExitStack() as stack, writing_raster(self._shown):
            self._work.mkdir()
            self._open = [
                stack.enter_context(open_band(self._work / band.source, self.grid, band.dtype, band.no_data))
                for band in self._bands
            ]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        with writing_raster(self._shown):
            self._stack.close()

    def write(
        self, rows: slice, columns: slice, codes: NDArray[np.integer], per_cent: NDArray[np.integer] | None
    ) -> None:
        """Write a window: codes of transitions [h, w] and the confidence in per cent [h, w]."""
        from rasterio.windows import Window

        window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        self._cells += np.bincount(codes.ravel(), minlength=len(self._cells))
        bands = [codes] if per_cent is None else [codes, np.where(codes == NO_DATA, NO_DATA, per_cent)]
        with writing_raster(self._shown):
            for dataset, values in zip(self._open, bands, strict=True):
                dataset.write(values.astype(np.uint16), 1, window=window)

    def finish(self, about: MapAbout) -> None:
        """Join the bands in a Cloud-Optimized GeoTIFF, after the `with` statement."""
        described = {"format": FORMAT, "classes": self.transitions.to_json(), "about": about.to_json()}
        with writing_raster(self._shown):
            join(self._work, self._bands, self.grid, {TAG: json.dumps(described)}, self.path)
            shutil.rmtree(self._work)
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
            raise RunError(f"cannot write {self._shown}: the file does not hold what was written", FULL)


def _pale(each: MapClass) -> str:
    return "#" + "".join(f"{round(255 * PALE + level * (1 - PALE)):02x}" for level in each.rgb)
