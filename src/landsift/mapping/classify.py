"""From a scene to probabilities on the grid of a map, strip by strip: memory does not grow with the scene's height.

A cell of the map is `stride` × `stride` pixels. Patches start at multiples of the stride; the last ones of a row and of
a column are moved inwards, so that the edges are covered. The probabilities of a cell are the mean over the patches
that cover it: of one, where the stride is the side of a patch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio import Affine

from landsift.errors import DataError
from landsift.mapping.scenes import Scene

if TYPE_CHECKING:
    from landsift.models.predictor import Predictor

MIN_VALID = 0.9
"""Share of a patch's pixels, and of a cell's, that must have data. What is missing of a patch is the mean of the
training, which no patch of the training had much of."""
CHUNK_BYTES = 64 * 2**20
"""Of a scene that is read at once, about; two are held, one of them while the next is read."""
_AT_ONCE = 1024  # patches given to the model in one call


class Strip(NamedTuple):
    """Rows of a map."""

    rows: slice
    probabilities: NDArray[np.float32]
    """[h, w, K]; 0 where a cell is not valid."""
    valid: NDArray[np.bool_]
    """[h, w]"""
    patches: int
    """How many patches were classified for them."""


@dataclass(frozen=True)
class Layout:
    """Where the patches of a scene lie, along one of its sides.

    Attributes:
        length: of the side in pixels.
        patch: side of a patch.
        stride: side of a cell.
    """

    length: int
    patch: int
    stride: int

    @property
    def cells(self) -> int:
        """How many cells the side has; the last may reach beyond it."""
        return -(-self.length // self.stride)

    @property
    def starts(self) -> NDArray[np.int64]:
        """First pixels of the patches."""
        last = self.length - self.patch
        return np.append(np.arange(0, last, self.stride, dtype=np.int64), last)

    def covered(self, start: int) -> range:
        """The cells that a patch covers wholly, as far as they lie in the scene."""
        end = start + self.patch
        return range(-(-start // self.stride), self.cells if end >= self.length else end // self.stride)


def map_grid(scene: GeoBox, stride: int) -> GeoBox:
    """The grid of the cells: from the scene's corner, each of `stride` × `stride` pixels."""
    shape = (-(-scene.height // stride), -(-scene.width // stride))
    return GeoBox(shape, scene.affine @ Affine.scale(stride), scene.crs)


def classify(
    scene: Scene,
    predictor: Predictor,
    *,
    stride: int | None = None,
    min_valid: float = MIN_VALID,
    advance: Callable[[int], None] | None = None,
) -> Iterator[Strip]:
    """Classify the patches of a scene.

    Args:
        scene: as the predictor's model takes it.
        predictor: the model. A cell that one patch covers has the probabilities that `predictor` gives for it.
        stride: side of a cell in pixels, 1 to the side of a patch; None: that.
        min_valid: share of the pixels of a patch, and of a cell, that must be valid.
        advance: called with the number of rows of the map that are done since.

    Yields:
        The rows of the map, in order.

    Raises:
        DataError: the scene is smaller than a patch, the model's patches are not square, or a file is damaged.
        ValueError: the stride is out of range.
    """
    patch = side_of(predictor)
    stride = patch if stride is None else stride
    if not 1 <= stride <= patch:
        raise ValueError(f"a stride of {stride} is not between 1 and the {patch} pixels of a patch")
    height, width = scene.grid.shape
    if height < patch or width < patch:
        raise DataError(
            f"{scene.name}: {height} × {width} pixels, which is less than a patch of {patch} × {patch}",
            "give a larger scene",
        )
    down, across = Layout(height, patch, stride), Layout(width, patch, stride)
    cells = _Cells(down, across, len(predictor.classes))
    for tops, values, valid in _chunks(scene, down):
        first = tops[0]
        patches = 0
        before = cells.done
        for top in tops.tolist():
            there = valid[top - first : top - first + patch]
            patches += _row(predictor, cells, values[top - first : top - first + patch], there, top, min_valid)
            for row in cells.begun(top):
                shares = _cell_shares(there, row * stride - top, across, down, row)
                cells.valid[row] = shares >= min_valid
        last = tops[-1] + stride if tops[-1] + patch < height else None
        rows, probabilities, known = cells.finished(down.cells if last is None else last // stride)
        if advance is not None:
            advance(rows.stop - before)
        yield Strip(rows, probabilities, known, patches)


def side_of(predictor: Predictor) -> int:
    """Side of the model's patches in pixels; raises DataError where they are not square."""
    height, width = predictor.description.patch_size
    if height != width:
        raise DataError(
            f"the model's patches are {height} × {width} pixels, and maps are made of square ones",
            "train with data.patch_size set to one number",
        )
    return height


class _Cells:
    """Sums of the probabilities of rows of cells that are not finished.

    Attributes:
        done: how many rows are finished.
        valid: of the others, by row, which cells have enough valid pixels, bool [w].
    """

    def __init__(self, down: Layout, across: Layout, classes: int) -> None:
        self.down, self.across, self.done = down, across, 0
        self.valid: dict[int, NDArray[np.bool_]] = {}
        self._sums: dict[int, NDArray[np.float64]] = {}
        self._counts: dict[int, NDArray[np.int64]] = {}
        self._classes = classes
        lefts = across.starts.tolist()
        self._first = np.array([across.covered(left).start for left in lefts])
        self._stop = np.array([across.covered(left).stop for left in lefts])

    def begun(self, top: int) -> list[int]:
        """Rows of cells that patches of this row are the first to cover."""
        return [row for row in self.down.covered(top) if row not in self.valid]

    def add(self, top: int, places: NDArray[np.int64], probabilities: NDArray[np.float32]) -> None:
        """Add patches of one row, [n, K], which start at `across.starts[places]`."""
        sums = np.zeros((self.across.cells, self._classes))
        counts = np.zeros(self.across.cells, dtype=np.int64)
        first, stop = self._first[places], self._stop[places]
        for step in range(int((stop - first).max(initial=0))):
            covers = first + step < stop
            at = (first + step)[covers]
            np.add.at(sums, at, probabilities[covers])
            np.add.at(counts, at, 1)
        for row in self.down.covered(top):
            if row in self._sums:
                self._sums[row] += sums
                self._counts[row] += counts
            else:
                self._sums[row], self._counts[row] = sums.copy(), counts.copy()

    def finished(self, stop: int) -> tuple[slice, NDArray[np.float32], NDArray[np.bool_]]:
        """Rows up to `stop`: their means, float32 [h, w, K], and which cells have a class, bool [h, w].

        Those have enough valid pixels, and a classified patch covers them; the means of others are 0.
        """
        rows = slice(self.done, stop)
        shape = (stop - self.done, self.across.cells)
        means = np.zeros((*shape, self._classes), dtype=np.float32)
        found = np.zeros(shape, dtype=bool)
        for i, row in enumerate(range(self.done, stop)):
            valid, counts = self.valid.pop(row), self._counts.pop(row, None)
            if counts is not None:
                found[i] = valid & (counts > 0)
                means[i] = np.where(found[i][:, None], self._sums.pop(row) / np.maximum(counts, 1)[:, None], 0)
        self.done = stop
        return rows, means, found


def _row(
    predictor: Predictor,
    cells: _Cells,
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    top: int,
    min_valid: float,
) -> int:
    """Classify the patches of a row, values [p, W, C]; how many there were with enough valid pixels."""
    patch, starts = cells.across.patch, cells.across.starts
    before = np.concatenate([[0], np.cumsum(valid.sum(axis=0))])
    enough = (before[starts + patch] - before[starts]) >= min_valid * patch**2
    places = np.flatnonzero(enough)
    windows = sliding_window_view(values, patch, axis=1)  # [p, W - p + 1, C, p], a view
    for begin in range(0, len(places), _AT_ONCE):
        some = places[begin : begin + _AT_ONCE]
        images = np.ascontiguousarray(windows[:, starts[some]].transpose(1, 0, 3, 2))
        cells.add(top, some, predictor.probabilities(images))
    return len(places)


def _cell_shares(valid: NDArray[np.bool_], first: int, across: Layout, down: Layout, row: int) -> NDArray[np.float64]:
    """Share of valid pixels of the cells of a row, [w]; pixels beyond the scene do not count.

    Args:
        valid: of the patches' rows, [p, W].
        first: row of the cells in them.
        across: where the cells lie along the rows.
        down: and along the columns.
        row: number of the row of cells.
    """
    height = min((row + 1) * down.stride, down.length) - row * down.stride
    edges = np.arange(0, across.length, across.stride)
    sums = np.add.reduceat(valid[first : first + height].sum(axis=0), edges)
    widths = np.diff(np.append(edges, across.length))
    return np.asarray(sums / (height * widths))


def _chunks(scene: Scene, down: Layout) -> Iterator[tuple[NDArray[np.int64], NDArray[Any], NDArray[np.bool_]]]:
    """Rows of patches, and the pixels [h, W, C] from the first of them on; the next are read meanwhile."""
    width = scene.grid.width
    line = width * (len(scene.bands) * scene.bands.numpy_dtype.itemsize + 1)
    rows = max(down.patch, CHUNK_BYTES // line)
    blocks = rows // scene.block[0] * scene.block[0]  # pieces that are not decoded twice, where a few have room
    per_chunk = max(1, (max(blocks, down.patch) - down.patch) // down.stride + 1)
    starts = down.starts
    chunks = [starts[begin : begin + per_chunk] for begin in range(0, len(starts), per_chunk)]

    def read(tops: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        return scene.read(slice(int(tops[0]), int(tops[-1]) + down.patch), slice(0, width))

    with ThreadPoolExecutor(1, thread_name_prefix="scene") as pool:
        coming = pool.submit(read, chunks[0])
        for number, tops in enumerate(chunks):
            values, valid = coming.result()
            if number + 1 < len(chunks):
                coming = pool.submit(read, chunks[number + 1])
            yield tops, values, valid
