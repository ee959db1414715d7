"""From stored pixels to the network's input: the one definition, in training, testing, prediction and export."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landsift.image_sizes import Size

if TYPE_CHECKING:
    from numpy.typing import NDArray

EIGHT_BITS = 255.0
"""The stored value that becomes 1."""

_ONE = 2**22
"""Weights of the resampling are whole multiples of 1 / _ONE, as Pillow's are."""
_CUBIC = -0.5
"""The parameter a of the cubic kernel (Keys 1981), as Pillow's."""


class Preprocess(nn.Module):
    """Patches as they are stored become images as a network takes them.

    Patches of another size than those that the model was trained on are brought to that size first (`resample`), as the
    store does with files. Then values become floats in [0, 1], images are resized to the network's input, normalised
    and laid out channels last. Augmentation, where there is any, stands between `to_float` and `to_input`.

    Args:
        mean: per band, of values in [0, 1].
        std: per band, of values in [0, 1].
        image_size: height and width of the network's input in pixels; may be set anew at any time.
        patch_size: height and width in pixels that patches are stored at; None: whatever they have, as in training,
            where a store gives all of them one size.
        highest: the stored value that becomes 1.
    """

    def __init__(
        self,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        image_size: int,
        patch_size: Size | None = None,
        highest: float = EIGHT_BITS,
    ) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.bands = len(mean)
        self.image_size = image_size
        self.patch_size = patch_size
        self.highest = highest

    def forward(self, patches: Tensor) -> Tensor:
        """Stored patches, [B, H, W, C] of any real type, as the network takes them: float32 [B, C, S, S]."""
        return self.to_input(self.to_float(patches))

    def to_float(self, patches: Tensor) -> Tensor:
        """Stored patches, [B, H, W, C], at the stored size and in [0, 1]: float32 [B, C, H, W]."""
        if self.patch_size is not None:
            patches = resample(patches, self.patch_size)
        return to_float(patches, self.highest)

    def to_input(self, images: Tensor) -> Tensor:
        """Images in [0, 1], float32 [B, C, H, W], as the network takes them: float32 [B, C, S, S], channels last."""
        normalized: Tensor = self.normalize(resize(images, self.image_size))
        return normalized


class Normalize(nn.Module):
    """Subtract the mean and divide by the standard deviation, per band; inputs float [B, C, H, W] in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images, float [B, C, H, W], channels last in memory (faster on CPU and GPU)."""
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def to_float(patches: Tensor, highest: float = EIGHT_BITS) -> Tensor:
    """[B, H, W, C] of any real type to float32 [B, C, H, W], in which 1 stands for `highest`."""
    return patches.permute(0, 3, 1, 2).to(torch.float32) / highest


def resize(images: Tensor, size: int) -> Tensor:
    """Resize float [B, C, H, W] to [B, C, size, size], bilinear and antialiased where it shrinks."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def resample(patches: Tensor, size: Size) -> Tensor:
    """Bring stored patches to another size as the store does (`decoding.decode.resize`): bicubic, antialiased.

    Width first, then height; whole numbers are rounded and clipped after each, as Pillow does. Sums of whole numbers
    are exact in float64 in any order, so that a CPU, a GPU and Pillow give the same pixels to the bit.

    Args:
        patches: [B, H, W, C] of any real type.
        size: height and width in pixels.

    Returns:
        [B, *size, C] of the same type; the patches themselves where they have this size.
    """
    kind, out = patches.dtype, patches
    for axis, equation in ((2, "bhwc,nw->bhnc"), (1, "bhwc,nh->bnwc")):
        old, new = patches.shape[axis], size[axis - 1]
        if old == new:
            continue
        weights = torch.from_numpy(_weights(old, new)).to(patches.device)  # [new, old]
        out = torch.einsum(equation, out.to(torch.float64), weights)
        if kind.is_floating_point:
            out = out / _ONE
        else:
            limits = torch.iinfo(kind)
            out = torch.floor((out + _ONE // 2) / _ONE).clamp(limits.min, limits.max)
    return out.to(kind)


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
