"""Lightning callbacks: entering phases, the history of epochs, early stopping, checkpoints."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from landsift.data.batches import PatchBatches
from landsift.errors import ModelError
from landsift.runs import METRICS, write_json
from landsift.training import distributed
from landsift.training.batch_norms import running_norms
from landsift.training.module import PatchModule
from landsift.training.phase_watch import fall_at
from landsift.training.phases import first_epoch, phase_of, total_epochs

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
        assert isinstance(module, PatchModule)
        index = phase_of(module.strategy, trainer.current_epoch)
        if index != module.phase_index:
            module.enter_phase(index)
            distributed.rewrap(trainer)
            trainer.strategy.setup_optimizers(trainer)
        if index != self._begun:
            self._begun = index
            if module.phase.batch_norm == "recalibrate" and not running_norms(module.classifier.backbone):
                logger.info("the backbone has no batch norms: batch_norm: recalibrate changes nothing")
            elif module.phase.batch_norm == "recalibrate":
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


class History(Callback):
    """One row per epoch, with the training loss of that very epoch, in `metrics.json` and in the logger.

    Args:
        folder: of the run.
        patches: how many are validated.

    Attributes:
        rows: epoch, phase, phase_name, train_loss, val_loss, val_acc, lr_head, lr_backbone (the rates that the epoch
            ended with), seconds, val_seconds (of them).
    """

    def __init__(self, folder: Path, patches: int) -> None:
        self.folder = folder
        self.patches = patches
        self.rows: list[dict[str, Any]] = []
        self._started: float | None = None
        self._spent = 0.0
        self._validation_started = 0.0
        self._val_seconds = 0.0
        self._rates = (0.0, 0.0)

    def state_dict(self) -> dict[str, Any]:
        """The rows so far, and what has happened of the next, for the checkpoint."""
        spent = 0.0 if self._started is None else time.perf_counter() - self._started
        return {"rows": self.rows, "rates": self._rates, "spent": spent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The rows of the checkpoint."""
        self.rows = list(state_dict["rows"])
        self._rates = tuple(state_dict["rates"])
        self._spent = state_dict["spent"]

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Start the epoch's clock."""
        self._started = time.perf_counter() - self._spent
        self._spent = 0.0

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
        assert self._started is not None
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
        self._started = None
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
        if fall := fall_at(self.rows, self.patches):
            moving = module.phase.batch_norm == "train" and running_norms(module.classifier.backbone)
            hint = "; batch_norm: eval in that phase would keep the statistics of its batch norms" if moving else ""
            logger.warning("%s%s", fall, hint)
        if trainer.logger is not None:
            kept = ("train_loss", "val_loss", "val_acc", "epoch", "phase")
            trainer.logger.log_metrics({k: float(row[k]) for k in kept}, step=trainer.global_step)


class LastPhaseEarlyStopping(EarlyStopping):
    """Stops on validation loss, in the last phase alone: a head that has settled must not keep the backbone frozen.

    It decides at the end of the validation, so that what comes at the end of the epoch knows that it is the last.
    """

    def __init__(self, min_delta: float, patience: int) -> None:
        super().__init__("val_loss", min_delta, patience, check_on_train_epoch_end=False)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Look at the validation if it belongs to the last phase."""
        assert isinstance(module, PatchModule)
        if module.phase_index == len(module.strategy) - 1:
            super().on_validation_end(trainer, module)


class BestCheckpoints(ModelCheckpoint):
    """Keeps the three best epochs of the validation; the number in the name is the accuracy.

    Best is the highest `figure`, of equals that with the lowest loss; the module logs both as one number, `val_choice`.
    They hold weights and no optimizer's state, which is twice as large: an interrupted training goes on from last.ckpt.

    Args:
        folder: where.
        figure: accuracy, or the mean recall of the classes, which no class decides by its size.
    """

    def __init__(self, folder: Path, figure: Literal["val_acc", "val_recall"] = "val_acc") -> None:
        self.figure = figure
        super().__init__(
            dirpath=folder,
            filename="best-{epoch:03d}-{val_acc:.3f}",
            auto_insert_metric_name=False,
            monitor="val_choice",
            mode="max",
            save_top_k=3,
            save_weights_only=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint, wherever its folder is by now, without epochs that came after it and count no more.

        An epoch that it knows may be gone, if a later one took its place: the same one will again.
        """
        assert self.dirpath is not None
        folder = Path(self.dirpath)

        def here(path: str) -> str:
            return str(folder / Path(path).name) if path else path

        state = dict(state_dict) | {"dirpath": self.dirpath}
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[name] = here(state[name])
        state["best_k_models"] = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state)
        if distributed.rank() == 0:
            for file in folder.glob("best-*.ckpt"):
                if str(file) not in self.best_k_models:
                    file.unlink()
