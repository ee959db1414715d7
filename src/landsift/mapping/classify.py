"""From a scene to the probabilities of its map's cells, strip by strip.

A window of some rows of patches is read while the model answers for the one before. Memory is that of a few windows and
of the rows of patches that cover a row of cells; it does not grow with the scene's height, and with its width only by
a row's probabilities.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from landsift.image_sizes import Size
from landsift.mapping.overlap import Flags, Overlap, Probabilities, Strip
from landsift.mapping.patch_grid import PatchGrid, Run, shares_of_cells, shares_of_patches, views
from landsift.runtime.parallel import cores

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from landsift.bands import BandSpec
    from landsift.models.loading import AnyPredictor

MIN_VALID = 0.9
"""Share of a patch's pixels, and of a cell's, that must be valid for a class (docs/decisions/0017-maps.md)."""
WINDOW_BYTES = 2**25
"""Of the pixels of a window, about: 512 rows of a Sentinel-2 tile in three bands of 8 bits."""
RESULT_BYTES = 2**25
"""Of the probabilities of the patches of a window's rows, at most, unless one row has more."""
TALLEST = 2048
"""Rows of a window, at most, however large the pieces are in which a file is stored."""
BATCH_BYTES = 2**25
"""Of the patches that a predictor gets at a time."""
MOST_READERS = 4
"""Threads that read a scene ahead of the model; half of the cores are left to the model."""
BATCH = 512
"""Patches on a GPU at a time; on a CPU the predictor takes fewer, as fit the caches."""


class Pixels(Protocol):
    """What is read of a scene (`landsift.mapping.scenes.Scene`)."""

    @property
    def grid(self) -> GeoBox:
        """Of its pixels."""

    @property
    def bands(self) -> BandSpec:
        """What its numbers mean."""

    @property
    def block(self) -> Size:
        """Height and width of the pieces that its files are stored in, in pixels."""

    def read(self, rows: slice, cols: slice) -> tuple[NDArray[Any], Flags]:
        """Values [h, w, C] of a window, and which pixels are valid, [h, w]."""


class Model(Protocol):
    """What answers for patches: one by one (`PatchByPatch`), or from the features of a window (`dense.Dense`)."""

    side: Size
    """Height and width in pixels that a window should have at least."""
    classes: int
    """K."""

    def __call__(self, values: NDArray[Any], wanted: Flags, rows: Run, cols: Run) -> Probabilities:
        """Probabilities of the patches of two runs, float32 [rows.count, cols.count, K], zeros of what is not wanted.

        Args:
            values: their pixels, [h, w, C].
            wanted: of which patches there must be some, [rows.count, cols.count].
            rows: the run along the height.
            cols: the run along the width.
        """


