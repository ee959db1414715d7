"""Views of overhead patches, made per batch on the device: crops that are turned and flipped, then changed in colour.

Nothing is up in an image from above, so that a view is any of the eight symmetries of the square, and it keeps the
place where it was cut: crop, turn and flip are one sampling of the patch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from landsift.bands import BRIGHTNESS, RGB_NAMES, BandSpec
from landsift.config import AugmentConfig
from landsift.config_pretraining import ViewsConfig
from landsift.data.augment import SYMMETRIES, Part, augment
from landsift.models.preprocess import resize

SHRINKS = 1.5
"""How much bilinear sampling may shrink; patches larger than that are shrunk with an antialiased filter first."""
RATIO = 4 / 3
"""Of a crop's sides, at most."""


class Views:
    """Draws views of a batch.

    Args:
        config: how they are made.
        bands: of the patches.
        mean: per band in units, float [1, C, 1, 1].
        std: likewise.
    """

    def __init__(self, config: ViewsConfig, bands: BandSpec, mean: Tensor, std: Tensor) -> None:
        self.config = config
        self.bands = bands
        self._mean = mean
        self._std = std
        self._changes = AugmentConfig(
            flips=False,
            crop=None,
            color_jitter=config.color_jitter,
            blur=config.blur,
            noise=config.noise,
            band_dropout=config.band_dropout,
        )

    def __call__(
        self,
        images: Tensor,
        count: int,
        size: int,
        area: tuple[float, float],
        generator: torch.Generator,
        part: Part | None = None,
    ) -> Tensor:
        """Views of patches, one after the other: first one of each patch, then the next of each.

        Args:
            images: float [B, C, H, W] in units of their bands.
            count: V, how many of each patch.
            size: S, height and width in pixels.
            area: smallest and largest share of the patch's area.
            generator: on the CPU.
            part: as in `landsift.data.augment.augment`.

        Returns:
            float [V * B, C, S, S] in the same units.
        """
        mean, std = self._mean.to(images.device), self._std.to(images.device)
        source = shrunk(images, size, area[1])
        views = []
        for _ in range(count):
            view = crops(source, size, area, generator, part, symmetric=self.config.flips)
            if self.config.band_jitter > 0 and self.bands.names != RGB_NAMES:
                view = each_band_jittered(view, self.config.band_jitter, generator, part)
                view = view.clamp_(0.0, 1.0) if self.bands.units == BRIGHTNESS else view
            views.append(augment(view, self._changes, size, generator, part, self.bands, mean, std))
        return torch.cat(views)


def shrunk(images: Tensor, size: int, largest: float) -> Tensor:
    """Patches small enough for bilinear crops of `size` pixels, antialiased; as they are where they are.

    Args:
        images: float [B, C, H, W].
        size: of the crops.
        largest: share of the area that a crop may show.
    """
    side = math.ceil(SHRINKS * size / math.sqrt(largest))
    return images if max(images.shape[-2:]) <= side else resize(images, side)


def symmetry_matrices(drawn: Tensor) -> Tensor:
    """The eight symmetries of the square as matrices, float [B, 2, 2]; `drawn` int64 [B] in 0..7."""
    quarter = drawn % 4 * (math.pi / 2)
    cos, sin = quarter.cos().round(), quarter.sin().round()
    flip = torch.where(drawn >= 4, -1.0, 1.0)
    return torch.stack([torch.stack([cos * flip, -sin], dim=1), torch.stack([sin * flip, cos], dim=1)], dim=1)


def crops(
    images: Tensor,
    size: int,
    area: tuple[float, float],
    generator: torch.Generator,
    part: Part | None = None,
    *,
    symmetric: bool = True,
) -> Tensor:
    """One random crop of each patch, turned and flipped, as float [B, C, S, S].

    Args:
        images: float [B, C, H, W].
        size: S.
        area: smallest and largest share of the area.
        generator: on the CPU.
        part: as in `landsift.data.augment.augment`.
        symmetric: whether it is turned and flipped.
    """
    count = len(images)
    start, total = part or (0, count)
    drawn = torch.rand((4, total), generator=generator)[:, start : start + count]
    share = area[0] + (area[1] - area[0]) * drawn[0]
    ratio = torch.exp(math.log(RATIO) * (2.0 * drawn[1] - 1.0))
    ratio = torch.minimum(torch.maximum(ratio, share), 1.0 / share)  # a longer side would not fit into the patch
    sides = torch.stack([(share * ratio).sqrt(), (share / ratio).sqrt()], dim=1)  # width and height
    theta = torch.zeros(count, 2, 3)
    theta[:, :, 2] = (1.0 - sides) * (2.0 * drawn[2:].T - 1.0)
    theta[:, :, :2] = torch.diag_embed(sides)
    if symmetric:
        turns = torch.randint(0, SYMMETRIES, (total,), generator=generator)[start : start + count]
        theta[:, :, :2] = theta[:, :, :2] @ symmetry_matrices(turns)
    theta = theta.to(images.device, images.dtype)
    grid = F.affine_grid(theta, [count, images.shape[1], size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def each_band_jittered(images: Tensor, strength: float, generator: torch.Generator, part: Part | None = None) -> Tensor:
    """Multiply each band of each patch by a factor of its own, uniform in [1 - x, 1 + x]; float [B, C, H, W]."""
    count, bands = images.shape[:2]
    start, total = part or (0, count)
    drawn = torch.rand((total, bands), generator=generator)[start : start + count]
    return images * (1.0 + strength * (2.0 * drawn - 1.0)).to(images.device)[:, :, None, None]
