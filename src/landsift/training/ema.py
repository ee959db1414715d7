"""Averaged weights: timm's exponential moving average, of backbone and head apart, anew in each phase."""

from __future__ import annotations

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn


class WeightAverage(ModelEmaV3):
    """timm's average with its warm-up, which looks the tensors up once a phase and not once a step.

    `module` holds the averages of parameters and buffers; whole numbers (batch norm's count of batches) are copied.

    Args:
        model: what is averaged, of float32 weights.
        decay: what an average keeps of itself in a step, after the warm-up.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, decay=decay, use_warmup=True)
        self._pairs: list[list[tuple[Tensor, Tensor]]] | None = None

    def begin(self, model: nn.Module) -> None:
        """Start from the weights of `model`."""
        self.module.load_state_dict(model.state_dict())
        self._pairs = None

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move a step towards the weights of `model`; `step` counts from 1 in a phase, its decay grows from 0."""
        if self._pairs is None:
            pairs = list(zip(self.module.state_dict().values(), model.state_dict().values(), strict=True))
            self._pairs = [[p for p in pairs if p[0].is_floating_point() == floating] for floating in (True, False)]
        averaged, counts = self._pairs
        averages, weights = zip(*averaged, strict=True)
        torch._foreach_lerp_(averages, weights, 1.0 - self.get_decay(step))
        for count, present in counts:
            count.copy_(present)
