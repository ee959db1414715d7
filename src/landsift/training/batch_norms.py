"""Batch norms of a pretrained backbone: which statistics they normalise with while it is fine-tuned.

A batch norm in train mode normalises with the statistics of the batch and moves its running statistics towards them;
in eval mode it normalises with the running statistics and leaves them alone. Running statistics of the patches in place
of those of the pretraining are adaptive batch normalisation (Li et al. 2016), estimated as in Wu and Johnson 2021,
"Rethinking 'Batch' in BatchNorm": the mean of the batches' statistics, with the weights held still; here each batch
counts by its patches, because the last one may have two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from landsift.training import ranks

PATCHES = 10_000
"""How many patches statistics are estimated from, at most: with more they do not change (Wu and Johnson 2021)."""


def running_norms(network: nn.Module) -> list[_BatchNorm]:
    """The network's batch norms that keep running statistics."""
    return [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def drawn_rows(rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The rows that statistics are estimated from: all, or `PATCHES` of them; int64 [M]."""
    if len(rows) <= PATCHES:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, PATCHES, replace=False))


@torch.no_grad()
def recalibrate(backbone: nn.Module, answer: Callable[[Tensor], Tensor], batches: Iterable[Tensor]) -> None:
    """Give all batch norms the running statistics of these images, whatever statistics they had.

    Everything else of the network is in eval mode meanwhile. The caller sets the modes afterwards.

    Args:
        backbone: whose batch norms; unchanged where it has none.
        answer: runs the backbone on the images of a batch.
        batches: stored patches [B, H, W, C] each, in random order: batches of one class alone would miss how classes
            differ. All ranks have the same number of them.
    """
    norms = running_norms(backbone)
    if not norms:
        return
    backbone.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    seen = 0
    for images in batches:
        seen += len(images)
        for norm in norms:
            norm.momentum = len(images) / seen
        answer(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        for statistic in (norm.running_mean, norm.running_var):
            ranks.average(statistic)
