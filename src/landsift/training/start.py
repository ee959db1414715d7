"""Starting a training: in this process, or in several that are started for it."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift import runs
from landsift.config import RunConfig
from landsift.errors import ConfigError
from landsift.models import own_networks
from landsift.runtime import surroundings
from landsift.runtime.interruption import interruptible
from landsift.training import devices, fit, launch, wandb_log, worker
from landsift.training.strategies import settled

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback

    from landsift.data.store.patch_store import PatchStore

logger = logging.getLogger("landsift")


def train(
    config: RunConfig,
    store: PatchStore,
    folder: Path,
    experiment: Any | None = None,
    repeats: Mapping[str, Any] | None = None,
    watchers: Sequence[Callback] = (),
) -> runs.Run:
    """Train, up to the last validation; `fit.train_here` says what is left in the folder.

    With `training.devices` or `training.num_nodes` above 1 it trains in processes of its own, unless this is one of
    them; the first writes. Of several nodes, the others than the first call `join`.

    Args:
        config: the complete configuration.
        store: the decoded patches; other processes open it anew.
        folder: where the files go; made if need be. If the same training was interrupted there, it resumes.
        experiment: a Weights & Biases run to log into, or None. Where other processes train it stays in this one, and
            is fed from metrics.json.
        repeats: `precision` and `compiled_from_epoch` of a run that is to be repeated, which are then not chosen anew.
        watchers: further callbacks; where other processes train, they are not called.

    Returns:
        The run in `folder`.

    Raises:
        ConfigError: the strategy or a setting does not fit, or there are too few GPUs.
        DataError: the patches cannot be divided as asked.
        ModelError: the backbone or its weights cannot be used, or the training has diverged.
        RunError: the folder holds another training, or cannot be written, or another training is at work in this
            process, or one of several processes died or raised something that nobody foresaw.
        Terminated: SIGTERM has come, or another signal that ends the process, and `folder` holds a checkpoint to go
            on from.
    """
    config = settled(config).absolute()
    if devices.needed(config.training):
        _train_in_ranks(config, store, folder, experiment, repeats)
        return runs.Run.open(folder)
    return fit.train_here(config, store, folder, experiment, repeats, watchers)


def join(config: RunConfig, store: PatchStore) -> None:
    """Take part in a training as another node than the first; write nothing.

    Raises:
        LandsiftError: as `train`.
    """
    config = settled(config)
    devices.check_devices(config.training)
    with (
        interruptible(),
        surroundings.alone("training"),
        surroundings.as_guest(surroundings.MEETING),
        tempfile.TemporaryDirectory(prefix="landsift-") as folder,
    ):
        _train_along(config, store, Path(folder))


def _train_in_ranks(
    config: RunConfig, store: PatchStore, folder: Path, experiment: Any | None, repeats: Mapping[str, Any] | None
) -> None:
    """Train in `training.devices` processes here, of which the first writes."""
    meant = surroundings.MEETING if config.training.num_nodes > 1 else None
    with surroundings.alone("training"), surroundings.as_guest(meant):
        devices.check_devices(config.training)
        if devices.node_rank(config.training):
            message = "NODE_RANK is not 0 here, but only the first node writes a run"
            raise ConfigError(message, "call join on other nodes")
        try:
            with wandb_log.following(folder / runs.METRICS, experiment, config):
                _train_along(config, store, folder, repeats)
        finally:
            shutil.rmtree(folder / runs.FEATURES, ignore_errors=True)  # which a process that was killed leaves behind


def _train_along(config: RunConfig, store: PatchStore, folder: Path, repeats: Mapping[str, Any] | None = None) -> None:
    """Start this machine's processes of a training, and wait until they have ended."""
    with tempfile.TemporaryDirectory(prefix="landsift-") as scratch:
        task = Path(scratch) / "task.json"
        level = logger.getEffectiveLevel()
        asked = {
            "config": own_networks.by_file(config).to_dict(),
            "store": str(store.folder),
            "folder": str(folder),
            "level": level,
        }
        runs.write_json(task, asked | {"root": store.info["root"], "repeats": repeats and dict(repeats)})
        launch.run_ranks(["-m", worker.__name__, str(task)], config.training.devices, config.training.num_nodes)
