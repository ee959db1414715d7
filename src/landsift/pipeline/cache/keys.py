"""What decides whether a stage runs again: the key of its result.

A key is the SHA-256 of everything a stage's result depends on: the settings that the stage is given, the code it runs,
the libraries that decide its numbers, and the keys of the stages that it reads, of which the first stands for the
content of the patches. It names the folder that holds the result, and on a cluster Flyte's cache looks results up by
it. `docs/decisions/0009-stages.md` says why.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from landsift.config import BUILT_IN_SOURCES, DataConfig, ModelConfig, RunConfig, digest
from landsift.models.fingerprint import network_fingerprint
from landsift.pipeline.cache.code import code_version
from landsift.pipeline.stage_table import CELL, DECODE, EMBED, PRETRAIN, TEST, TRAIN, Stage, counted, given
from landsift.training.strategies import settled
from landsift.training.torch_state import read_once

_made: dict[str, dict[str, Any]] = {}
"""What each key of this process was made from."""
LAYOUT = 1
"""Of results: to be raised when the pipeline puts other files into one, or files of another form."""


@dataclass(frozen=True)
class Keys:
    """Keys of all results of a run, by the names of their stages."""

    load_dataset: str
    train_model: str
    test_model: str
    create_embeddings: str


def of_run(config: RunConfig, fingerprint: str) -> Keys:
    """The keys of a run.

    Args:
        config: the complete configuration.
        fingerprint: `landsift.data.sources.base.content_fingerprint(config.data)`.

    Raises:
        ConfigError: the strategy cannot be resolved.
        ModelError: `model.weights` names a file or folder that does not exist or cannot be read.
    """
    store = store_key(config.data, fingerprint)
    trained = training_key(config, store)
    return Keys(store, trained, test_key(config, trained), embeddings_key(config, trained))


def store_key(data: DataConfig, fingerprint: str) -> str:
    """Key of the patch store.

    Args:
        data: the data section; its split and budget divide the store later and are left out.
        fingerprint: `landsift.data.sources.base.content_fingerprint(data)`, which stands for how patches were generated
            or from where an archive came.
    """
    root = str(data.eurosat.root) if data.source == "eurosat" else ""
    return _key(DECODE, RunConfig(data=store_settings(data)), code_version(DECODE), content=fingerprint, root=root)


def store_settings(data: DataConfig) -> DataConfig:
    """The settings that shape a store: no split and no budget, a file's or folder's path absolute."""
    path = data.source if data.source in BUILT_IN_SOURCES else os.path.abspath(Path(data.source).expanduser())
    return given(DECODE, RunConfig(data=data)).data.model_copy(update={"source": path})


def training_key(config: RunConfig, store: str) -> str:
    """Key of the trained model.

    A strategy counts by its phases, not by its name, and `model.weights` only where the strategy uses them.

    Args:
        config: the complete configuration.
        store: the store's key, which stands for the data, and for the code and the libraries that read them.

    Raises:
        ConfigError: the strategy cannot be resolved.
        ModelError: as `network_fingerprint`.
    """
    network = _network(settled(config).model)
    return _key(TRAIN, config, code_version(TRAIN), store=store, network=network)


def pretraining_key(config: RunConfig, store: str, probe: str) -> str:
    """Key of the pretrained backbone.

    Args:
        config: with complete settings of the pretraining.
        store: the store's key.
        probe: key of the store that features are checked on; "" without one.

    Raises:
        ModelError: as `network_fingerprint`.
    """
    network = _network(config.model)
    return _key(PRETRAIN, config, code_version(PRETRAIN), store=store, network=network, probe=probe)


def test_key(config: RunConfig, training: str) -> str:
    """Key of the test; `training` is the training's key."""
    return _key(TEST, config, code_version(TEST), training=training)


def embeddings_key(config: RunConfig, training: str) -> str:
    """Key of the t-SNE frames; `training` is the training's key."""
    return _key(EMBED, config, code_version(EMBED), training=training)


def cell_keys(configs: Sequence[RunConfig], store: str) -> list[str]:
    """Keys of a comparison's trainings, one per configuration; otherwise as `training_key` and `test_key` in one."""
    models = [settled(config).model for config in configs]
    networks = {model.model_dump_json(): _network(model) for model in models}
    code = code_version(CELL)
    return [
        _key(CELL, config, code, store=store, network=networks[model.model_dump_json()])
        for config, model in zip(configs, models, strict=True)
    ]


def _network(model: ModelConfig) -> dict[str, Any]:
    """What a key says of a network: its weights, its code, and the variables that libraries read as they are loaded."""
    return network_fingerprint(model) | {"variables": read_once()}


def _key(stage: Stage, config: RunConfig, code: str, **read: Any) -> str:
    parts = {"stage": stage.name, "layout": LAYOUT, "settings": counted(stage, config), "code": code}
    parts |= {"libraries": {name: version_of(name) for name in stage.libraries}} | read
    key = digest(parts)
    _made[key] = parts
    return key


def version_of(package: str) -> str | None:
    """The installed version of a package; None for one without metadata, as some distributions install them."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def parts_of(key: str) -> dict[str, Any] | None:
    """What a key of this process was made from, with the same of the keys in it under `above`; None for others'."""
    parts = _made.get(key)
    if parts is None:
        return None
    above = [parts_of(value) for value in parts.values() if isinstance(value, str) and value in _made]
    return parts | {"above": above}
