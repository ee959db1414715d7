"""Going on with a training that was interrupted, from any step, as if nothing had happened.

`checkpoints/last.ckpt` is written after every epoch, every `training.checkpoint_minutes` within one, and when SIGTERM
comes. Beside what every Lightning checkpoint holds (weights, optimizer, schedule, loops, callbacks) it has, under the
key "landsift", what each rank needs: random states, the epoch's losses, its buffers. The order of patches and their
augmentation need nothing: they follow from seed, epoch and step.
"""

from __future__ import annotations

import io
import logging
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from torch import nn

from landsift import runs
from landsift.data.batches import PatchBatches
from landsift.errors import RunError
from landsift.runtime.interruption import Notice, Terminated, ending_signals
from landsift.training import ranks
from landsift.training.phases import total_epochs
from landsift.training.trainable import Trainable

logger = logging.getLogger("landsift")

LAST = "last.ckpt"
SETTLED = "settled.json"
"""What a training has settled for all its attempts: which training it is, and how it computes."""
FORMAT = 2
"""Of what landsift adds to a checkpoint, its callbacks' states included."""
NOTHING, SAVE, END = 0, 1, 2


class WholeFiles(TorchCheckpointIO):
    """Writes checkpoints whole or not at all, and says in words why it cannot."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write the checkpoint; raises RunError. One of weights alone is marked as landsift's, too."""
        checkpoint = {"landsift": None} | checkpoint
        buffer = io.BytesIO()  # torch turns an error of the file into another one, without its reason
        torch.save(checkpoint, buffer)
        runs.write_bytes(Path(path), buffer.getbuffer())

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Read a checkpoint, without running anything that it may carry.

        Raises:
            RunError: it is damaged, or no checkpoint.
        """
        try:
            read: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        except Exception as error:  # noqa: BLE001 (torch's errors are of many bases)
            reason = " ".join(str(error).split())[:200]
            raise RunError(f"cannot resume from {path}: {reason}", "delete that file to train from the start") from None
        if not isinstance(read, dict) or not read.get("landsift"):
            raise RunError(
                f"{path} is not a checkpoint that landsift can resume from", "delete that file to train from the start"
            )
        if read["landsift"].get("format") != FORMAT:
            message = f"cannot resume from {path}: another version of landsift wrote it"
            raise RunError(message, "resume with that version, or delete that file to train from the start")
        return read


def settled_before(folder: Path, identity: str) -> dict[str, Any] | None:
    """What an earlier attempt at the same training has settled; None where this is the first.

    Args:
        folder: of the run.
        identity: of the training; equal where settings and patches are.

    Raises:
        RunError: the folder holds another training.
    """
    file = folder / runs.CHECKPOINTS / SETTLED
    if not (file.is_file() and file.with_name(LAST).is_file()):
        return None
    settled: dict[str, Any] = runs.read_json(file)
    if settled.get("identity") != identity:
        raise RunError(f"{folder} holds a training of other settings or patches", "give a new or empty folder")
    return settled


def share_between_nodes(folder: Path) -> None:
    """Bring the first node's last checkpoint to the nodes, which share no files with it; all ranks call it."""
    place = folder / runs.CHECKPOINTS
    names = (SETTLED, LAST)
    found = ranks.from_first({n: (place / n).read_bytes() for n in names if (place / n).is_file()})
    if len(found) == len(names) and ranks.first_of_node():
        for name, content in found.items():
            runs.write_bytes(place / name, content)
    ranks.wait_for_all()


