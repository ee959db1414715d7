"""The teacher: an average of the student's weights, with statistics of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from landsift.training.ema import WeightAverage


class Teacher(WeightAverage):
    """The student's weights, averaged over steps (Caron et al. 2021).

    Its batch norms take the statistics of its own batches, as in the authors' code: those of the student are of other
    weights, and of local views as well. `decay` is its momentum, which its owner sets before each step.
    """

    def __init__(self, student: nn.Module, momentum: float) -> None:
        super().__init__(student, decay=momentum)
        self._weights: tuple[list[Tensor], list[Tensor]] | None = None

    def set_modes(self) -> None:
        """As it trains: nothing is dropped, and batch norms follow its batches."""
        self.module.eval()
        for layer in self.module.modules():
            if isinstance(layer, _BatchNorm):
                layer.train()

    @torch.no_grad()
    def update(self, model: nn.Module, step: int | None = None) -> None:
        """Move a step towards the weights of the student."""
        if self._weights is None:
            self._weights = list(self.module.parameters()), list(model.parameters())
        torch._foreach_lerp_(*self._weights, 1.0 - self.get_decay(step))
