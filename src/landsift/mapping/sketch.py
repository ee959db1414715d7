"""A scene in few pixels, kept while it is read for its map: for the page of the map, without a second reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.bands import RGB_NAMES, BandSpec
from landsift.data.pictures import shown_bands

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

LONGEST = 1600
"""Pixels of the longer side at most."""


def first_kept(shape: Sequence[int], step: int) -> int:
    """Which row and column is the first of those of which every `step`-th is kept: the middle of the first `step`."""
    return min(step // 2, min(shape) - 1)


def thinned(part: slice, shift: int, step: int) -> tuple[slice, slice]:
    """Which rows or columns of a window are kept, where every `step`-th from `shift` on is.

    Returns:
        Their places among all that are kept, and in the window.
    """
    begin, end = (max(0, -(-(place - shift) // step)) for place in (part.start, part.stop))
    return slice(begin, end), slice(shift + begin * step - part.start, None, step)


class Sketch:
    """Every n-th pixel of the bands that a picture shows; n is such that there are at most `longest` a side.

    Attributes:
        grid: of the pixels; each has the place of n × n pixels of the scene and shows the middle one.
        bands: red, green and blue, or one; what `values` mean.
        values: [h, w, C].
        known: which pixels were read and are valid, [h, w].
    """

    def __init__(self, grid: GeoBox, bands: BandSpec, longest: int = LONGEST) -> None:
        self._step = step = max(1, -(-max(grid.shape) // longest))
        self._shift = first_kept(grid.shape, step)
        self._picks = shown_bands(bands)
        height, width = (len(range(self._shift, length, step)) for length in grid.shape)
        a = grid.affine
        affine = type(a)(a.a * step, a.b * step, a.c, a.d * step, a.e * step, a.f)
        self.grid = type(grid)((height, width), affine, grid.crs)
        self.bands = replace(
            bands,
            names=RGB_NAMES if len(self._picks) == len(RGB_NAMES) else tuple(bands.names[i] for i in self._picks),
            scale=tuple(bands.scale[i] for i in self._picks),
            offset=tuple(bands.offset[i] for i in self._picks),
        )
        self.values = np.zeros((height, width, len(self._picks)), bands.numpy_dtype)
        self.known = np.zeros((height, width), bool)

    def keep(self, rows: slice, cols: slice, values: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Take what is needed of a window: values [h, w, C] of all bands, and which pixels are valid, [h, w]."""
        (into_rows, of_rows), (into_cols, of_cols) = (thinned(part, self._shift, self._step) for part in (rows, cols))
        self.values[into_rows, into_cols] = values[of_rows, of_cols][..., self._picks]
        self.known[into_rows, into_cols] = valid[of_rows, of_cols]
