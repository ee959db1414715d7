"""Augmented views of a batch of patches, as the network takes them in training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from landsift.bands import BandSpec
from landsift.config import AugmentConfig
from landsift.data.augment import augment, draw_symmetry, flips_and_turns
from landsift.data.batches import Batch
from landsift.models.preprocess import to_float as pictures_to_float


def augmented_views(
    batch: Batch,
    config: AugmentConfig,
    size: int,
    to_input: Callable[[Tensor], Tensor],
    generator: torch.Generator,
    count: int = 1,
    *,
    to_float: Callable[[Tensor], Tensor] = pictures_to_float,
    bands: BandSpec | None = None,
    mean: Tensor | None = None,
    std: Tensor | None = None,
) -> list[Tensor]:
    """Each patch `count` times, turned, jittered and cropped anew for each view.

    A classifier trains on one view; what learns by comparing views takes two or eight. The first view is the same
    however many there are.

    Args:
        batch: patches as stored.
        config: what to do, and how strongly; mixup and cutmix are the classifier's, which has labels to mix.
        size: height and width in pixels that the network will take.
        to_input: makes the network's input, float [B, C, S, S], of augmented patches, float [B, C, H, W] in units.
        generator: on the CPU, of this batch.
        count: how many.
        to_float: patches as stored, [B, H, W, C], in units of their bands: float [B, C, H, W].
        bands: what the patches hold; None: 8-bit RGB.
        mean: per band, float [1, C, 1, 1] in units, as `augment` needs it.
        std: likewise.

    Returns:
        `count` tensors, float [B, C, S, S].
    """
    views = []
    # Pixels keep the precision that validation sees.
    with torch.autocast(batch.images.device.type, enabled=False):
        for _ in range(count):
            images = batch.images
            if config.flips:
                images = flips_and_turns(images, draw_symmetry(len(images), generator, batch.part))
            views.append(to_input(augment(to_float(images), config, size, generator, batch.part, bands, mean, std)))
    return views
