"""One training of a comparison: its figures are kept, its checkpoints and its model are not."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landsift import errors, runs
from landsift.config import RunConfig, cache_folder
from landsift.pipeline.stage_table import CELL, given, manifest_with
from landsift.runtime.locks import LOOK_EVERY, Lock, waited_for
from landsift.training.strategies import settled

KEPT = (runs.CONFIG, runs.MANIFEST, runs.METRICS, runs.EVALUATION, runs.PREDICTIONS)
"""Files of a run directory that a comparison reads; a hundred trainings' checkpoints would be gigabytes."""


@dataclass(frozen=True)
class Trial:
    """What `train_trial` is called with, wherever an engine runs it; as of `train_here`, as text."""

    config_json: str
    store: str
    folder: str
    label: str
    group: str


def train_trial(trial: Trial) -> None:
    """Train a cell in a process of an engine, which may have been asked to before.

    A worker that was cut off may be at it still, until it notices; two would write to one folder, so this one waits.

    Raises:
        LandsiftError: as `train_here`; other errors become one, which names where it happened.
    """
    folder = Path(trial.folder)
    try:
        with waited_for(_training(folder), "another worker is training this; waiting for it"):
            config = RunConfig.model_validate_json(trial.config_json)
            train_here(config, Path(trial.store), folder, trial.label, trial.group)
    except Exception as error:  # noqa: BLE001 (whatever it is, the comparison continues and reports it)
        raise errors.from_record(errors.to_record(error), "the training") from None


def wait_until_left(folder: Path, seconds: float = 10.0) -> None:
    """Wait until no worker trains into a folder; one that is cut off may not have noticed yet that it is to end."""
    lock, deadline = _training(folder), time.monotonic() + seconds
    while not lock.take():
        if time.monotonic() > deadline:
            return
        time.sleep(LOOK_EVERY)
    lock.release()


def _training(folder: Path) -> Lock:
    return Lock(folder.parents[1] / "locks" / f"{folder.name}.trains")


def train_here(config: RunConfig, store: Path, folder: Path, label: str, group: str) -> None:
    """Train, test, and leave the `KEPT` files in `folder`.

    Args:
        config: the complete configuration.
        store: folder of the patch store.
        folder: where the files go; must not exist.
        label: what W&B calls the run.
        group: what it calls the comparison.

    Raises:
        LandsiftError: as `landsift.training.start.train` and `landsift.evaluation.final_test.final_test`.
    """
    from landsift.data.store.patch_store import PatchStore
    from landsift.evaluation.final_test import final_test
    from landsift.evaluation.tsne import make_embeddings
    from landsift.pipeline.tracking import log_frames
    from landsift.training.start import train as fit

    config = settled(in_one_arithmetic(config))
    patches, asked = PatchStore.open(store), given(CELL, config)
    experiment = _experiment(config, label, group)
    try:
        fit(asked, patches, folder, experiment)
        final_test(asked, patches, folder, folder, thresholds=False)  # its model is not kept
        if experiment is not None and config.tracking.tsne_every:
            make_embeddings(config, patches, folder, folder)
            log_frames(experiment, folder, patches.classes)
    finally:
        if experiment is not None:
            experiment.finish()
    runs.write_text(folder / runs.CONFIG, config.to_yaml())
    runs.write_json(folder / runs.MANIFEST, manifest_with(config, runs.read_json(folder / runs.MANIFEST)))
    for path in folder.iterdir():
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def in_one_arithmetic(config: RunConfig) -> RunConfig:
    """The configuration with what `auto` would choose by timing settled: cells must not differ in it."""
    return config.replace("training.compile=false") if config.training.compile == "auto" else config


def _experiment(config: RunConfig, label: str, group: str) -> Any | None:
    """A W&B run of the comparison's group, or None where tracking is off."""
    tracking = config.tracking
    if tracking.wandb == "disabled":
        return None
    import wandb

    from landsift.pipeline.tracking import cannot_start

    try:
        return wandb.init(
            project=tracking.project,
            entity=tracking.entity,
            name=label,
            group=group,
            mode=tracking.wandb,
            config=config.to_dict(),
            dir=cache_folder() / "tracking",
            reinit="finish_previous",
            settings=wandb.Settings(silent=True, console="off", save_code=False),
        )
    except Exception as error:  # noqa: BLE001 (of many bases)
        raise cannot_start(error) from None