class Continuation(Checkpoint):
    """Keeps `last.ckpt`, and puts back from it what Lightning does not.

    Args:
        folder: of the run.
        minutes: between checkpoints within an epoch; None: none.

    Attributes:
        resumed: how often this training has resumed after an interruption.
        seconds_before: what the attempts before this one took, up to the checkpoints that the next one began from.
    """

    def __init__(self, folder: Path, minutes: float | None) -> None:
        self.path = folder / runs.CHECKPOINTS / LAST
        self.seconds_between = None if minutes is None else 60.0 * minutes
        self.resumed = 0
        self.seconds_before = 0.0
        self._began = self._saved = time.monotonic()
        self._notice = Notice()
        self._loaded: dict[str, Any] | None = None
        self._steps: int | None = None

    # Saving

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Between two steps: the one before is done in every respect, and this one has not begun."""
        self._look(trainer, batch_idx)

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Between the last step and the validation, which is done again from its start."""
        self._look(trainer, int(trainer.num_training_batches))

    def on_validation_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Within the validation, which changes nothing that is kept; ranks may have different numbers of batches."""
        if ranks.world() == 1:
            self._look(trainer, int(trainer.num_training_batches))

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """After the epoch; Lightning calls this after all other callbacks."""
        self._save(trainer, None)
        if ranks.highest(END if self._notice.given else NOTHING) == END:
            self._end(trainer)

    def _look(self, trainer: L.Trainer, steps: int) -> None:
        due = self.seconds_between is not None and time.monotonic() - self._saved > self.seconds_between
        wanted = ranks.highest(END if self._notice.given else SAVE if due else NOTHING)
        if wanted != NOTHING:
            self._save(trainer, steps)
        if wanted == END:
            self._end(trainer)

    def _save(self, trainer: L.Trainer, steps: int | None) -> None:
        self._steps = steps
        trainer.save_checkpoint(self.path)
        self._steps = None
        self._saved = time.monotonic()

    def _end(self, trainer: L.Trainer) -> None:
        ended = Terminated(self._notice.number)
        logger.warning("%s: stopped in epoch %d", ended.number.name, trainer.current_epoch + 1)
        raise ended

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of; all ranks are here."""
        trained: Trainable = module
        own = {"random": random_states(), "epoch": trained.epoch_state(), "buffers": {}}
        if ranks.world() > 1:  # each rank's batch norms have seen other patches
            own["buffers"] = {name: buffer.cpu() for name, buffer in module.named_buffers()}
        checkpoint["landsift"] = {
            "format": FORMAT,
            "steps": self._steps,
            "ranks": ranks.everyones(own),
            "stopped": trainer.should_stop,
            "resumed": self.resumed,
            "seconds": self.seconds_before + time.monotonic() - self._began,
        }
        if self._steps == trainer.num_training_batches:
            # Lightning would take the validation for done; this is how it notes one that was cut short.
            counts = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            progress |= {"total": counts, "current": dict.fromkeys(counts, 0), "is_last_batch": False}

    # Going on

    def on_load_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take what `on_save_checkpoint` has added."""
        trained: Trainable = module
        self._loaded = dict(checkpoint["landsift"])
        self.resumed = self._loaded["resumed"] + 1
        self.seconds_before = self._loaded["seconds"]
        steps, epochs = self._loaded["steps"], total_epochs(trained.strategy)
        done = int(checkpoint["epoch"]) + (steps is None)
        at = "" if steps is None else f"step {steps + 1} of "
        if done < epochs:
            logger.info("resuming an interrupted training from %sepoch %d of %d", at, done + 1, epochs)
        else:
            logger.info("resuming a training that was interrupted after its last epoch")

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Be where the checkpoint was: Lightning calls no `on_train_epoch_start` for an epoch that is resumed."""
        trained: Trainable = module
        if threading.current_thread() is threading.main_thread():
            # In place of Lightning's handler, which talks to other ranks from wherever this one happens to be; that
            # puts back what was there before it.
            for number in ending_signals():
                signal.signal(number, self._notice.note)
        if self._loaded is None:
            return
        own = self._loaded["ranks"][ranks.rank()]
        if self._loaded["steps"] is not None:
            for callback in trainer.callbacks:
                callback.on_train_epoch_start(trainer, module)
            put_buffers_back(module, own["buffers"])
            module.on_train_epoch_start()
            trained.load_epoch_state(own["epoch"])
            batches = trainer.train_dataloader
            assert isinstance(batches, PatchBatches)
            batches.skip(self._loaded["steps"] % len(batches))  # where only the validation is left, none are asked for
        trainer.should_stop = self._loaded["stopped"]
        put_random_states_back(own["random"])
        self._loaded = None


def put_buffers_back(module: nn.Module, saved: dict[str, torch.Tensor]) -> None:
    """Give buffers the values of a checkpoint, by name."""
    present = dict(module.named_buffers())
    for name, value in saved.items():
        present[name].copy_(value)


def random_states() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's generators, of tensors and plain values alone."""
    kind, numbers, *rest = np.random.get_state()  # noqa: NPY002 (libraries draw from the global one)
    return {
        "python": random.getstate(),
        "numpy": [str(kind), torch.from_numpy(np.asarray(numbers).astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def put_random_states_back(states: dict[str, Any]) -> None:
    """Set the generators to what `random_states` returned."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, numbers, *rest = states["numpy"]
    np.random.set_state((kind, numbers.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
