"""Bringing stored patches to another size: bicubic and antialiased, in the store and before a network alike."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from landsift.image_sizes import Size

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ONE = 2**22
"""Weights of the resampling are whole multiples of 1 / _ONE, as Pillow's are."""
_CUBIC = -0.5
"""The parameter a of the cubic kernel (Keys 1981), as Pillow's."""
LEAST = 0.5
"""Share of a new pixel's weight that must lie on data for it to be data."""


def resample(patches: Tensor, size: Size, nodata: float | None = None) -> Tensor:
    """Bring stored patches to another size as the store does (`decoding.decode.resize`): bicubic, antialiased.

    Width first, then height; whole numbers are rounded and clipped after each, as Pillow does. Sums of whole numbers
    are exact in float64 in any order, so that a CPU, a GPU and Pillow give the same pixels to the bit.

    Pixels without data never become part of others: a new pixel is made of those with data alone, whose weights are
    raised to add up to what all have (as GDAL warps), and has no data where theirs are less than half of it.

    Args:
        patches: [B, H, W, C] of any real type.
        size: height and width in pixels.
        nodata: the number that means that there is nothing, NaN included; None: every number is data.

    Returns:
        [B, *size, C] of the same type; the patches themselves where they have this size.
    """
    kind = patches.dtype
    if tuple(patches.shape[1:3]) == tuple(size):
        return patches
    out = patches.to(torch.float64)
    held = None if nodata is None else ~(out.isnan() if math.isnan(nodata) else out == nodata)
    limits = None if kind.is_floating_point else torch.iinfo(kind)
    for axis, equation in ((2, "bhwc,nw->bhnc"), (1, "bhwc,nh->bnwc")):
        old, new = out.shape[axis], size[axis - 1]
        if old == new:
            continue
        weights = torch.from_numpy(_weights(old, new)).to(patches.device)  # [new, old]
        whole = weights.sum(dim=1).view([new if i == axis else 1 for i in range(4)])  # _ONE, but for rounding
        if held is not None:
            out = torch.where(held, out, 0.0)
        out = torch.einsum(equation, out, weights)
        if held is not None:
            share = torch.einsum(equation, held.to(torch.float64), weights)
            held = share >= LEAST * whole
            out = out * (whole / torch.where(held, share, whole))  # times 1, exactly, where all is data
        # Of floats a constant stays what it is; whole numbers are as Pillow has them.
        out = out / whole if limits is None else torch.floor((out + _ONE // 2) / _ONE).clamp(limits.min, limits.max)
    if nodata is not None and held is not None:
        if limits is not None:  # data that was rounded to the number for nothing is still data
            beside = nodata - 1 if nodata >= limits.max else nodata + 1
            out = torch.where(out == nodata, beside, out)
        out = torch.where(held, out, nodata)
    return out.to(kind)


def resample_patch(pixels: NDArray[Any], size: Size, nodata: float | None = None) -> NDArray[Any]:
    """The same for one patch [H, W, C] of NumPy's: what a store keeps of a file of another size."""
    if pixels.shape[:2] == tuple(size):
        return pixels
    found: NDArray[Any] = resample(torch.from_numpy(np.array(pixels, order="C"))[None], size, nodata)[0].numpy()
    return found


@lru_cache(maxsize=64)
def _weights(old: int, new: int) -> NDArray[np.float64]:
    """What each of `new` pixels takes of `old` ones, in multiples of 1 / _ONE: whole numbers, float64 [new, old].

    The cubic kernel is widened where it shrinks, cut at the edges, and its weights are made to add up to 1.
    """
    scale = old / new
    wide = max(scale, 1.0)
    weights = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * scale
        first, end = max(int(centre - 2 * wide + 0.5), 0), min(int(centre + 2 * wide + 0.5), old)
        x = np.abs((np.arange(first, end) - centre + 0.5) / wide)
        near = ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * _CUBIC
        taken = np.where(x < 1, near, np.where(x < 2, far, 0.0))
        weights[i, first:end] = taken / taken.sum()
    return np.trunc(weights * _ONE + np.copysign(0.5, weights))
