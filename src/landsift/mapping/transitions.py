"""What changed between maps of the same grid: from-to matrices, their margins, and sequences of classes.

A difference of two classifications is no estimate of an area: the errors of both maps add up in it. An estimate needs a
probability sample of the map of change (Olofsson et al., Remote Sensing of Environment 148, 2014).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landsift.errors import DataError

NO_DATA = 0


@dataclass(frozen=True)
class ChangeMatrix:
    """From-to figures of two maps; rows are the classes of the first, columns those of the second.

    Attributes:
        cells: int64 [K, K].
        hectares: float64 [K, K].
        uncertain: hectares, float64 [K, K], of cells whose lower confidence is below the limit; 0 without confidences.
        one_sided: hectares where only one of the maps has a class.
        empty: hectares where neither has.
    """

    cells: NDArray[np.int64]
    hectares: NDArray[np.float64]
    uncertain: NDArray[np.float64]
    one_sided: float
    empty: float

    @property
    def per_cent(self) -> NDArray[np.float64]:
        """Per cent of the area that both maps classify, float64 [K, K]; zeros where there is none."""
        total = self.hectares.sum()
        return 100 * self.hectares / total if total else np.zeros_like(self.hectares)

    def margins(self) -> dict[str, NDArray[np.float64]]:
        """Hectares [K] per class: persistence, gain, loss, net and swap.

        Swap is twice the smaller of gain and loss, after Pontius, Shusas & McEachern (Agriculture, Ecosystems &
        Environment 101, 2004); net is gain less loss, with its sign.
        """
        persistence = np.diagonal(self.hectares).copy()
        loss = self.hectares.sum(axis=1) - persistence
        gain = self.hectares.sum(axis=0) - persistence
        swap = 2 * np.minimum(gain, loss)
        return {"persistence": persistence, "gain": gain, "loss": loss, "net": gain - loss, "swap": swap}


@dataclass(frozen=True)
class Rows:
    """Some rows of cells, or a part of each, of two or more maps on one grid.

    Attributes:
        codes: of each date, [h, w]; 0 is no data.
        hectares: of each cell of a row, float64 [h].
        confidence: the lower of the first and last date, [h, w] in 0..1; None where one has none.
    """

    codes: Sequence[NDArray[np.integer]]
    hectares: NDArray[np.float64]
    confidence: NDArray[np.floating] | None = None


def transition_codes(before: NDArray[np.integer], after: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """One code per cell: (from - 1) x classes + to, which is 1 to classes squared; 0 where either has no class.

    Raises:
        DataError: the maps differ in shape, or hold codes beyond the classes.
    """
    _check((before, after), classes)
    codes = (before.astype(np.int64) - 1) * classes + after
    return np.where((before == NO_DATA) | (after == NO_DATA), NO_DATA, codes)


def change_matrix(rows: Iterable[Rows], classes: int, *, confidence: float = 0.5) -> ChangeMatrix:
    """Count the changes from the first map to the last, block by block; memory does not grow with the maps.

    Args:
        rows: blocks of rows; every row of the grid once.
        classes: K; codes are 1 to K.
        confidence: cells whose lower confidence is below it also count as uncertain.

    Raises:
        DataError: the maps differ in shape, or hold codes beyond the classes.
    """
    size = classes * classes + 1
    cells, hectares, uncertain = np.zeros(size, np.int64), np.zeros(size), np.zeros(size)
    one_sided = empty = 0.0
    for block in rows:
        before, after = block.codes[0], block.codes[-1]
        codes = transition_codes(before, after, classes).ravel()
        area = np.broadcast_to(block.hectares[:, None], before.shape).ravel()
        cells += np.bincount(codes, minlength=size)
        hectares += np.bincount(codes, area, minlength=size)
        if block.confidence is not None:
            low = block.confidence.ravel() < confidence
            uncertain += np.bincount(codes[low], area[low], minlength=size)
        neither = ((before == NO_DATA) & (after == NO_DATA)).ravel()
        empty += float(area[neither].sum())
        one_sided += float(area[(codes == NO_DATA) & ~neither].sum())
    shape = (classes, classes)
    return ChangeMatrix(
        cells[1:].reshape(shape), hectares[1:].reshape(shape), uncertain[1:].reshape(shape), one_sided, empty
    )


@dataclass(frozen=True)
class Trajectory:
    """A sequence of classes (codes, one per date) with its cells and hectares."""

    codes: tuple[int, ...]
    cells: int
    hectares: float

    @property
    def returns(self) -> bool:
        """Whether a class is left and comes back, which is more often an error of one map than land use."""
        runs = [code for i, code in enumerate(self.codes) if i == 0 or code != self.codes[i - 1]]
        return len(set(runs)) < len(runs)


def trajectories(rows: Iterable[Rows], classes: int) -> list[Trajectory]:
    """The sequences that occur where every date has a class, the largest area first.

    Raises:
        DataError: the maps differ in shape, hold codes beyond the classes, or are too many to number their sequences.
    """
    found: dict[int, tuple[int, float]] = {}
    dates = 0
    for block in rows:
        _check(block.codes, classes)
        dates = len(block.codes)
        if classes**dates > np.iinfo(np.int64).max:
            raise DataError(f"{dates} maps of {classes} classes are too many for trajectories", "give fewer maps")
        key = np.zeros(block.codes[0].shape, np.int64)
        for codes in block.codes:
            key = key * classes + np.maximum(codes.astype(np.int64) - 1, 0)
        valid = np.all([codes != NO_DATA for codes in block.codes], axis=0)
        area = np.broadcast_to(block.hectares[:, None], key.shape)[valid]
        keys, where, counts = np.unique(key[valid], return_inverse=True, return_counts=True)
        sums = np.bincount(where.ravel(), area, minlength=len(keys))
        for each, count, total in zip(keys.tolist(), counts.tolist(), sums.tolist(), strict=True):
            cells, hectares = found.get(each, (0, 0.0))
            found[each] = (cells + count, hectares + total)
    result = [Trajectory(_digits(key, classes, dates), *figures) for key, figures in found.items()]
    return sorted(result, key=lambda t: (-t.hectares, t.codes))


def _digits(key: int, classes: int, dates: int) -> tuple[int, ...]:
    codes = []
    for _ in range(dates):
        key, rest = divmod(key, classes)
        codes.append(rest + 1)
    return tuple(reversed(codes))


def _check(maps: Sequence[NDArray[np.integer]], classes: int) -> None:
    if len({codes.shape for codes in maps}) > 1:
        shapes = ", ".join(" x ".join(map(str, codes.shape)) for codes in maps)
        raise DataError(f"maps of different shapes ({shapes}) cannot be compared", "bring them to one grid first")
    for codes in maps:
        if codes.size and (codes.min() < 0 or codes.max() > classes):
            wrong = int(codes.min() if codes.min() < 0 else codes.max())
            raise DataError(
                f"a map holds the code {wrong}, but there are {classes} classes", "check its list of classes"
            )
