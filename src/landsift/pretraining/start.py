"""Starting a pretraining: in this process, or in several that are started for it."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift import runs
from landsift.config import RunConfig
from landsift.errors import ConfigError
from landsift.models import own_networks
from landsift.pretraining import fit, worker
from landsift.runtime import surroundings
from landsift.training import devices, launch, wandb_log

if TYPE_CHECKING:
    from landsift.data.store.patch_store import PatchStore

logger = logging.getLogger("landsift")


def pretrain(
    config: RunConfig,
    store: PatchStore,
    folder: Path,
    experiment: Any | None = None,
    probe: PatchStore | None = None,
) -> Path:
    """Pretrain the backbone on patches without their labels; `fit.pretrain_here` says what is left in the folder.

    With `training.devices` above 1 it trains in processes of its own (DDP), unless this is one of them; the first
    writes. If the same pretraining was interrupted in the folder, it resumes.

    Args:
        config: the complete configuration.
        store: the patches; labels decide only which of them are in val and test, and these are not learned from.
        folder: where the files go; made if need be.
        experiment: a Weights & Biases run, or None.
        probe: labelled patches that features are checked on every few epochs, or None.

    Returns:
        `folder`.

    Raises:
        ConfigError: a setting does not fit the backbone or the patches, or there are too few GPUs.
        DataError: there are too few patches, or they cannot be divided.
        ModelError: the backbone or its weights cannot be used, or the training has diverged; as a CollapseError: it
            tells patches no longer apart.
        RunError: the folder holds another training, or cannot be written, or one of several processes died.
        Terminated: SIGTERM has come, and `folder` holds a checkpoint to resume from.
    """
    config = fit.completed(config)
    if config.training.num_nodes > 1:
        raise ConfigError("training.num_nodes: a pretraining runs on one machine", "set training.devices alone")
    if not devices.needed(config.training):
        return fit.pretrain_here(config, store, folder, experiment, probe)
    with surroundings.alone("training"), surroundings.as_guest(), tempfile.TemporaryDirectory(prefix="landsift-") as at:
        devices.check_devices(config.training)
        task = Path(at) / "task.json"
        asked = {
            "config": own_networks.by_file(config).to_dict(),
            "folder": str(folder),
            "level": logger.getEffectiveLevel(),
            "stores": [{"store": str(one.folder), "root": one.info["root"]} for one in (store, probe) if one],
        }
        runs.write_json(task, asked)
        with wandb_log.following(folder / runs.METRICS, experiment, config):
            launch.run_ranks(["-m", worker.__name__, str(task)], config.training.devices)
    return folder
