"""Bayesian smoothing of a map's probabilities, as the R package sits does it, strip by strip.

Reference: Camara, Assunção, Carvalho, Simões, Souza, Carvalho 2024, Bayesian Inference for Post-Processing of
Remote-Sensing Image Classification, Remote Sensing 16(23), 4572, https://doi.org/10.3390/rs16234572.

Each class has a logit in each cell, x. The neighbours with the highest logits of that class give a mean m and a
variance s², and x becomes (s² x + σ² m) / (s² + σ²): where neighbours agree, a cell follows them. σ² says how much
cells vary that are of one class. Unlike in sits, nothing is mirrored at the edges of a map, and probabilities add up to
1 again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landsift.errors import RunError
from landsift.mapping.overlap import Flags, Probabilities, Strip

VARIANCE, FRACTION = 20.0, 0.5
"""σ², and the share of neighbours that count: the defaults of sits_smooth."""
LARGEST = 99
"""Cells of a neighbourhood's side, at most."""
_LEAST, _MOST = 1e-4, 1 - 1e-4
"""Probabilities that logits are taken of, as in sits."""
_VALUES = 2_000_000
"""That are sorted at a time."""


@dataclass
class Smoother:
    """Smooths strips.

    Attributes:
        size: side of the square neighbourhood in cells, odd.
        variance: σ², in squared logits, above 0; the larger, the smoother.
        cells: that had a class, so far.
        changed: of them, those that got another class.

    Raises:
        RunError: the size or the variance is none.
    """

    size: int
    variance: float = VARIANCE
    cells: int = 0
    changed: int = 0

    def __post_init__(self) -> None:
        if self.size % 2 == 0 or not 3 <= self.size <= LARGEST:
            raise RunError(f"--smooth {self.size} is not an odd number from 3 to {LARGEST}", "5 or 7 is usual")
        if not (np.isfinite(self.variance) and self.variance > 0):
            raise RunError(f"a variance of {self.variance} for smoothing is not above 0", f"{VARIANCE:g} is usual")

    def __str__(self) -> str:
        """How it is done, in words."""
        return f"Bayesian, {self.size} × {self.size} cells, variance {self.variance:g}"

    def smooth(self, strips: Iterator[Strip]) -> Iterator[Strip]:
        """The same rows, smoothed; rows of half a neighbourhood are held."""
        reach = self.size // 2
        logits: NDArray[np.float32] | None = None  # of the rows from `begin` on
        valid: Flags | None = None
        begin = done = 0

        def finished(until: int) -> Strip:
            assert logits is not None
            assert valid is not None
            rows = slice(done - begin, until - begin)
            found = smoothed(logits, valid, rows, self.size, self.variance)
            self._count(logits[rows], found, valid[rows])
            return Strip(slice(done, until), found, valid[rows])

        for strip in strips:
            own = to_logits(strip.probabilities)
            logits = own if logits is None else np.concatenate([logits, own])
            valid = strip.valid if valid is None else np.concatenate([valid, strip.valid])
            if (until := strip.rows.stop - reach) > done:
                yield finished(until)
                done = until
                kept = max(begin, done - reach)
                logits, valid, begin = logits[kept - begin :].copy(), valid[kept - begin :].copy(), kept
        if logits is not None and begin + len(logits) > done:
            yield finished(begin + len(logits))

    def _count(self, before: NDArray[np.float32], after: Probabilities, valid: Flags) -> None:
        self.cells += int(valid.sum())
        self.changed += int((before.argmax(axis=-1) != after.argmax(axis=-1))[valid].sum())


def to_logits(probabilities: Probabilities) -> NDArray[np.float32]:
    """The logarithm of each class's probability over that of all others, [..., K]."""
    clipped = np.clip(probabilities, _LEAST, _MOST)
    others = clipped.sum(axis=-1, keepdims=True) - clipped
    return np.asarray(np.log(clipped / np.maximum(others, _LEAST)), dtype=np.float32)


def smoothed(logits: NDArray[np.float32], valid: Flags, rows: slice, size: int, variance: float) -> Probabilities:
    """Smoothed probabilities of some rows, float32 [h, W, K], zeros where nothing is valid.

    Args:
        logits: of these rows and of those half a neighbourhood around them, as far as there are any, [H, W, K].
        valid: which cells have any, [H, W].
        rows: of `logits`.
        size: side of the neighbourhood.
        variance: σ².
    """
    reach = size // 2
    height, width, classes = logits.shape
    step = max(1, _VALUES // (width * size**2 * classes))
    found = np.zeros((rows.stop - rows.start, width, classes), np.float32)
    for top in range(rows.start, rows.stop, step):
        bottom = min(top + step, rows.stop)
        low, high = max(0, top - reach), min(height, bottom + reach)
        around = ((low - top + reach, bottom + reach - high), (reach, reach))
        known = np.pad(valid[low:high], around)
        padded = np.pad(np.where(valid[low:high, :, None], logits[low:high], -np.inf), (*around, (0, 0)),
                        constant_values=-np.inf)  # fmt: skip
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))  # [h, W, K, size, size]
        counts = np.lib.stride_tricks.sliding_window_view(known, (size, size)).sum(axis=(-2, -1))
        taken = np.ceil(FRACTION * counts).astype(np.int64)  # [h, W]
        ordered = np.sort(windows.reshape(*windows.shape[:3], -1), axis=-1)[..., ::-1]
        ordered = ordered[..., : int(taken.max(initial=0))].astype(np.float64)
        counted = np.arange(ordered.shape[-1]) < taken[..., None, None]
        number = np.maximum(taken, 1)[..., None]
        mean = np.where(counted, ordered, 0).sum(axis=-1) / number
        squares = np.where(counted, ordered - mean[..., None], 0) ** 2
        spread = squares.sum(axis=-1) / np.maximum(number - 1, 1)
        own = logits[top:bottom]
        weight = np.where(taken[..., None] > 1, spread / (spread + variance), 1.0)  # a cell alone stays what it is
        posterior = weight * own + (1 - weight) * mean
        shares = 1 / (1 + np.exp(-posterior))
        shares /= shares.sum(axis=-1, keepdims=True)
        found[top - rows.start : bottom - rows.start] = np.where(valid[top:bottom, :, None], shares, 0)
    return found
