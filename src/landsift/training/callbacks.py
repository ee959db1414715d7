"""Lightning callbacks: entering phases, early stopping."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping

from landsift.data.batches import PatchBatches
from landsift.errors import ConfigError
from landsift.training import ddp
from landsift.training.phases import first_epoch, phase_of
from landsift.training.trainable import Recalibrating, Trainable

logger = logging.getLogger("landsift")


class PhaseChange(Callback):
    """Enters the phase of each epoch: at a change, what trains is set and a fresh optimizer and schedule are built.

    Args:
        patches: training patches in random order, for phases that begin with new statistics of batch norms.
    """

    def __init__(self, patches: PatchBatches) -> None:
        self.patches = patches
        self._begun = -1

    def state_dict(self) -> dict[str, Any]:
        """The phase that was begun last, for the checkpoint."""
        return {"begun": self._begun}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The phase that the checkpoint was saved in: its statistics are in the checkpoint."""
        self._begun = state_dict["begun"]

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Compare the epoch's phase with the present one."""
        assert isinstance(module, Trainable)
        index = phase_of(module.strategy, trainer.current_epoch)
        if index != module.phase_index:
            module.enter_phase(index)
            ddp.rewrap(trainer)
            trainer.strategy.setup_optimizers(trainer)
        if index != self._begun:
            self._begun = index
            if module.phase.batch_norm == "recalibrate":
                if not isinstance(module, Recalibrating):
                    message = (
                        f"strategy, phase '{module.phase.name}': batch_norm: recalibrate does not work with this module"
                    )
                    raise ConfigError(message, "use eval or train")
                with trainer.precision_plugin.forward_context():
                    module.recalibrate(self.patches)
        if trainer.current_epoch == first_epoch(module.strategy, index):
            logger.info(
                "phase %d of %d, %s: %d epochs, %s trainable parameters",
                index + 1,
                len(module.strategy),
                module.phase.name,
                module.phase.epochs,
                f"{module.trainable_parameters():,}",
            )


class LastPhaseEarlyStopping(EarlyStopping):
    """Stops on validation loss, in the last phase alone: a head that has settled must not keep the backbone frozen.

    It decides at the end of the validation, so that what comes at the end of the epoch knows that it is the last.
    """

    def __init__(self, min_delta: float, patience: int) -> None:
        super().__init__("val_loss", min_delta, patience, check_on_train_epoch_end=False)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Look at the validation if it belongs to the last phase."""
        assert isinstance(module, Trainable)
        if module.phase_index == len(module.strategy) - 1:
            super().on_validation_end(trainer, module)
