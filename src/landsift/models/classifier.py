"""The classifier: a backbone and the head on its features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landsift.config import HeadConfig


class PatchClassifier(nn.Module):
    """Backbone and head.

    Args:
        backbone: maps float [B, C, S, S] to features float [B, D].
        features: D, the width of the backbone's features.
        classes: K, the number of classes.
        head: with a hidden layer, the two-layer head of the tutorial (dropout 0.3 → 256, batch norm, ReLU →
            dropout 0.15 → classes); without, one linear layer.
    """

    def __init__(self, backbone: nn.Module, features: int, classes: int, head: HeadConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = create_head(features, classes, head)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (logits), float [B, K], of normalised images, float [B, C, S, S]."""
        logits: Tensor = self.head(self.backbone(images))
        return logits


def create_head(features: int, classes: int, config: HeadConfig) -> nn.Sequential:
    """The head from D features to K logits: linear, or with a hidden layer as in the tutorial."""
    if config.hidden is None:
        return nn.Sequential(nn.Dropout(config.dropout), nn.Linear(features, classes))
    return nn.Sequential(
        nn.Dropout(config.dropout),
        nn.Linear(features, config.hidden),
        nn.BatchNorm1d(config.hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(config.dropout / 2),
        nn.Linear(config.hidden, classes),
    )


def to_float(images: Tensor) -> Tensor:
    """uint8 [B, H, W, C] to float32 [B, C, H, W] in [0, 1]."""
    return images.permute(0, 3, 1, 2).to(torch.float32) / 255.0


def resize(images: Tensor, size: int) -> Tensor:
    """Resize float [B, C, H, W] to [B, C, size, size], bilinear and antialiased where it shrinks."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


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
