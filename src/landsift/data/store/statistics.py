"""Exact statistics of pixels, in units of their bands; pixels without data are left out.

Of whole numbers the count, the sum and the sum of squares are kept, as whole numbers without a bound; of floats the
count, the mean and the sum of squared differences from it, which are merged patch by patch (Chan, Golub and LeVeque
1983).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landsift.bands import BandSpec
from landsift.data.patch_reader import PatchReader
from landsift.errors import DataError

_CHUNK_BYTES = 2**22

_LEVELS = np.arange(256)
_POWERS = np.stack([_LEVELS**0, _LEVELS, _LEVELS**2], axis=1)  # [256, 3]
_AT_ONCE = 64
"""Sums of whole numbers that int64 holds together: each is of at most 4096² pixels, whose squares are below 2**32."""

Sums = NDArray[Any]
"""Three numbers for each band, [C, 3]: int64 of whole numbers, float64 of floats."""


class BandStatistics:
    """Mean and standard deviation of each band, of patches that are added one after the other.

    Args:
        bands: what the patches' numbers mean.
    """

    def __init__(self, bands: BandSpec) -> None:
        self._bands = bands
        self._whole = bands.dtype != "float32"
        self._sums = np.zeros((len(bands), 3), dtype=np.int64 if self._whole else np.float64)
        self._before = np.zeros((len(bands), 3), dtype=object)  # Python's whole numbers, which have no bound
        self._added = 0

    def add(self, sums: Sums) -> None:
        """Count patches in, of which `sums_of` was taken."""
        if self._whole:
            self._sums += sums
            self._added += 1
            if self._added % _AT_ONCE == 0:
                self._before += self._sums.astype(object)
                self._sums[:] = 0
            return
        before, (count, mean, squares) = self._sums.T.copy(), sums.T
        total = before[0] + count
        share = np.divide(count, total, out=np.zeros_like(total), where=total > 0)
        apart = mean - before[1]
        self._sums = np.stack(
            [total, before[1] + share * apart, before[2] + squares + before[0] * share * apart**2], axis=1
        )

    @property
    def empty(self) -> list[str]:
        """Names of the bands in which no pixel holds data."""
        return [name for band, name in enumerate(self._bands.names) if not self._of(band)[0]]

    @property
    def mean(self) -> tuple[float, ...]:
        """Per-band mean in units, of pictures in [0, 1]; 0 of a band without data."""
        return tuple(self._mean(band) for band in range(len(self._bands)))

    @property
    def std(self) -> tuple[float, ...]:
        """Per-band standard deviation in units; 0 of a band without data."""
        return tuple(self._std(band) for band in range(len(self._bands)))

    def _of(self, band: int) -> list[Any]:
        """The three numbers of a band."""
        sums = self._before[band] + self._sums[band].astype(object) if self._whole else self._sums[band]
        return [*sums.tolist()]

    def _mean(self, band: int) -> float:
        count, total, _ = self._of(band)
        if not count:
            return 0.0
        divisor, offset = self._bands.divisors[band], self._bands.offset[band]
        if not self._whole:
            return float(total / divisor + offset)
        # Whole numbers are divided once, so that nothing is rounded before.
        mean = total / (int(divisor) * count) if divisor.is_integer() else total / count / divisor
        return float(mean + offset)

    def _std(self, band: int) -> float:
        count, total, squares = self._of(band)
        if not count:
            return 0.0
        divisor = self._bands.divisors[band]
        if not self._whole:
            return float(math.sqrt(squares / count) / divisor)
        spread: float = math.sqrt(count * squares - total * total)
        return float(spread / (int(divisor) * count) if divisor.is_integer() else spread / count / divisor)


def mean_and_std(
    images: NDArray[Any], rows: NDArray[np.int64], bands: BandSpec | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-band mean and standard deviation of some patches' pixels, in units of their bands.

    Args:
        images: [N, H, W, C], in memory or mapped.
        rows: which of them, int64 [M], at least one.
        bands: what the numbers mean; None: 8-bit RGB, in [0, 1].

    Raises:
        DataError: a band has no data in these patches.
    """
    bands = bands or BandSpec.pictures()
    read, statistics = PatchReader(images), BandStatistics(bands)
    chunk = max(1, _CHUNK_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(rows), chunk):
        statistics.add(sums_of(read(rows[start : start + chunk]), bands))
    check_data(statistics, "the training patches")
    return statistics.mean, statistics.std


def check_data(statistics: BandStatistics, where: str) -> None:
    """Raise DataError where a band holds nothing but nodata."""
    if empty := statistics.empty:
        raise DataError(
            f"band {empty[0]} of {where} is nodata in every pixel", "leave the band out, or correct the bands' nodata"
        )


def sums_of(pixels: NDArray[Any], bands: BandSpec) -> Sums:
    """What statistics need of pixels [..., C] of the bands' type."""
    missing = bands.missing(pixels)
    if pixels.dtype == np.uint8 and missing is None:
        return value_counts(pixels) @ _POWERS
    return np.stack([_sums(pixels[..., band], None if missing is None else missing[..., band])
                     for band in range(len(bands))])  # fmt: skip


def _sums(pixels: NDArray[Any], missing: NDArray[np.bool_] | None) -> Sums:
    values = pixels.ravel() if missing is None else pixels[~missing]
    if values.dtype.kind != "f":
        values = values.astype(np.int64)
        return np.array([len(values), values.sum(), (values * values).sum()])
    values = values.astype(np.float64)
    mean = values.mean() if len(values) else 0.0
    return np.array([len(values), mean, ((values - mean) ** 2).sum()])


def value_counts(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each value occurs in each band of pixels [..., C]: int64 [C, 256]."""
    return np.stack([np.bincount(pixels[..., band].ravel(), minlength=256) for band in range(pixels.shape[-1])])
