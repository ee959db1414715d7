"""Lightning's trainer for one training: its batches, its callbacks, and where it begins."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from landsift import runs
from landsift.config import RunConfig
from landsift.data.batches import PatchBatches
from landsift.errors import ConfigError
from landsift.runtime.interruption import Terminated
from landsift.runtime.notices import watched
from landsift.training import ddp, ranks, resume, wandb_log
from landsift.training.batch_norms import drawn_rows
from landsift.training.best_checkpoints import BestCheckpoints
from landsift.training.callbacks import LastPhaseEarlyStopping, PhaseChange
from landsift.training.feature_cache import FrozenFeatures
from landsift.training.history import History
from landsift.training.phase_watch import falls, idle_phases
from landsift.training.phases import total_epochs
from landsift.training.precision import CompileWhereItPays, check_compile, choose_precision
from landsift.training.trainable import Averaging, Trainable

if TYPE_CHECKING:
    from landsift.data.splits import Split
    from landsift.data.store.patch_store import PatchStore

logger = logging.getLogger("landsift")


def fit_module(
    config: RunConfig,
    module: L.LightningModule,
    watchers: Sequence[Callback],
    store: PatchStore,
    split: Split,
    folder: Path,
    experiment: Any | None,
    settled: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train the module, from where an earlier attempt was interrupted if there was one; it ends as the best epoch was.

    Args:
        config: the complete configuration.
        module: a `Trainable`.
        watchers: callbacks of this kind of training, beside those that every training has.
        store: the patches.
        split: how they are divided.
        folder: where metrics.json and checkpoints go.
        experiment: a Weights & Biases run, or None.
        settled: what an earlier attempt has settled, what another run computed with that this one repeats, or the
            identity alone.

    Returns:
        What is known of the best epoch, and how it was computed; both empty in other ranks than the first.
    """
    trained = module
    assert isinstance(trained, Trainable)
    settings = config.training
    if settings.accelerator == "gpu" and not torch.accelerator.is_available():
        raise ConfigError("training.accelerator is gpu, but torch sees no GPU here", "use auto or cpu")
    check_compile(settings)
    module.to(memory_format=torch.channels_last)
    device = _device(config)
    settled = _settle(settled, config, device, folder)
    share: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "rank": ranks.rank(),
        "world": ranks.world(),
    }
    patches, labels = store.images, store.labels
    balanced = settings.sampler == "balanced"
    train_batches = PatchBatches(
        patches, labels, split.train, shuffle=True, balanced=balanced, seed=config.seed, device=device, **share
    )
    train_in_order = PatchBatches(patches, labels, split.train, **share)  # for few passes: nothing of it stays on a GPU
    calibration = PatchBatches(
        patches, labels, drawn_rows(split.train, config.seed), shuffle=True, seed=config.seed, **share
    )
    val_batches = PatchBatches(patches, labels, split.val, device=device, **share)
    shown = trained.figures[-1]
    best_epochs = BestCheckpoints(folder / runs.CHECKPOINTS, shown)
    history, compiling = History(folder, len(split.val)), CompileWhereItPays(settings.compile)
    if settings.compile == "auto" and "compiled_from_epoch" in settled:
        compiling = CompileWhereItPays(False)
        compiling.compiled_at = settled["compiled_from_epoch"]
    features = FrozenFeatures(folder / runs.FEATURES, train_in_order, val_batches, settings, config.seed)
    continuation = resume.Continuation(folder, settings.checkpoint_minutes)
    callbacks: list[Callback] = [PhaseChange(calibration), history, features, compiling, *watchers]
    callbacks += [*_progress_bar(), *ddp.callbacks(settings, config.seed)]
    if settings.early_stopping:
        callbacks.append(LastPhaseEarlyStopping(settings.early_stopping.min_delta, settings.early_stopping.patience))
    arguments = ddp.trainer_arguments(settings)
    trainer = L.Trainer(
        **arguments | {"plugins": [*arguments["plugins"], resume.WholeFiles()]},
        max_epochs=total_epochs(trained.strategy),
        precision=settled["precision"],
        gradient_clip_val=settings.gradient_clip,
        callbacks=[*callbacks, best_epochs, continuation],
        logger=wandb_log.logger_of(experiment, config),
        enable_progress_bar=len(_progress_bar()) > 0,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        default_root_dir=folder,
    )
    last = continuation.path if continuation.path.is_file() else None
    try:
        trainer.fit(module, train_batches, val_batches, ckpt_path=last, weights_only=True)
    except SIGTERMException:  # of Lightning's own handler, before the first step
        raise Terminated from None
    except Terminated:
        raise
    except SystemExit:  # what Lightning turns Ctrl+C into
        raise KeyboardInterrupt from None
    if ranks.rank():
        return {}, {}
    path = Path(best_epochs.best_model_path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    module.load_state_dict(state["state_dict"])
    if isinstance(module, Averaging):
        module.adopt_averages()
    epoch = int(state["epoch"])
    best = {"epoch": epoch, shown: history.rows[epoch][shown], "checkpoint": path.name}
    best["chosen_by"] = trained.chosen_by
    judged = "val_acc" in trained.figures
    idle = idle_phases(history.rows) if judged else []
    for note in idle:
        logger.warning("%s", note)
    facts = {
        "notes": (falls(history.rows, len(split.val)) if judged else []) + idle,
        "precision": settled["precision"],
        "compiled_from_epoch": compiling.compiled_at,
        "feature_seconds": features.seconds,
        "interruptions": continuation.resumed,
        "seconds_before": round(continuation.seconds_before, 3),
    }
    return best, facts


def _settle(settled: dict[str, Any], config: RunConfig, device: torch.device, folder: Path) -> dict[str, Any]:
    """How all attempts compute: as the first, which keeps what it has chosen beside its checkpoints."""
    if "precision" not in settled:
        settled = settled | {"precision": ranks.from_first(choose_precision(config.training, device))}
    if ranks.rank() == 0:
        runs.write_json(folder / runs.CHECKPOINTS / resume.SETTLED, settled)
    return settled


def _device(config: RunConfig) -> torch.device:
    """The device that Lightning will train on."""
    wanted = config.training.accelerator
    if wanted == "cpu" or not torch.accelerator.is_available():
        return torch.device("cpu")
    accelerator = torch.accelerator.current_accelerator()
    return accelerator or torch.device("cpu")


def _progress_bar() -> list[Any]:
    """A bar on standard error for a person who watches; nothing for a log file."""
    from lightning.pytorch.callbacks import RichProgressBar

    seen = watched() and ranks.rank() == 0
    return [RichProgressBar(leave=False, console_kwargs={"stderr": True})] if seen else []
