"""A patch as a picture for people, whatever bands it has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from landsift.bands import BRIGHTNESS, BandSpec
from landsift.data.sensors import red_green_blue

STRETCH = (2.0, 98.0)
"""Percentiles of a band's data in the patch that are shown as black and as white."""


def as_picture(patch: NDArray[Any], bands: BandSpec) -> NDArray[np.uint8]:
    """A patch as people see it.

    Three bands are shown: red, green and blue where bands have these names, or a sensor's for them, else the first
    three; of one or two bands the first, in grey. 8-bit brightness is shown as it is. Of all else each band is
    stretched by itself, between two percentiles of its data; a band of one value is grey. Where one of them has no
    data the picture is black.

    Args:
        patch: [H, W, C] of the bands' type.
        bands: what its numbers mean.

    Returns:
        uint8 [H, W, 3], or [H, W] in grey.
    """
    shown: NDArray[Any] = patch[..., shown_bands(bands)]  # [H, W, 3] or [H, W, 1]
    if bands.dtype == "uint8" and bands.units == BRIGHTNESS and bands.nodata is None:
        return shown if len(shown_bands(bands)) == 3 else shown[..., 0]
    missing = bands.missing(shown)
    data = np.ones(shown.shape, dtype=bool) if missing is None else ~missing
    picture = np.zeros(shown.shape, dtype=np.uint8)
    for band in range(shown.shape[-1]):
        values = shown[..., band][data[..., band]].astype(np.float64)
        if not len(values):
            continue
        low, high = np.percentile(values, STRETCH)
        share = (values - low) / (high - low) if high > low else np.full(values.shape, 0.5)
        picture[..., band][data[..., band]] = np.rint(255 * np.clip(share, 0.0, 1.0)).astype(np.uint8)
    picture[~data.all(axis=-1)] = 0
    return picture if len(shown_bands(bands)) == 3 else picture[..., 0]


def shown_bands(bands: BandSpec) -> list[int]:
    """Which bands a picture shows: positions of three, or of one."""
    colours = [place for place in red_green_blue(bands.names) if place is not None]
    if len(colours) == 3:
        return colours
    return [0, 1, 2] if len(bands) >= 3 else [0]
