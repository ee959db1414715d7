"""Keeping the features of some validation patches after every epoch, for the figures of later stages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import lightning as L
from lightning.pytorch.callbacks import Callback

from landsift.training import ranks
from landsift.training.kept_features import write_features, write_rows
from landsift.training.trainable import KeepingFeatures

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ValidationFeatures(Callback):
    """Writes what the module has kept in each validation, before the checkpoint that knows of the epoch.

    Args:
        folder: of the run.
        rows: store rows, int64 [M], ascending: the module's `keep_rows`.
    """

    def __init__(self, folder: Path, rows: NDArray[np.int64]) -> None:
        self.folder = folder
        self.rows = rows

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Write the features that this epoch has not in common with the one before."""
        assert isinstance(module, KeepingFeatures)
        kept = ranks.gathered(module.kept_rows, module.kept_embeddings)
        if kept is None:  # another rank than the first
            return
        if trainer.current_epoch == 0:
            write_rows(self.folder, self.rows)
        write_features(self.folder, trainer.current_epoch, kept[1].numpy())
