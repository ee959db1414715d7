"""The history of a training: a row per epoch, in metrics.json, in the logger and on the screen."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from landsift.errors import ModelError
from landsift.runs import METRICS, write_json
from landsift.training.batch_norms import running_norms
from landsift.training.phase_watch import fall_at
from landsift.training.phases import Strategy, first_epoch, total_epochs
from landsift.training.trainable import Trainable

logger = logging.getLogger("landsift")


class History(Callback):
    """One row per epoch, with the training loss of that very epoch, in `metrics.json` and in the logger.

    Args:
        folder: of the run.
        patches: how many are validated.

    Attributes:
        rows: epoch, phase, phase_name, train_loss, the module's validation figures (of a classifier val_loss and
            val_acc), a rate of each part (lr_head, lr_backbone) that the epoch ended with, seconds, val_seconds (of
            them).
    """

    def __init__(self, folder: Path, patches: int) -> None:
        self.folder = folder
        self.patches = patches
        self.rows: list[dict[str, Any]] = []
        self._started: float | None = None
        self._spent = 0.0
        self._validation_started = 0.0
        self._val_seconds = 0.0
        self._rates: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """The rows so far, and what has happened of the next, for the checkpoint."""
        spent = 0.0 if self._started is None else time.perf_counter() - self._started
        return {"rows": self.rows, "rates": self._rates, "spent": spent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The rows of the checkpoint."""
        self.rows = list(state_dict["rows"])
        self._rates = dict(state_dict["rates"])
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
        assert isinstance(module, Trainable)
        self._rates = module.learning_rates()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the step's loss and rates, as often as the trainer logs."""
        if trainer.logger is None or (trainer.global_step - 1) % trainer.log_every_n_steps:
            return
        values = {"train_loss_step": float(outputs["loss"])} | self._named_rates()
        trainer.logger.log_metrics(values | {"epoch": float(trainer.current_epoch)}, step=trainer.global_step)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Write the epoch's row; validation has run by now."""
        assert isinstance(module, Trainable)
        assert self._started is not None
        metrics = trainer.callback_metrics
        row = {
            "epoch": trainer.current_epoch,
            "phase": module.phase_index + 1,
            "phase_name": module.phase.name,
            "train_loss": module.epoch_loss(),
            **{name: float(metrics[name]) for name in module.figures},
            **self._named_rates(),
            "seconds": round(time.perf_counter() - self._started, 3),
            "val_seconds": round(self._val_seconds, 3),
        }
        self._started = None
        if not all(math.isfinite(row[name]) for name in ("train_loss", *module.figures)):
            rates = " and ".join(f"{rate:.2g} ({part})" for part, rate in self._rates.items())
            raise ModelError(
                f"epoch {row['epoch'] + 1} ({row['phase_name']}): the loss is not finite: training diverged "
                f"at learning rates {rates}",
                "lower the phase's learning rates, or training.gradient_clip",
            )
        self.rows.append(row)
        if trainer.is_global_zero:
            write_json(self.folder / METRICS, self.rows)
        self._tell(row, module)
        if trainer.logger is not None:
            kept = ("train_loss", *module.figures, "epoch", "phase")
            trainer.logger.log_metrics({k: float(row[k]) for k in kept}, step=trainer.global_step)

    def _named_rates(self) -> dict[str, float]:
        """The rates as a row has them."""
        return {f"lr_{part}": rate for part, rate in self._rates.items()}

    def _tell(self, row: dict[str, Any], module: Trainable) -> None:
        """Say how the epoch went, and whether the phase began with a fall."""
        figures = "".join(f"  {_in_words(name, row[name])}" for name in module.figures)
        logger.info(
            "epoch %2d/%d  %s  train loss %.3f%s  %.1f s%s",
            row["epoch"] + 1,
            total_epochs(module.strategy),
            row["phase_name"],
            row["train_loss"],
            figures,
            row["seconds"],
            time_left(self.rows, module.strategy),
        )
        if "val_acc" in row and (fall := fall_at(self.rows, self.patches)):
            moving = module.phase.batch_norm == "train" and running_norms(module.backbone)
            hint = "; batch_norm: eval in that phase would keep its BN statistics" if moving else ""
            logger.warning("%s%s", fall, hint)


class EachEpoch(Callback):
    """Shows the rows so far to somebody after each epoch.

    Args:
        look: gets them, also those of the attempts before an interruption; what it raises ends the training.
    """

    def __init__(self, look: Callable[[Sequence[Mapping[str, Any]]], None]) -> None:
        self.look = look

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Show them; the history stands before this among the callbacks, and has written its row."""
        self.look(next(each for each in trainer.callbacks if isinstance(each, History)).rows)


def time_left(rows: Sequence[Mapping[str, Any]], strategy: Strategy) -> str:
    """How long the rest of the phase takes at its pace, in words after two spaces; "" after its last epoch.

    The first epoch of a phase also makes features or compiles, so that later ones tell the pace where there are some.

    Args:
        rows: of metrics.json; `epoch`, `phase` and `seconds`.
        strategy: the phases.
    """
    number = rows[-1]["phase"]
    left = first_epoch(strategy, number - 1) + strategy[number - 1].epochs - rows[-1]["epoch"] - 1
    if not left:
        return ""
    paces = [row["seconds"] for row in rows if row["phase"] == number]
    paces = paces[1:] or paces
    end = "to go" if number == len(strategy) else f"to the end of phase {number} of {len(strategy)}"
    return f"  about {_rough(left * sum(paces) / len(paces))} {end}"


def _rough(seconds: float) -> str:
    """A time that is estimated: "40 s", "12 min", "3 h 5 min"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _in_words(name: str, value: float) -> str:
    """A validation figure for people: "val loss 0.312", "val accuracy 97.12 %"."""
    return f"val accuracy {100 * value:.2f} %" if name == "val_acc" else f"{name.replace('_', ' ')} {value:.3f}"
