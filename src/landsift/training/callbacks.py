"""Lightning callbacks: entering phases, the history of epochs, t-SNE frames, early stopping, checkpoints."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from numpy.typing import NDArray

from landsift.errors import ModelError
from landsift.runs import METRICS, write_json
from landsift.training import distributed
from landsift.training.module import PatchModule
from landsift.training.phases import first_epoch, phase_of, total_epochs

logger = logging.getLogger("landsift")


class PhaseChange(Callback):
    """Enters the phase of each epoch: at a change, what trains is set and a fresh optimizer and schedule are built."""

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Compare the epoch's phase with the present one."""
        assert isinstance(module, PatchModule)
        index = phase_of(module.strategy, trainer.current_epoch)
        if index != module.phase_index:
            module.enter_phase(index)
            distributed.rewrap(trainer)
            trainer.strategy.setup_optimizers(trainer)
        if trainer.current_epoch == first_epoch(module.strategy, index):
            logger.info(
                "phase %d of %d, %s: %d epochs, %s parameters train",
                index + 1,
                len(module.strategy),
                module.phase.name,
                module.phase.epochs,
                f"{module.trainable_parameters():,}",
            )


class History(Callback):
    """One row per epoch, with the training loss of that very epoch, in `metrics.json` and in the logger.

    Attributes:
        rows: epoch, phase, phase_name, train_loss, val_loss, val_acc, lr_head, lr_backbone (the rates that the epoch
            ended with), seconds, val_seconds (of them).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        self._started = 0.0
        self._validation_started = 0.0
        self._val_seconds = 0.0
        self._rates = (0.0, 0.0)

    def state_dict(self) -> dict[str, Any]:
        """The rows so far, for the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The rows of the checkpoint."""
        self.rows = list(state_dict["rows"])

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Start the epoch's clock."""
        self._started = time.perf_counter()

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Start the validation's clock."""
        self._validation_started = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Stop the validation's clock."""
        self._val_seconds = time.perf_counter() - self._validation_started

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember the rates that this step trains with."""
        assert isinstance(module, PatchModule)
        self._rates = module.learning_rates()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the step's loss and rates, as often as the trainer logs."""
        if trainer.logger is None or (trainer.global_step - 1) % trainer.log_every_n_steps:
            return
        values = {"train_loss_step": float(outputs["loss"]), "lr_head": self._rates[0], "lr_backbone": self._rates[1]}
        trainer.logger.log_metrics(values | {"epoch": float(trainer.current_epoch)}, step=trainer.global_step)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Write the epoch's row; validation has run by now."""
        assert isinstance(module, PatchModule)
        metrics = trainer.callback_metrics
        row = {
            "epoch": trainer.current_epoch,
            "phase": module.phase_index + 1,
            "phase_name": module.phase.name,
            "train_loss": module.epoch_loss(),
            "val_loss": float(metrics["val_loss"]),
            "val_acc": float(metrics["val_acc"]),
            "lr_head": self._rates[0],
            "lr_backbone": self._rates[1],
            "seconds": round(time.perf_counter() - self._started, 3),
            "val_seconds": round(self._val_seconds, 3),
        }
        if not math.isfinite(row["train_loss"]) or not math.isfinite(row["val_loss"]):
            raise ModelError(
                f"epoch {row['epoch'] + 1} ({row['phase_name']}): the loss is no longer a number: diverged, "
                f"at learning rates {row['lr_head']:.2g} (head) and {row['lr_backbone']:.2g} (backbone)",
                "lower the phase's learning rates, or set training.gradient_clip=1.0",
            )
        self.rows.append(row)
        if trainer.is_global_zero:
            write_json(self.folder / METRICS, self.rows)
        logger.info(
            "epoch %2d/%d  %s  train loss %.3f  val loss %.3f  val accuracy %.2f %%  %.1f s",
            row["epoch"] + 1,
            total_epochs(module.strategy),
            row["phase_name"],
            row["train_loss"],
            row["val_loss"],
            100 * row["val_acc"],
            row["seconds"],
        )
        if trainer.logger is not None:
            kept = ("train_loss", "val_loss", "val_acc", "epoch", "phase")
            trainer.logger.log_metrics({k: float(row[k]) for k in kept}, step=trainer.global_step)


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
        self._epoch = -1
        self._made = -1

    def state_dict(self) -> dict[str, Any]:
        """The frames so far, for the checkpoint."""
        return {"frames": [(epoch, torch.from_numpy(frame)) for epoch, frame in self.frames]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The frames of the checkpoint."""
        self.frames = [(epoch, frame.numpy()) for epoch, frame in state_dict["frames"]]
        self._made = self.frames[-1][0] if self.frames else -1

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Make the frame of this epoch if one is due."""
        self._epoch = trainer.current_epoch
        if self._epoch % self.every == 0:
            self._make(trainer, module)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Make the frame of the last epoch, wherever the training stopped, unless it is there."""
        if self._made != self._epoch:
            self._make(trainer, module)

    def _make(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, PatchModule)
        epoch = self._made = self._epoch
        kept = distributed.gathered(module.kept_rows, module.kept_embeddings)
        if kept is None:  # the first process makes the frames
            return
        from landsift.evaluation.embeddings import tsne_figure, tsne_frame

        features = kept[1].numpy()
        previous = self.frames[-1][1] if self.frames else None
        frame = tsne_frame(features, seed=self.seed, previous=previous)
        self.frames.append((epoch, frame))
        experiment = getattr(trainer.logger, "experiment", None)
        if experiment is not None:
            import wandb

            figure = tsne_figure(frame, self.labels, self.classes, title=f"epoch {epoch + 1}")
            experiment.log({"tsne": wandb.Plotly(figure), "epoch": epoch})


class LastPhaseEarlyStopping(EarlyStopping):
    """Stops on validation loss, in the last phase alone: a head that has settled must not keep the backbone frozen."""

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Look at the epoch if it belongs to the last phase."""
        if self._in_last_phase(module):
            super().on_train_epoch_end(trainer, module)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Look at the validation if it belongs to the last phase."""
        if self._in_last_phase(module):
            super().on_validation_end(trainer, module)

    @staticmethod
    def _in_last_phase(module: L.LightningModule) -> bool:
        assert isinstance(module, PatchModule)
        return module.phase_index == len(module.strategy) - 1


def best_checkpoints(folder: Path, figure: Literal["val_acc", "val_recall"] = "val_acc") -> ModelCheckpoint:
    """Keep the three best epochs by a figure of the validation; the number in the name is the accuracy.

    Args:
        folder: where.
        figure: accuracy, or the mean recall of the classes, which no class decides by its size.
    """
    return ModelCheckpoint(
        dirpath=folder,
        filename="best-{epoch:03d}-{val_acc:.3f}",
        auto_insert_metric_name=False,
        monitor=figure,
        mode="max",
        save_top_k=3,
        save_on_train_epoch_end=True,
    )


def last_checkpoint(folder: Path) -> ModelCheckpoint:
    """Keep `last.ckpt`, the state after the epoch that ended last."""
    return ModelCheckpoint(
        dirpath=folder,
        filename="last",
        save_top_k=1,
        monitor=None,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
