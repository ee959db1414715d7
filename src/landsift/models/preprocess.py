"""From stored pixels to the network's input: the one definition, in training, testing, prediction and export."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landsift.bands import RGB_NAMES, BandSpec
from landsift.image_sizes import Size
from landsift.resampling import resample as resample

EIGHT_BITS = 255.0
"""The stored value that becomes 1."""


class Preprocess(nn.Module):
    """Patches as they are stored become images as a network takes them.

    Patches of another size than those that the model was trained on are brought to that size first (`resample`), as the
    store does with files. Then stored numbers become what they stand for (`ToUnits`), images are resized to the
    network's input, normalised and laid out channels last. Augmentation, where there is any, stands between `to_float`
    and `to_input`.

    Args:
        mean: per band, in units of the bands (of pictures in [0, 1]).
        std: per band, in the same.
        image_size: height and width of the network's input in pixels; may be set anew at any time.
        patch_size: height and width in pixels that patches are stored at; None: whatever they have, as in training,
            where a store gives all of them one size.
        bands: what the stored numbers mean; None: 8-bit pictures.
    """

    def __init__(
        self,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        image_size: int,
        patch_size: Size | None = None,
        bands: BandSpec | None = None,
    ) -> None:
        super().__init__()
        self.bands = bands or BandSpec.pictures(RGB_NAMES if len(mean) == 3 else [str(i) for i in range(len(mean))])
        self.to_units = ToUnits(self.bands, mean)
        self.normalize = Normalize(mean, std)
        self.image_size = image_size
        self.patch_size = patch_size

    def forward(self, patches: Tensor) -> Tensor:
        """Stored patches, [B, H, W, C], as the network takes them: float32 [B, C, S, S]."""
        return self.to_input(self.to_float(patches))

    def to_float(self, patches: Tensor) -> Tensor:
        """Stored patches, [B, H, W, C], at the stored size and in units of their bands: float32 [B, C, H, W]."""
        if self.patch_size is not None:
            patches = resample(patches, self.patch_size, self.bands.nodata)
        images: Tensor = self.to_units(patches)
        return images

    def to_input(self, images: Tensor) -> Tensor:
        """Images in units, float32 [B, C, H, W], as the network takes them: float32 [B, C, S, S], channels last."""
        normalized: Tensor = self.normalize(resize(images, self.image_size))
        return normalized


class ToUnits(nn.Module):
    """Stored patches, [B, H, W, C], in units of their bands: float32 [B, C, H, W].

    A pixel without data becomes its band's mean, which normalises to 0: it says nothing. Numbers are divided by
    1 / scale, not multiplied by scale, so that 255 is 1 exactly.

    Args:
        bands: what the stored numbers mean.
        mean: per band, in units.
    """

    divisors: Tensor
    offsets: Tensor
    means: Tensor

    def __init__(self, bands: BandSpec, mean: tuple[float, ...]) -> None:
        super().__init__()
        self.nodata = bands.nodata
        same = set(bands.divisors)
        self.divisor = next(iter(same)) if len(same) == 1 else None  # a number, which is faster than one for each band
        self.is_shifted = any(bands.offset)
        for name, values in (("divisors", bands.divisors), ("offsets", bands.offset), ("means", mean)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        """Stored patches, [B, H, W, C] of any real type, as float32 [B, C, H, W]."""
        stored = patches.permute(0, 3, 1, 2).to(torch.float32)
        images = stored / (self.divisors if self.divisor is None else self.divisor)
        if self.is_shifted:
            images = images + self.offsets
        if self.nodata is None:
            return images
        missing = stored.isnan() if math.isnan(self.nodata) else stored == self.nodata
        return torch.where(missing, self.means, images)


class Normalize(nn.Module):
    """Subtract the mean and divide by the standard deviation, per band; inputs float [B, C, H, W]."""

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