class PatchByPatch:
    """Answers for each patch as `predict` does, by the same predictor."""

    side = (256, 256)

    def __init__(self, predictor: AnyPredictor) -> None:
        self._predictor = predictor
        self.classes = len(predictor.classes)

    def __call__(self, values: NDArray[Any], wanted: Flags, rows: Run, cols: Run) -> Probabilities:
        """As of `Model`; no more of the patches is copied at a time than the predictor gets."""
        patches = views(values, rows, cols)
        found = np.zeros((*wanted.shape, self.classes), np.float32)
        row, col = np.nonzero(wanted)
        step = max(1, BATCH_BYTES // (rows.patch * cols.patch * values.shape[2] * values.itemsize))
        for start in range(0, len(row), step):
            some = row[start : start + step], col[start : start + step]
            found[some] = self.answers(patches[some])
        return found

    def answers(self, patches: NDArray[Any]) -> Probabilities:
        """Of patches [B, h, w, C]: float32 [B, K]."""
        return self._predictor.probabilities(patches, BATCH)


class _Window(NamedTuple):
    rows: Run
    cols: Run
    values: NDArray[Any]
    valid: Flags


def classify(
    scene: Pixels,
    model: Model,
    grid: PatchGrid,
    *,
    min_valid: float = MIN_VALID,
    advance: Callable[[int, int], None] = lambda patches, classified: None,
) -> Generator[Strip]:
    """The rows of a scene's map, from the first to the last.

    A cell's probabilities are the mean over all patches that hold all of its pixels. Patches of which too few pixels
    are valid are not classified; a cell has nothing if none of its patches is, or too few of its own pixels are valid.

    Args:
        scene: that is read; from another thread.
        model: what answers for patches.
        grid: where they lie.
        min_valid: share of a patch's pixels, and of a cell's, that must be valid; above 0.
        advance: is told how many more patches are done, and how many of them were classified.

    Raises:
        DataError: a file of the scene is damaged.
    """
    bytes_per_pixel = len(scene.bands) * scene.bands.numpy_dtype.itemsize
    tall, wide = window_counts(grid, scene.block, model.side, bytes_per_pixel, model.classes)
    overlap = Overlap(grid)
    read = _Ahead(scene, ((rows, cols) for rows in grid.rows.runs(tall) for cols in grid.cols.runs(wide)))
    with read as windows:
        for rows in grid.rows.runs(tall):
            probabilities = np.zeros((rows.count, grid.cols.count, model.classes), np.float32)
            wanted = np.zeros(probabilities.shape[:2], bool)
            visible = np.zeros((rows.cells.stop - rows.cells.start, grid.cols.cells), bool)
            for cols in grid.cols.runs(wide):
                window = next(windows)
                some = shares_of_patches(window.valid, rows, cols) >= min_valid
                wanted[:, cols.patches] = some
                visible[:, cols.cells] = shares_of_cells(window.valid, rows, cols) >= min_valid
                if some.any():
                    probabilities[:, cols.patches] = model(window.values, some, rows, cols)
                advance(some.size, int(some.sum()))
            strip = overlap.add(probabilities, wanted, visible)
            if strip is not None:
                yield strip


def window_counts(grid: PatchGrid, block: Size, side: Size, bytes_per_pixel: int, classes: int) -> tuple[int, int]:
    """How many rows and columns of patches a window has.

    Windows are as tall as whole pieces of the file, so that none of those is read twice, and as wide as memory allows.

    Args:
        grid: of the patches.
        block: height and width of the pieces that the files are stored in, in pixels.
        side: height and width that a window should have at least, in pixels.
        bytes_per_pixel: of all bands.
        classes: K.
    """
    rows, cols = grid.rows, grid.cols
    wished = max(side[0], rows.patch)
    height = min(block[0] * -(-wished // block[0]), max(TALLEST, rows.patch))
    tall = max(1, height // rows.stride)
    tall = max(1, min(tall, rows.regular, RESULT_BYTES // (cols.count * classes * 4)))
    pixels = WINDOW_BYTES // (bytes_per_pixel * ((tall - 1) * rows.stride + rows.patch))
    wide = max(1, (pixels - cols.patch) // cols.stride + 1)
    if wide < cols.regular and (whole := block[1] // cols.stride) and wide > whole:
        wide -= wide % whole
    return tall, max(1, min(wide, cols.regular))


class _Ahead:
    """Windows of a scene in their order, the next of them being read while one is used; a context manager."""

    def __init__(self, scene: Pixels, runs: Iterator[tuple[Run, Run]]) -> None:
        self._scene, self._runs = scene, runs
        self._threads = max(1, min(MOST_READERS, cores() // 2))
        self._pool = ThreadPoolExecutor(self._threads, "landsift-scene")
        self._waiting: deque[Future[_Window]] = deque()

    def __enter__(self) -> Iterator[_Window]:
        return self._windows()

    def __exit__(self, *_: object) -> None:
        for future in self._waiting:
            future.cancel()
        self._pool.shutdown(wait=True)  # the scene is closed when none of its threads reads

    def _windows(self) -> Iterator[_Window]:
        self._submit(self._threads)
        while self._waiting:
            window = self._waiting.popleft().result()
            self._submit(1)
            yield window

    def _submit(self, count: int) -> None:
        for rows, cols in islice(self._runs, count):
            self._waiting.append(self._pool.submit(self._read, rows, cols))

    def _read(self, rows: Run, cols: Run) -> _Window:
        return _Window(rows, cols, *self._scene.read(rows.pixels, cols.pixels))
