"""Mean and standard deviation of bands that outliers do not move, for normalising a network's inputs.

A glint, a cloud's edge or a dead detector's number lies far outside of what a band shows; the mean and, more, the
standard deviation follow it, and the rest of the band is pressed together. So numbers beyond two percentiles count as
these (winsorised statistics). Pixels without data are left out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landsift.bands import BandSpec
from landsift.data.patch_reader import PatchReader
from landsift.data.store.statistics import BandStatistics, check_data, sums_of

PERCENTILES = (1.0, 99.0)
"""Beyond which numbers of a band count as these."""
_SAMPLE = 2**20
"""Pixels of each band that the percentiles are taken of at most, evenly spaced over all."""
_CHUNK_BYTES = 2**22


def robust_mean_and_std(
    images: NDArray[Any], rows: NDArray[np.int64], bands: BandSpec
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-band mean and standard deviation of some patches' pixels, in units of their bands, both winsorised.

    A band that has one value between the percentiles, as a mask that is nearly empty, keeps the plain ones.

    Args:
        images: [N, H, W, C], in memory or mapped.
        rows: which of them, int64 [M], at least one.
        bands: what the numbers mean.

    Raises:
        DataError: a band has no data in these patches.
    """
    read = PatchReader(images)
    low, high = _limits(read, rows, bands)
    plain, clipped = BandStatistics(bands), BandStatistics(bands)
    chunk = max(1, _CHUNK_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(rows), chunk):
        pixels = read(rows[start : start + chunk])
        plain.add(sums_of(pixels, bands))
        missing = bands.missing(pixels)
        within = np.clip(pixels, low, high)
        clipped.add(sums_of(within if missing is None else np.where(missing, pixels, within), bands))
    check_data(plain, "the training patches")
    one_value = low == high
    return (
        tuple(float(x) for x in np.where(one_value, plain.mean, clipped.mean)),
        tuple(float(x) for x in np.where(one_value, plain.std, clipped.std)),
    )


def _limits(read: PatchReader, rows: NDArray[np.int64], bands: BandSpec) -> tuple[NDArray[Any], NDArray[Any]]:
    """The two percentiles of each band, [C] each, as numbers of the bands' type."""
    _, height, width, count = read.images.shape
    step = max(1, math.ceil(len(rows) * height * width / _SAMPLE))
    patches, pixels = [], max(1, height * width // step)
    each = np.linspace(0, height * width - 1, pixels).astype(np.int64)  # of one patch
    chosen = rows if step <= height * width else rows[:: math.ceil(len(rows) / _SAMPLE)]
    chunk = max(1, _CHUNK_BYTES // max(1, read.images[:1].nbytes))
    for start in range(0, len(chosen), chunk):
        patches.append(read(chosen[start : start + chunk]).reshape(-1, height * width, count)[:, each])
    sample = np.concatenate(patches).reshape(-1, count)
    missing = bands.missing(sample)
    found = np.zeros((2, count), dtype=bands.numpy_dtype)
    for band in range(count):
        values = sample[:, band] if missing is None else sample[~missing[:, band], band]
        if len(values):
            found[:, band] = np.percentile(values, PERCENTILES, method="nearest")
        else:  # of a sample without data nothing is known: no number is clipped
            kind = bands.numpy_dtype
            info = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
            found[:, band] = info.min, info.max
    return found[0], found[1]
