"""One training: from a store and a configuration to the files of a run directory."""

from __future__ import annotations

import logging
import random
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift import runs
from landsift.config import Normalization, RunConfig
from landsift.errors import ConfigError
from landsift.training.phases import Strategy, resolve_strategy, settled, total_epochs

if TYPE_CHECKING:
    import torch

    from landsift.data.splits import Split
    from landsift.data.store import PatchStore
    from landsift.models.classifier import PatchClassifier
    from landsift.training.callbacks import TSNEFrames
    from landsift.training.module import PatchModule


def train(config: RunConfig, store: PatchStore, folder: Path, experiment: Any | None = None) -> runs.Run:
    """Train, evaluate the best checkpoint, and write every file of a run directory but the report.

    Args:
        config: the complete configuration.
        store: the decoded patches.
        folder: where the files go; made if need be.
        experiment: a Weights & Biases run to log into, or None.

    Returns:
        The run in `folder`.

    Raises:
        ConfigError: the strategy or a setting does not fit.
        DataError: the patches cannot be divided as asked.
        ModelError: the backbone or its weights cannot be used.
    """
    import lightning as L

    from landsift.data.splits import make_split
    from landsift.models.memory import keep_freed_memory
    from landsift.training import distributed, launch
    from landsift.training.results import embeddings_table, manifest_of, write_model_and_figures

    config = settled(config)
    if launch.needed(config.training):
        launch.train(config, store, folder, experiment)
        return runs.Run.open(folder)
    distributed.join_group(config, store.fingerprint)
    strategy = resolve_strategy(config.strategy, config.strategies)
    strategy = distributed.scale_rates(strategy, distributed.lr_factor(config.training))
    check_image_sizes(config, strategy)
    split = make_split(store, config.data.split, config.data.budget, config.data.budget_seed)
    _quiet_lightning()
    keep_freed_memory()
    python_numbers = random.getstate()
    L.seed_everything(config.seed, workers=True, verbose=False)
    # No training draws from Python's own generator, but Flyte draws its files' names there: seeded, they would repeat.
    random.setstate(python_numbers)
    classifier, normalization = build_classifier(config, store)
    module, frames = _module(config, strategy, classifier, normalization, store, split)
    trainable = _trainable_per_phase(module)
    if distributed.rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        runs.write_text(folder / runs.CONFIG, config.to_yaml())

    best, facts = _fit(config, module, frames, store, split, folder, experiment)
    if distributed.rank():
        return runs.Run(folder)  # which the first process writes
    write_model_and_figures(config, module, store, split, folder, best, normalization)
    runs.write_parquet(folder / runs.EMBEDDINGS, embeddings_table(frames, store))
    manifest = manifest_of(config, store, split, module, strategy, trainable, normalization, best, facts)
    runs.write_json(folder / runs.MANIFEST, manifest)
    return runs.Run.open(folder)


def check_image_sizes(config: RunConfig, strategy: Strategy) -> None:
    """Refuse a phase with another input size than a network takes that is built for one size (ViT, Swin)."""
    from landsift.models.backbone import has_fixed_input

    size = config.training.image_size
    other = next((p for p in strategy if p.image_size not in {None, size}), None)
    if other and has_fixed_input(config.model.backbone):
        raise ConfigError(
            f"strategy, phase '{other.name}': {config.model.backbone} takes images of one size only, {size} pixels",
            "leave image_size out of the phases, or choose a backbone without position embeddings",
        )


def build_classifier(config: RunConfig, store: PatchStore) -> tuple[PatchClassifier, Normalization]:
    """The classifier with its weights, and the statistics its inputs are normalised with.

    `model.normalization: auto` takes what the weights were trained with, and for random weights the patches' own
    statistics.
    """
    from landsift.models.backbone import create_backbone
    from landsift.models.classifier import PatchClassifier

    backbone = create_backbone(config.model, config.training.image_size)
    classifier = PatchClassifier(backbone.network, backbone.features, len(store.classes), config.model.head)
    bands = store.images.shape[-1]
    chosen = config.model.normalization
    if isinstance(chosen, Normalization):
        if len(chosen.mean) != bands or len(chosen.std) != bands:
            raise ConfigError(f"model.normalization: {bands} means and {bands} stds are needed, one per band")
        return classifier, chosen
    own = Normalization(mean=tuple(map(float, store.mean)), std=tuple(max(float(s), 1e-3) for s in store.std))
    return classifier, backbone.normalization or own


def _module(
    config: RunConfig,
    strategy: Strategy,
    classifier: PatchClassifier,
    normalization: Normalization,
    store: PatchStore,
    split: Split,
) -> tuple[PatchModule, TSNEFrames]:
    import torch

    from landsift.evaluation.embeddings import balanced_rows
    from landsift.training.callbacks import TSNEFrames
    from landsift.training.losses import balanced_weights
    from landsift.training.module import PatchModule

    tracking = config.tracking
    rows = np.empty(0, dtype=np.int64)
    if tracking.tsne_every:
        rows = np.sort(split.val[balanced_rows(store.labels[split.val], tracking.tsne_per_class, config.seed)])
    weights = None
    if config.training.class_weights == "balanced":
        weights = balanced_weights(store.labels[split.train], len(store.classes))
    module = PatchModule(
        classifier,
        strategy,
        config.training,
        classes=len(store.classes),
        normalization=normalization,
        seed=config.seed,
        keep_rows=torch.from_numpy(rows),
        class_weights=weights,
    )
    frames = TSNEFrames(rows, store.labels[rows], store.classes, max(tracking.tsne_every, 1), config.seed)
    return module, frames


