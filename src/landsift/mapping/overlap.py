"""From patches to cells: the mean over all patches that cover a cell, rows of patches coming one after the other."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landsift.mapping.patch_grid import PatchGrid

Probabilities = NDArray[np.float32]
Flags = NDArray[np.bool_]


class Strip(NamedTuple):
    """Rows of a map.

    Attributes:
        rows: of the map.
        probabilities: float32 [h, w, K]; zeros where there is nothing.
        valid: which cells have any, [h, w].
    """

    rows: slice
    probabilities: Probabilities
    valid: Flags


class Overlap:
    """Joins rows of patches to rows of cells.

    It holds as many rows of patches as cover a cell, whatever the height of the scene. Sums are taken in the order of
    the patches, so that they do not depend on how many rows come at a time.
    """

    def __init__(self, grid: PatchGrid) -> None:
        self._rows, self._cols = grid.rows.covering, grid.cols.covering
        self._sums: NDArray[Any] | None = None  # of the patches of each row that cover a cell of it
        self._counts: NDArray[Any] | None = None
        self._visible: Flags | None = None  # of cells from `_next` on
        self._base = 0  # the first row of patches that is held
        self._next = 0

    def add(self, probabilities: Probabilities, wanted: Flags, visible: Flags) -> Strip | None:
        """Take the next rows of patches; the rows of cells that are done, or None.

        Args:
            probabilities: of all patches of the rows, float32 [n, m, K], zeros where they are not wanted.
            wanted: which patches have some, [n, m].
            visible: which of the cells of these rows have pixels to show, [cells, cells across].
        """
        sums, counts = (summed(each, *self._cols, axis=1) for each in (probabilities, wanted.astype(np.int32)))
        self._sums, self._counts = _after(self._sums, sums), _after(self._counts, counts)
        self._visible = _after(self._visible, visible)
        first, last = self._rows
        done = int(np.searchsorted(last, self._base + len(self._sums)))  # the last patch of cells never goes back
        if done == self._next:
            return None
        rows = slice(self._next, done)
        covering = first[rows] - self._base, last[rows] - self._base
        total, count = (summed(each, *covering, axis=0) for each in (self._sums, self._counts))
        valid = (count > 0) & self._visible[: done - self._next]
        mean = np.where(valid[..., None], total / np.maximum(count, 1)[..., None].astype(np.float32), np.float32(0))
        self._visible = self._visible[done - self._next :]
        kept = (int(first[done]) if done < len(first) else self._base + len(self._sums)) - self._base
        self._sums, self._counts = self._sums[kept:].copy(), self._counts[kept:].copy()
        self._base, self._next = self._base + kept, done
        return Strip(rows, mean, valid)


def summed(values: NDArray[Any], first: NDArray[np.int64], last: NDArray[np.int64], axis: int) -> NDArray[Any]:
    """Sums of `values` from place first[i] to last[i] along an axis, in the order of i."""
    total = values.take(first, axis)
    for step in range(1, int((last - first).max(initial=0)) + 1):
        more = np.flatnonzero(first + step <= last)
        where = (slice(None),) * axis + (more,)
        total[where] += values.take(first[more] + step, axis)
    return total


def _after(held: NDArray[Any] | None, more: NDArray[Any]) -> NDArray[Any]:
    return more if held is None or not len(held) else np.concatenate([held, more])
