"""A look at labelled patches during a pretraining: it tells how features do, and changes nothing."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback

from landsift import runs
from landsift.config import RunConfig
from landsift.data.balanced import balanced_rows
from landsift.data.patch_reader import PatchReader
from landsift.data.splits import make_split
from landsift.errors import DataError
from landsift.evaluation.probes import NEIGHBOURS, knn_accuracy
from landsift.training import ranks

if TYPE_CHECKING:
    from landsift.data.store.patch_store import PatchStore
    from landsift.pretraining.module import PretrainingModule

logger = logging.getLogger("landsift")
PROBE = "probe.json"


class KnnProbe(Callback):
    """Classifies validation patches of a labelled store by their nearest training patches, every few epochs.

    Args:
        store: the labelled patches.
        config: complete; `data.split` divides them, and `pretraining.watch` says how many and how often.
        folder: where probe.json goes.

    Raises:
        DataError: the patches have other bands than a network of these takes, or cannot be divided.
    """

    def __init__(self, store: PatchStore, config: RunConfig, folder: Path) -> None:
        watch = config.pretraining.watch
        with as_of_probe():
            split = make_split(store, config.data.split)
        most = watch.probe_patches
        self.labels = store.labels
        self.train = _some(split.train, store, most, config.seed)
        self.val = _some(split.val, store, max(1, most // 2), config.seed)
        self.every = watch.probe_every
        self.file = folder / PROBE
        self.rows: list[dict[str, Any]] = []
        self._read = PatchReader(store.images)
        self._bands = store.bands

    def state_dict(self) -> dict[str, Any]:
        """What was found so far, for the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What was found before the checkpoint."""
        self.rows = list(state_dict["rows"])

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Look, if it is time."""
        from landsift.pretraining.features import features_of

        epoch = trainer.current_epoch
        if (epoch + 1) % self.every and epoch + 1 != trainer.max_epochs:
            return
        if ranks.rank() == 0:
            trained = cast("PretrainingModule", module)
            backbone, size = trained.kept.backbone, trained.preprocess.image_size
            train, val = (
                features_of(backbone, trained.preprocess, self._read, rows, size) for rows in (self.train, self.val)
            )
            accuracy = knn_accuracy(train, self.labels[self.train], val, self.labels[self.val])
            self.rows.append({"epoch": epoch, "knn_accuracy": accuracy, "neighbours": NEIGHBOURS})
            runs.write_json(self.file, self.rows)
            message = "epoch %d: %d nearest neighbours are right for %.2f %% of %s validation patches"
            logger.info(message, epoch + 1, NEIGHBOURS, 100 * accuracy, f"{len(self.val):,}")
            if trainer.logger is not None:
                trainer.logger.log_metrics({"probe_knn_accuracy": accuracy}, step=trainer.global_step)
        ranks.wait_for_all()


@contextlib.contextmanager
def as_of_probe() -> Iterator[None]:
    """What is wrong with the probe's patches is told as of these."""
    try:
        yield
    except DataError as error:
        raise DataError(f"the probe: {error.message}", error.hint) from None


def check_probe(store: PatchStore, probe: PatchStore) -> None:
    """Refuse a probe whose patches are of other bands.

    Raises:
        DataError: they are.
    """
    if others := store.bands.differences(probe.bands):
        raise DataError(
            f"the probe's patches are not like those that are learned from: {'; '.join(others)}",
            "give a probe of the same bands and units",
        )


def _some(rows: Any, store: PatchStore, most: int, seed: int) -> Any:
    """At most so many rows, as many of each class as can be; int64 [M], ascending."""
    if len(rows) <= most:
        return rows
    per_class = max(1, most // len(store.classes))
    return np.sort(rows[balanced_rows(store.labels[rows], per_class, seed)])
