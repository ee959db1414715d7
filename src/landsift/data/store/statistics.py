"""Exact statistics of pixels, from counts of their values."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from landsift.data.patch_reader import PatchReader

_CHUNK_BYTES = 2**22


def mean_and_std(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-band mean and standard deviation of some patches' pixels, scaled to [0, 1].

    Args:
        images: uint8 [N, H, W, C], in memory or mapped.
        rows: which of them, int64 [M], at least one.
    """
    read, bands = PatchReader(images), images.shape[-1]
    counts = np.zeros((bands, 256), dtype=np.int64)
    chunk = max(1, _CHUNK_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(rows), chunk):
        counts += value_counts(read(rows[start : start + chunk]))
    return means(counts), stds(counts)


def value_counts(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each value occurs in each band of pixels [..., C]: int64 [C, 256]."""
    return np.stack([np.bincount(pixels[..., band].ravel(), minlength=256) for band in range(pixels.shape[-1])])


def means(counts: NDArray[np.int64]) -> tuple[float, ...]:
    """Per-band mean, in [0, 1], of values that occur so often: counts int64 [C, 256]."""
    return tuple(total / (255 * n) for n, total, _ in _moments(counts))


def stds(counts: NDArray[np.int64]) -> tuple[float, ...]:
    """Per-band standard deviation, in [0, 1], of values that occur so often: counts int64 [C, 256]."""
    return tuple(math.sqrt(n * squares - total * total) / (255 * n) for n, total, squares in _moments(counts))


def _moments(counts: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """Per band: number, sum and sum of squares of the values, as Python's unbounded integers."""
    for band in counts.tolist():
        yield sum(band), sum(v * c for v, c in enumerate(band)), sum(v * v * c for v, c in enumerate(band))
