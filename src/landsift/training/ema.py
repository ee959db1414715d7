"""Averaged weights: timm's exponential moving average, as what is validated, or as a teacher."""

from __future__ import annotations

from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn


class WeightAverage(ModelEmaV3):
    """timm's average, which looks the tensors up once a phase and not once a step.

    It is a network of its own: forwarded without gradients, in eval mode, and saved and resumed with the module that
    holds it. `module` holds the averages of parameters and buffers; whole numbers (batch norm's count of batches) are
    copied.

    Args:
        model: what is averaged, of float32 weights.
        decay: what an average keeps of itself in a step, after the warm-up if there is one.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, decay=decay, use_warmup=True)
        self.requires_grad_(False)
        self._pairs: list[list[tuple[Tensor, Tensor]]] | None = None

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        """What the averaged network makes of the inputs."""
        return self.module(*inputs)

    def begin(self, model: nn.Module) -> None:
        """Start from the weights of `model`."""
        self.module.load_state_dict(model.state_dict())
        self._pairs = None

    @torch.no_grad()
    def update(self, model: nn.Module, step: int | None = None) -> None:
        """Move a step towards the weights of `model`.

        Args:
            model: as at the start.
            step: counted from 1; the decay grows from 0. None: it is `decay`, which a teacher's schedule may set
                before each step.
        """
        if self._pairs is None:
            pairs = list(zip(self.module.state_dict().values(), model.state_dict().values(), strict=True))
            self._pairs = [[p for p in pairs if p[0].is_floating_point() == floating] for floating in (True, False)]
        averaged, counts = self._pairs
        averages, weights = zip(*averaged, strict=True)
        torch._foreach_lerp_(averages, weights, 1.0 - self.get_decay(step))
        for count, present in counts:
            count.copy_(present)
