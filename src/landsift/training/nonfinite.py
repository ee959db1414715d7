"""Steps whose numbers are not finite: they change nothing, and too many of them end the training."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from landsift.errors import ModelError

logger = logging.getLogger("landsift")


class BadSteps:
    """Looks at the gradients of every step, which tell of the loss as well and are the same in all ranks.

    A bad step is left out: its gradients are dropped, so that the optimizer changes no weight, and buffers (batch
    norms' statistics), which the forward pass has moved already, are put back. One look waits for the device once.

    Args:
        most: steps that may be left out in an epoch; one more ends the training.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0
        """Steps left out in this epoch."""
        self.was_bad = False
        """Whether the last step was left out."""
        self._buffers: list[Tensor] = []
        self._kept: list[Tensor] = []

    def begin(self, module: nn.Module) -> None:
        """Start an epoch with the buffers as they are."""
        self.count = 0
        self._buffers = [b for b in module.buffers() if b.numel() > 0]
        self._kept = [b.detach().clone() for b in self._buffers]

    @torch.no_grad()
    def look(self, parameters: list[nn.Parameter], norm: Tensor, where: str) -> None:
        """Leave the step out if its gradients are not finite.

        Args:
            parameters: what the optimizer is about to change.
            norm: of all their gradients together, a scalar.
            where: the step and its rates, for people.

        Raises:
            ModelError: more than `most` steps of this epoch were bad.
        """
        self.was_bad = not bool(torch.isfinite(norm))
        if not self.was_bad:
            self._copy(self._kept, self._buffers)
            return
        for parameter in parameters:
            parameter.grad = None
        self._copy(self._buffers, self._kept)
        self.count += 1
        if self.count > self.most:
            raise ModelError(
                f"the loss or gradients are not finite at {where}, "
                f"after {self.most} steps of this epoch were skipped for that reason",
                "lower the learning rates or training.gradient_clip, or set training.precision=32",
            )
        logger.warning("skipped %s: its loss or gradients are not finite", where)

    @staticmethod
    def _copy(to: list[Tensor], source: list[Tensor]) -> None:
        if to:  # not every network has buffers, and torch wants one at least
            torch._foreach_copy_(to, source)
