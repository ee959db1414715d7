"""Features of a frozen backbone, computed once for a phase instead of in every epoch.

A phase that trains the head alone sees the same backbone, in eval mode, in every epoch. So a few views of each patch
are drawn, with all augmentation but mixing, and their features are kept; an epoch then draws one of a patch's views.
What a view looks like depends on the seed, the patch and the number of the view, and on nothing else.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor

from landsift.config import AugmentConfig, TrainingConfig
from landsift.data.augment import SYMMETRIES, flips_and_turns
from landsift.data.batches import PatchBatches
from landsift.data.patch_draws import PatchDraws
from landsift.errors import RunError
from landsift.training import ranks
from landsift.training.phases import first_epoch, phase_of
from landsift.training.trainable import FeatureCaching, Trainable

logger = logging.getLogger("landsift")


def view_symmetry(rows: Tensor, views: Tensor, count: int, drawing: int = 0) -> Tensor:
    """Which of the eight flips and rotations a view is: spread over the eight, and over patches where there are fewer.

    Args:
        rows: store rows, int64 [B].
        views: 0 to `count` - 1, int64 [B].
        count: how many views each patch has; with all eight, view and symmetry are the same number.
        drawing: how many times views were drawn before; with fewer than eight, each time has others.
    """
    offset = rows + drawing if count < SYMMETRIES else torch.zeros_like(rows)
    return (offset + views * SYMMETRIES // count) % SYMMETRIES


def drawn_view(draws: Tensor, count: int) -> Tensor:
    """The view that a uniform draw from the eight symmetries stands for, int64 [B]."""
    return draws * count // SYMMETRIES


def uncachable(augment: AugmentConfig) -> str:
    """The settings that mix the pixels of patches, of which a view is one of a batch; empty where there are none."""
    on = {"mixup": augment.mixup > 0, "cutmix": augment.cutmix > 0}
    return " and ".join(f"training.augment.{name}" for name, is_on in on.items() if is_on)


class FeatureCache:
    """Features of views of patches, in a memory-mapped file.

    Args:
        path: the file.
        rows: store rows, int64 [N], ascending.
        views: V, how many views each patch has.
        width: D, to make the file; None: another process has made it.
    """

    def __init__(self, path: Path, rows: NDArray[np.int64], views: int, width: int | None) -> None:
        self.rows = rows
        self.views = views
        if width is None:
            self._features = np.lib.format.open_memmap(path, mode="r+")
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._features = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(rows), views, width))
        if hasattr(os, "posix_fallocate"):  # a full disk is an error here, and a dead process at a later write
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)

    def put(self, rows: Tensor, view: int, features: Tensor) -> None:
        """Keep the features, float [B, D], of one view of some rows."""
        self._features[np.searchsorted(self.rows, rows.numpy()), view] = features.float().cpu().numpy()

    def take_drawn(self, rows: Tensor, drawn: Tensor) -> Tensor:
        """The features of some rows, in the views that stand for the symmetries drawn; float32 [B, D]."""
        positions = np.searchsorted(self.rows, rows.numpy())
        return torch.from_numpy(self._features[positions, drawn_view(drawn, self.views).numpy()])


class FrozenFeatures(Callback):
    """Fills the module's feature caches when a phase that trains the head alone begins, and drops them at its end.

    Where `training.feature_epochs` says so, those of the training patches are computed anew from time to time.

    Args:
        folder: where the memory-mapped files go for the time of the phase.
        train: batches of the training patches, in order.
        val: batches of the validation patches.
        settings: of the training.
        seed: that views are drawn with.

    Attributes:
        seconds: what the features took, by index of the phase.
    """

    def __init__(
        self, folder: Path, train: PatchBatches, val: PatchBatches, settings: TrainingConfig, seed: int
    ) -> None:
        self.folder = folder
        self.train = train
        self.val = val
        self.settings = settings
        self.seed = seed
        self.seconds: dict[int, float] = {}
        self._made_for = (-1, 0)

    def state_dict(self) -> dict[str, Any]:
        """What the features took so far, for the checkpoint."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What the features took before the checkpoint."""
        self.seconds = dict(state_dict["seconds"])

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """At a phase's first epoch in this process: drop the last phase's features and make its own; or draw anew."""
        assert isinstance(module, Trainable)
        if not isinstance(module, FeatureCaching):
            return
        index = phase_of(module.strategy, trainer.current_epoch)
        drawing = self.settings.drawing(trainer.current_epoch - first_epoch(module.strategy, index))
        before, self._made_for = self._made_for, (index, drawing)
        if before == self._made_for:
            return
        begins = before[0] != index
        if begins:
            self._drop(trainer, module)
        elif module.train_features is None:
            return
        if module.phase.trains_backbone or not self.settings.cache_features:
            return
        if reason := self._why_not():
            logger.info("features are not cached, the frozen backbone runs in every epoch of this phase: %s", reason)
            return
        started = time.perf_counter()
        device = trainer.strategy.root_device
        with trainer.precision_plugin.forward_context():
            module.train_features = self._make(module, "train", device, drawing)
            if begins:
                module.val_features = self._make(module, "val", device)
        for batches in self._loaders(trainer):
            batches.with_images = False
        seconds = time.perf_counter() - started
        self.seconds[index] = round(self.seconds.get(index, 0.0) + seconds, 3)
        self._say(begins, seconds)

    def _why_not(self) -> str:
        """Why features cannot be kept; empty where they can."""
        if reason := uncachable(self.settings.augment):
            return f"{reason} mixes the pixels of patches, in other pairs in every epoch"
        return "nodes share no file for them" if self.settings.num_nodes > 1 else ""

    def _say(self, begins: bool, seconds: float) -> None:
        views = self.settings.kept_views
        count = f"{views} {'drawn ' if self.settings.augment.changes_values else ''}{'views' if views > 1 else 'view'}"
        patches = f"{len(self.train.sampler.rows):,} training patches in {count}"
        if not begins:
            logger.info("cached features of %s again, drawn anew  %.1f s", patches, seconds)
            return
        logger.info(
            "cached features of %s and of %s validation patches for this phase  %.1f s",
            patches,
            f"{len(self.val.sampler.rows):,}",
            seconds,
        )

    def teardown(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        """Delete the files."""
        self._drop(trainer, module)

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        """Delete the files when the training fails or is interrupted."""
        self._drop(trainer, module)

    def _make(self, module: FeatureCaching, name: str, device: torch.device, drawing: int = 0) -> FeatureCache:
        training = name == "train"
        batches, augment = (self.train if training else self.val), self.settings.augment
        views = self.settings.kept_views if training else 1
        cache = module.train_features if training else None
        ranks.wait_for_all()  # nobody reads what is drawn anew
        try:
            for batch in batches:
                stored = batch.images.to(device)
                for view in range(views):
                    symmetry = view_symmetry(batch.rows, torch.full_like(batch.rows, view), views, drawing)
                    images = flips_and_turns(stored, symmetry) if training and augment.flips else stored
                    drawn = training and augment.changes_values
                    draws = PatchDraws(self.seed, batch.rows, view, drawing) if drawn else None
                    features = module.frozen_features(images, draws)
                    if cache is None:
                        cache = self._open(name, batches, views, features.shape[-1])
                    cache.put(batch.rows, view, features)
        except OSError as error:
            raise RunError(
                f"cannot cache features in {self.folder}: {error.strerror or error}",
                "free some disk space, or set training.cache_features=false",
            ) from None
        assert cache is not None
        ranks.wait_for_all()
        return cache

    def _open(self, name: str, batches: PatchBatches, views: int, width: int) -> FeatureCache:
        """Each process computes its share of the features; the first makes the file that all write to."""
        path, rows = self.folder / f"{name}.npy", batches.sampler.rows
        if ranks.rank():
            ranks.wait_for_all()
            return FeatureCache(path, rows, views, None)
        cache = FeatureCache(path, rows, views, width)
        ranks.wait_for_all()
        return cache

    @staticmethod
    def _loaders(trainer: L.Trainer) -> list[PatchBatches]:
        """What the trainer takes its batches from."""
        found = [trainer.train_dataloader, trainer.val_dataloaders]
        return [batches for batches in found if isinstance(batches, PatchBatches)]

    def _drop(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if isinstance(module, FeatureCaching):
            module.train_features = module.val_features = None
        for batches in self._loaders(trainer):
            batches.with_images = True
        if ranks.rank() == 0:
            shutil.rmtree(self.folder, ignore_errors=True)
