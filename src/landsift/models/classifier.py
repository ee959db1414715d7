"""The classifier: a backbone and the head on its features."""

from __future__ import annotations

from torch import Tensor, nn

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
        self.features = features
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
