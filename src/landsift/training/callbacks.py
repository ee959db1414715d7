"""Lightning callbacks: entering phases, t-SNE frames, early stopping."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from numpy.typing import NDArray

from landsift.data.batches import PatchBatches
from landsift.errors import ConfigError
from landsift.training import ddp, ranks
from landsift.training.module import PatchModule
from landsift.training.phases import first_epoch, phase_of, total_epochs
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
                    message = f"strategy, phase '{module.phase.name}': batch_norm: recalibrate is not for this training"
                    raise ConfigError(message, "use eval or train")
                with trainer.precision_plugin.forward_context():
                    module.recalibrate(self.patches)
        if trainer.current_epoch == first_epoch(module.strategy, index):
            logger.info(
                "phase %d of %d, %s: %d epochs, %s parameters train",
                index + 1,
                len(module.strategy),
                module.phase.name,
                module.phase.epochs,
                f"{module.trainable_parameters():,}",
            )


class TSNEFrames(Callback):
    """A t-SNE frame of the validation embeddings every few epochs and after the last, each begun from the one before.

    Args:
        rows: store rows in the frames, int64 [M], ascending.
        labels: class indices, int64 [M].
        classes: names.
        every: epochs between frames.
        seed: of t-SNE.
    """

    def __init__(
        self, rows: NDArray[np.int64], labels: NDArray[np.int64], classes: tuple[str, ...], every: int, seed: int
    ) -> None:
        self.rows = rows
        self.labels = labels
        self.classes = classes
        self.every = every
        self.seed = seed
        self.frames: list[tuple[int, NDArray[np.float32]]] = []

    def state_dict(self) -> dict[str, Any]:
        """The frames so far, for the checkpoint."""
        return {"frames": [(epoch, torch.from_numpy(frame)) for epoch, frame in self.frames]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The frames of the checkpoint."""
        self.frames = [(epoch, frame.numpy()) for epoch, frame in state_dict["frames"]]

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Make the frame of this epoch if one is due, or if it is the last, wherever the training stops."""
        assert isinstance(module, PatchModule)
        epoch = trainer.current_epoch
        last = trainer.should_stop or epoch + 1 == total_epochs(module.strategy)
        if epoch % self.every and not last:
            return
        kept = ranks.gathered(module.kept_rows, module.kept_embeddings)
        if kept is None:  # the first process makes the frames
            return
        from landsift.evaluation.tsne import tsne_figure, tsne_frame

        features = kept[1].numpy()
        previous = self.frames[-1][1] if self.frames else None
        frame = tsne_frame(features, seed=self.seed, previous=previous)
        self.frames.append((epoch, frame))
        experiment = getattr(trainer.logger, "experiment", None)
        if experiment is not None:
            import wandb

            figure = tsne_figure(frame, self.labels, self.classes, title=f"epoch {epoch + 1}")
            experiment.log({"tsne": wandb.Plotly(figure), "epoch": epoch})

    def add_model(self, epoch: int, features: Callable[[], NDArray[np.float32]]) -> None:
        """Make the frame of the epoch that the model is of, where there is none; begun from the frame before it.

        Args:
            epoch: of the model.
            features: gives the features of the patches in the frames, float [M, D], by the model's own backbone.
        """
        before = [frame for made, frame in self.frames if made < epoch]
        if not before or any(made == epoch for made, _ in self.frames):
            return
        from landsift.evaluation.tsne import tsne_frame

        frame = tsne_frame(features(), seed=self.seed, previous=before[-1])
        self.frames.insert(len(before), (epoch, frame))


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