def _fit(
    config: RunConfig,
    module: PatchModule,
    frames: TSNEFrames,
    store: PatchStore,
    split: Split,
    folder: Path,
    experiment: Any | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run Lightning's trainer; returns what is known of the best epoch, and how it was computed."""
    import lightning as L
    import torch
    from lightning.pytorch.callbacks import Callback

    from landsift.data.batches import PatchBatches
    from landsift.training import callbacks as own
    from landsift.training import distributed
    from landsift.training.arithmetic import CompileWhereItPays, check_compile, choose_precision
    from landsift.training.features import FrozenFeatures

    settings = config.training
    if settings.accelerator == "gpu" and not torch.accelerator.is_available():
        raise ConfigError("training.accelerator is gpu, but torch sees no GPU here", "use auto or cpu")
    check_compile(settings)
    module.to(memory_format=torch.channels_last)
    device = _device(config)
    precision, trials = distributed.from_first(choose_precision(settings, module, device))
    share: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "rank": distributed.rank(),
        "world": distributed.world(),
    }
    patches, labels = store.images, store.labels
    balanced = settings.sampler == "balanced"
    train_batches = PatchBatches(
        patches, labels, split.train, shuffle=True, balanced=balanced, seed=config.seed, device=device, **share
    )
    train_in_order = PatchBatches(patches, labels, split.train, **share)  # for one pass: nothing of it stays on a GPU
    val_batches = PatchBatches(patches, labels, split.val, device=device, **share)
    checkpoint = own.best_checkpoints(
        folder / runs.CHECKPOINTS, "val_recall" if settings.balances_classes else "val_acc"
    )
    history, compiling = own.History(folder), CompileWhereItPays(settings.compile)
    features = FrozenFeatures(folder / runs.FEATURES, train_in_order, val_batches, settings)
    watchers: list[Callback] = [own.PhaseChange(), history, features, compiling, frames, *_progress_bar()]
    watchers += distributed.callbacks(settings, config.seed)
    if settings.early_stopping:
        stopping = settings.early_stopping
        watchers.append(own.LastPhaseEarlyStopping("val_loss", stopping.min_delta, stopping.patience))
    trainer = L.Trainer(
        max_epochs=total_epochs(module.strategy),
        **distributed.trainer_arguments(settings),
        precision=precision,
        gradient_clip_val=settings.gradient_clip,
        callbacks=[*watchers, checkpoint, own.last_checkpoint(folder / runs.CHECKPOINTS)],
        logger=_wandb_logger(experiment, config),
        enable_progress_bar=len(_progress_bar()) > 0,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        default_root_dir=folder,
    )
    try:
        trainer.fit(module, train_dataloaders=train_batches, val_dataloaders=val_batches)
    except SystemExit:  # what Lightning turns Ctrl+C into
        raise KeyboardInterrupt from None
    if distributed.rank():
        return {}, {}
    path = Path(checkpoint.best_model_path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    module.load_state_dict(state["state_dict"])
    module.adopt_averages()
    epoch = int(state["epoch"])
    best = {"epoch": epoch, "val_acc": history.rows[epoch]["val_acc"], "checkpoint": path.name}
    best["chosen_by"] = checkpoint.monitor
    facts = {
        "precision": precision,
        "precision_trials": trials,
        "compiled_from_epoch": compiling.compiled_at,
        "feature_seconds": features.seconds,
    }
    return best, facts


def _trainable_per_phase(module: PatchModule) -> list[int]:
    counts = []
    for i in range(len(module.strategy)):
        module.enter_phase(i)
        counts.append(module.trainable_parameters())
    module.enter_phase(0)
    return counts


def _device(config: RunConfig) -> torch.device:
    """The device that Lightning will train on."""
    import torch

    wanted = config.training.accelerator
    if wanted == "cpu" or not torch.accelerator.is_available():
        return torch.device("cpu")
    accelerator = torch.accelerator.current_accelerator()
    return accelerator or torch.device("cpu")


def _progress_bar() -> list[Any]:
    """A bar on standard error for a person who watches; nothing for a log file."""
    import sys

    from lightning.pytorch.callbacks import RichProgressBar

    from landsift.training import distributed

    watched = sys.stderr.isatty() and distributed.rank() == 0
    return [RichProgressBar(leave=False, console_kwargs={"stderr": True})] if watched else []


def _wandb_logger(experiment: Any | None, config: RunConfig) -> Any:
    if experiment is None:
        return False
    from lightning.pytorch.loggers import WandbLogger

    experiment.config.update(config.to_dict(), allow_val_change=True)
    return WandbLogger(experiment=experiment, log_model=False)


def _quiet_lightning() -> None:
    """Lightning's hints are for developers of training loops; errors still come through."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for about in (
        ".*in eval mode at the start.*",
        ".*log_every_n_steps.*",
        ".*exists and is not empty.*",
        ".*LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", about)
