"""Where the patches of a scene lie, and which of them cover a cell of its map.

Patches start at multiples of the stride; where the last one would leave something uncovered, one more is moved inwards
to end with the scene. A cell of the map is a square of one stride, and the last may reach beyond the scene.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio import Affine

from landsift.errors import DataError
from landsift.image_sizes import Size, by


@dataclass(frozen=True)
class Run:
    """Patches along one side of a scene that follow one another by one stride.

    Attributes:
        index: of the first, among all along this side.
        start: its first pixel.
        count: how many.
        patch: pixels of a patch along this side.
        stride: pixels from one to the next.
        cells: of the map, of which all pixels lie in these patches and in none before.
        edges: the cells' first pixels from `start` on, and the end of the last, [cells + 1].
    """

    index: int
    start: int
    count: int
    patch: int
    stride: int
    cells: slice
    edges: NDArray[np.int64]

    @property
    def pixels(self) -> slice:
        """From the first pixel of the first patch to the last of the last."""
        return slice(self.start, self.start + (self.count - 1) * self.stride + self.patch)

    @property
    def patches(self) -> slice:
        """Their numbers among all along this side."""
        return slice(self.index, self.index + self.count)


@dataclass(frozen=True)
class Axis:
    """The patches along one side of a scene, all in pixels.

    Attributes:
        length: of the scene.
        patch: of a patch, at most `length`.
        stride: from a patch to the next, at most `patch`.
    """

    length: int
    patch: int
    stride: int

    @property
    def cells(self) -> int:
        """Cells of the map."""
        return -(-self.length // self.stride)

    @property
    def regular(self) -> int:
        """Patches that start at a multiple of the stride."""
        return (self.length - self.patch) // self.stride + 1

    @property
    def count(self) -> int:
        """Patches, with the one that is moved inwards."""
        return self.regular + bool((self.length - self.patch) % self.stride)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """First pixels of the patches, [count]."""
        return np.minimum(np.arange(self.count, dtype=np.int64) * self.stride, self.length - self.patch)

    @cached_property
    def covering(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first and the last patch that hold all of a cell's pixels, [cells] each; there is always one."""
        begin = np.arange(self.cells, dtype=np.int64) * self.stride
        end = np.minimum(begin + self.stride, self.length)
        return (
            np.searchsorted(self.starts, end - self.patch, side="left"),
            np.searchsorted(self.starts, begin, side="right") - 1,
        )

    def runs(self, most: int) -> Iterator[Run]:
        """All patches in runs of at most `most`; the one that is moved inwards is a run of its own."""
        for index in range(0, self.regular, most):
            count = min(most, self.regular - index)
            last = index + count == self.count
            yield self._run(index, count, slice(index, self.cells if last else index + count))
        if self.count > self.regular:
            yield self._run(self.regular, 1, slice(self.regular, self.cells))

    def _run(self, index: int, count: int, cells: slice) -> Run:
        start = int(self.starts[index])
        edges = np.minimum(np.arange(cells.start, cells.stop + 1, dtype=np.int64) * self.stride, self.length) - start
        return Run(index, start, count, self.patch, self.stride, cells, edges)


@dataclass(frozen=True)
class PatchGrid:
    """The patches of a scene.

    Attributes:
        rows, cols: along its height and its width.
        box: of its pixels.
    """

    rows: Axis
    cols: Axis
    box: GeoBox

    @classmethod
    def of(cls, name: str, box: GeoBox, patch: Size, stride: int | None = None) -> PatchGrid:
        """The patches of a scene.

        Args:
            name: of the scene, for people.
            box: of its pixels.
            patch: height and width of a patch in pixels.
            stride: pixels from a patch to the next; None: those of a patch, so that none overlap.

        Raises:
            DataError: the scene is smaller than a patch, or there would be pixels between patches.
        """
        height, width = box.shape
        if height < patch[0] or width < patch[1]:
            raise DataError(
                f"{name}: {by((height, width))} pixels, less than one patch of {by(patch)}",
                "`landsift predict` classifies single patches of any size",
            )
        strides = patch if stride is None else (stride, stride)
        if stride is not None and not 1 <= stride <= min(patch):
            raise DataError(
                f"--stride {stride} is not between 1 and the {min(patch)} pixels of a patch",
                "a smaller stride gives smaller cells",
            )
        return cls(Axis(height, patch[0], strides[0]), Axis(width, patch[1], strides[1]), box)

    @property
    def patch(self) -> Size:
        """Height and width of a patch in pixels."""
        return self.rows.patch, self.cols.patch

    @property
    def cells(self) -> GeoBox:
        """The map's grid: its origin and CRS are those of the scene, its cells a stride."""
        affine = self.box.affine @ Affine.scale(self.cols.stride, self.rows.stride)
        return GeoBox((self.rows.cells, self.cols.cells), affine, self.box.crs)


def views(values: NDArray[Any], rows: Run, cols: Run) -> NDArray[Any]:
    """The patches of a window as a view of it, [rows.count, cols.count, height, width, C].

    Args:
        values: pixels of the patches of two runs, [h, w, C].
        rows: the run along the height.
        cols: the run along the width.
    """
    down, across, deep = values.strides
    return np.lib.stride_tricks.as_strided(
        values,
        (rows.count, cols.count, rows.patch, cols.patch, values.shape[2]),
        (down * rows.stride, across * cols.stride, down, across, deep),
        writeable=False,
    )


def shares_of_patches(valid: NDArray[np.bool_], rows: Run, cols: Run) -> NDArray[np.float32]:
    """Share of the pixels of each patch that are valid, float32 [rows.count, cols.count]; `valid` is [h, w]."""
    if valid.all():
        return np.ones((rows.count, cols.count), np.float32)
    sums = valid.astype(np.int32)
    for axis, run in enumerate((rows, cols)):
        total = np.concatenate([np.zeros_like(sums.take([0], axis)), sums.cumsum(axis, dtype=np.int32)], axis)
        first = np.arange(run.count) * run.stride
        sums = total.take(first + run.patch, axis) - total.take(first, axis)
    return np.asarray(sums / np.float32(rows.patch * cols.patch), dtype=np.float32)


def shares_of_cells(valid: NDArray[np.bool_], rows: Run, cols: Run) -> NDArray[np.float32]:
    """Share of the pixels of each cell of two runs that are valid, of those in the scene, float32 [cells, cells]."""
    sizes = np.outer(np.diff(rows.edges), np.diff(cols.edges))
    if valid.all():
        return np.ones(sizes.shape, np.float32)
    sums = valid[rows.edges[0] : rows.edges[-1], cols.edges[0] : cols.edges[-1]].astype(np.int32)
    for axis, run in enumerate((rows, cols)):
        sums = np.add.reduceat(sums, run.edges[:-1] - run.edges[0], axis=axis)
    return np.asarray(sums / sizes, dtype=np.float32)
