"""Ends a pretraining that has collapsed."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from landsift.config_pretraining import PretrainingConfig
from landsift.errors import CollapseError
from landsift.pretraining import collapse
from landsift.training.trainable import Trainable

logger = logging.getLogger("landsift")
FEW_STEPS = 50
"""Steps after which running statistics of batch norms (momentum 0.1) and weights have left their beginning. Before,
features of random or newly begun weights may look alike; that counts only where a setting or the patches explain it."""


class CollapseWatch(Callback):
    """Warns of signs of a collapse, and ends the run after some consecutive epochs of them.

    Args:
        config: complete settings.
        alike: that the patches themselves are nearly the same, in words; "": they are not.
    """

    def __init__(self, config: PretrainingConfig, alike: str = "") -> None:
        self.config = config
        self.alike = alike
        self.seen = 0
        """Consecutive epochs with a sign."""

    def state_dict(self) -> dict[str, Any]:
        """How many epochs there were, for the checkpoint."""
        return {"seen": self.seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """How many there were before the checkpoint."""
        self.seen = state_dict["seen"]

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Look at the epoch's figures."""
        assert isinstance(module, Trainable)
        figures = {name: float(trainer.callback_metrics[name]) for name in module.figures}
        found = collapse.look(figures, self.config, self.alike)
        if found is None:
            self.seen = 0
            return
        if not found.is_explained and trainer.global_step < FEW_STEPS:
            message = "epoch %d: %s is %.3g, a sign of a collapse below %g; after %d steps this is too early to judge"
            name = found.sign.figure.replace("_", " ")
            logger.warning(message, trainer.current_epoch + 1, name, found.value, found.sign.limit, trainer.global_step)
            return
        self.seen += 1
        patience = self.config.watch.patience
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if self.seen < patience and not last:
            message = "epoch %d: a sign of a collapse (%d of %d epochs): %s"
            logger.warning(message, trainer.current_epoch + 1, self.seen, patience, found)
            return
        epochs = f"{self.seen} epochs" if self.seen > 1 else "epoch"
        raise CollapseError(f"the pretraining has collapsed, in the last {epochs}: {found}", found.change)
