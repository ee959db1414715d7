"""The training loss, in which the patches of rare classes may count more."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def balanced_weights(labels: NDArray[np.int64], classes: int) -> Tensor:
    """How often a patch of each class counts so that all classes count the same: n / (K · n_k).

    Their mean over the patches is 1, so that learning rates mean what they meant without.

    Args:
        labels: of the training patches, int64 [n].
        classes: how many classes the classifier tells apart. K are those that have patches; the others weigh 0.

    Returns:
        float32 [classes].
    """
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return torch.from_numpy(np.where(counts > 0, weights, 0.0).astype(np.float32))


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy per patch, each counted as often as its label weighs.

    A mixed patch costs what its labels would cost, in the shares it is mixed of. The sum is divided by the number of
    patches and not, as in torch, by the sum of their weights, so that parts of a batch add up to the whole. And the
    weight is that of the label before smoothing: torch weighs the smoothed label, which moves it towards rare classes.

    Args:
        logits: float [B, K].
        labels: int64 [B], or the shares of a mixed patch, float [B, K].
        smoothing: share of a label that is spread over all classes.
        weights: float [K]; None: all weigh 1.
    """
    if weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    if labels.ndim == 1:
        weight = weights[labels]
    else:
        shares = labels * weights
        weight = shares.sum(dim=1)
        labels = shares / weight[:, None]
    return (weight * F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")).mean()
