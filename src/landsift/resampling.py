"""Bringing stored patches to another size: bicubic and antialiased, in the store and before a network alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.image_sizes import Size

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_ONE = 2**22
"""Weights of the resampling are whole multiples of 1 / _ONE, as Pillow's are."""
_CUBIC = -0.5
"""The parameter a of the cubic kernel (Keys 1981), as Pillow's."""
LEAST = 0.5
"""Share of a new pixel's weight that must lie on data for it to be data."""


def resample(patches: Tensor, size: Size, nodata: float | None = None) -> Tensor:
    """Bring stored patches to another size as the store does (`decoding.decode.resize`): bicubic, antialiased.

    Width first, then height; whole numbers are rounded and clipped after each, as Pillow does. Sums of whole numbers
    are exact in float64 in any order, so that a CPU, a GPU, NumPy and Pillow give the same pixels to the bit.

    Pixels without data never become part of others: a new pixel is made of those with data alone, whose weights are
    raised to add up to what all have (as GDAL warps), and has no data where theirs are less than half of it.

    Args:
        patches: [B, H, W, C] of any real type.
        size: height and width in pixels.
        nodata: the number that means that there is nothing, NaN included; None: every number is data.

    Returns:
        [B, *size, C] of the same type; the patches themselves where they have this size.
    """
    import torch

    if tuple(patches.shape[1:3]) == tuple(size):
        return patches
    kind = patches.dtype
    limits = None if kind.is_floating_point else torch.iinfo(kind)
    found: Tensor = _resampled(
        torch,
        patches.to(torch.float64),
        size,
        nodata,
        limits,
        lambda weights: torch.from_numpy(weights).to(patches.device),
    )
    return found.to(kind)


def resample_patches(patches: NDArray[Any], size: Size, nodata: float | None = None) -> NDArray[Any]:
    """The same in NumPy, where there is no torch: [B, H, W, C] to [B, *size, C]."""
    if patches.shape[1:3] == tuple(size):
        return patches
    limits = None if patches.dtype.kind == "f" else np.iinfo(patches.dtype)
    found = _resampled(np, patches.astype(np.float64), size, nodata, limits, lambda weights: weights)
    return np.asarray(found, dtype=patches.dtype)


def resample_patch(pixels: NDArray[Any], size: Size, nodata: float | None = None) -> NDArray[Any]:
    """The same for one patch [H, W, C] of NumPy's: what a store keeps of a file of another size."""
    return pixels if pixels.shape[:2] == tuple(size) else resample_patches(pixels[None], size, nodata)[0]


def _resampled(
    xp: Any, out: Any, size: Size, nodata: float | None, limits: Any, moved: Callable[[NDArray[np.float64]], Any]
) -> Any:
    """Float64 [B, H, W, C] to [B, *size, C], by NumPy or by torch.

    Args:
        xp: one of the two, which name what is used here alike.
        out: the patches, of that library.
        size: as of `resample`.
        nodata: as of `resample`.
        limits: `min` and `max` of whole numbers; None: of floats.
        moved: NumPy's weights as that library's, where the patches are.
    """
    optimize = {"optimize": True} if xp is np else {}
    held = None if nodata is None else ~(xp.isnan(out) if math.isnan(nodata) else out == nodata)
    for axis, equation in ((2, "bhwc,nw->bhnc"), (1, "bhwc,nh->bnwc")):
        old, new = out.shape[axis], size[axis - 1]
        if old == new:
            continue
        weights = moved(_weights(old, new))  # [new, old]
        whole = weights.sum(1).reshape([new if i == axis else 1 for i in range(4)])  # _ONE, but for rounding
        if held is not None:
            out = xp.where(held, out, 0.0)
        out = xp.einsum(equation, out, weights, **optimize)
        if held is not None:
            share = xp.einsum(equation, xp.where(held, xp.ones_like(held, dtype=xp.float64), 0.0), weights, **optimize)
            held = share >= LEAST * whole
            out = out * (whole / xp.where(held, share, whole))  # times 1, exactly, where all is data
        # Of floats a constant stays what it is; whole numbers are as Pillow has them.
        out = out / whole if limits is None else xp.clip(xp.floor((out + _ONE // 2) / _ONE), limits.min, limits.max)
    if nodata is not None and held is not None:
        if limits is not None:  # data that was rounded to the number for nothing is still data
            beside = nodata - 1 if nodata >= limits.max else nodata + 1
            out = xp.where(out == nodata, beside, out)
        out = xp.where(held, out, nodata)
    return out


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
