"""Patches of any bands in the levels of 8 bits, in which near copies are looked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from landsift.bands import BandSpec

MIDDLE, SPREAD = 127.5, 40.0
"""Levels of a band's mean, and of a standard deviation from it: as of EuroSAT's RGB, where the thresholds come from."""


class Levels:
    """Images that are brought to levels when some of them are asked for; reads like the array of them.

    Args:
        images: [N, H, W, C] of the bands' type; may be memory-mapped.
        bands: what their numbers mean.
        mean: per band, of the data of all patches, in units.
        std: per band, in the same.
    """

    def __init__(self, images: NDArray[Any], bands: BandSpec, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.shape = images.shape
        self._images = images
        self._bands = bands
        self._mean = np.array(mean)
        self._std = np.array([spread if spread > 0 else 1.0 for spread in std])

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """Some of the images, float32 [n, H, W, C]; pixels without data have their band's mean."""
        stored = np.asarray(self._images[rows])
        values = stored / np.array(self._bands.divisors) + np.array(self._bands.offset)
        missing = self._bands.missing(stored)
        if missing is not None:
            values = np.where(missing, self._mean, values)
        levels: NDArray[np.float32] = np.clip(MIDDLE + SPREAD * (values - self._mean) / self._std, 0.0, 255.0).astype(
            np.float32
        )
        return levels
