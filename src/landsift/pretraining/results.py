"""What a pretraining leaves: a model without classes, and a manifest."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from landsift import runs
from landsift.config import Normalization, RunConfig
from landsift.data.patch_reader import PatchReader
from landsift.models import own_networks
from landsift.models.first_layer import for_bands
from landsift.models.model_json import DESCRIPTION_FILE, WEIGHTS_FILE, ModelDescription
from landsift.models.weights_file import write_state
from landsift.pretraining.features import features_of
from landsift.pretraining.network import ANY_SIZE
from landsift.pretraining.patches import watched
from landsift.runtime.whole import write_whole
from landsift.training.learned_from import LEARNED_FILE, content_hashes, header_of, learned_before, write_learned
from landsift.training.phases import first_epoch
from landsift.training.provenance import hardware, versions
from landsift.training.run_files import data_of
from landsift.training.torch_state import stated
from landsift.version import __version__

if TYPE_CHECKING:
    from torch import nn

    from landsift.data.store.patch_store import PatchStore
    from landsift.pretraining.module import PretrainingModule

SHOWN = 1000
"""Patches whose features are kept for the report, at most."""


def write_results(
    config: RunConfig,
    store: PatchStore,
    module: PretrainingModule,
    normalization: Normalization,
    folder: Path,
    rows: NDArray[np.int64],
    best: dict[str, Any],
    facts: dict[str, Any],
) -> None:
    """Write model/, features.npz and manifest.json.

    Args:
        config: the complete configuration.
        store: the patches.
        module: the trained module.
        normalization: of the inputs.
        folder: of the pretraining.
        rows: those that it learned from.
        best: the epoch that is kept, the last.
        facts: of the loop, and `learned_from`, `weights_file`.
    """
    before = learned_before(config.model.weights)
    hashes = content_hashes(store, rows)
    hashes = hashes if before is None else np.concatenate([hashes, before])
    _write_model(config, store, module.kept.backbone, normalization, folder / runs.MODEL, header_of(hashes))
    write_learned(folder / runs.MODEL / LEARNED_FILE, hashes)
    shown = np.sort(watched(rows, SHOWN, config.seed))
    module.kept.to(memory_format=torch.channels_last)
    features = features_of(
        module.kept.backbone, module.preprocess, PatchReader(store.images), shown, module.preprocess.image_size
    )
    write_whole(folder / runs.LEARNED_FEATURES, lambda partial: _save_features(partial, shown, features))
    manifest = {
        "landsift": __version__,
        "kind": runs.PRETRAINING,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": None,
        "seed": config.seed,
        "data": data_of(config, store) | {"learned_from": facts["learned_from"]},
        "model": {
            "backbone": config.model.backbone,
            "weights": config.model.weights,
            "weights_file": facts["weights_file"],
            "parameters": sum(p.numel() for p in module.kept.backbone.parameters()),
            "head_parameters": sum(p.numel() for p in module.kept.head.parameters()),
            "image_size": config.pretraining.image_size,
            "normalization": normalization.model_dump(mode="json"),
            "module": config.model.module,
            "code": own_networks.fingerprint(config.model.module),
        },
        "method": config.pretraining.method,
        "phases": [
            asdict(phase) | {"first_epoch": first_epoch(module.strategy, i)} for i, phase in enumerate(module.strategy)
        ],
        "best": best,
        "interruptions": facts["interruptions"],
        "seconds_before": facts["seconds_before"],
        "versions": versions() | _lightly(),
        "numerics": stated(),
        "hardware": hardware() | {"precision": facts["precision"]},
        "stages": {},
    }
    runs.write_json(folder / runs.MANIFEST, manifest)


def _save_features(file: Path, rows: NDArray[np.int64], features: NDArray[np.float32]) -> None:
    with file.open("wb") as opened:
        np.savez(opened, rows=rows, features=features)


def _lightly() -> dict[str, str]:
    from importlib.metadata import version

    return {"lightly": version("lightly")}


def _write_model(
    config: RunConfig,
    store: PatchStore,
    backbone: nn.Module,
    normalization: Normalization,
    folder: Path,
    says: dict[str, str],
) -> None:
    from torch import nn

    arguments = {name: value for name, value in config.model.backbone_args.items() if name != ANY_SIZE}
    model = config.model.model_copy(update={"backbone_args": arguments})
    description = ModelDescription(
        backbone=model.backbone,
        backbone_args=dict(for_bands(model, len(store.bands)).backbone_args),
        head={},
        classes=(),
        patch_size=(int(store.images.shape[1]), int(store.images.shape[2])),
        image_size=config.pretraining.image_size,
        mean=normalization.mean,
        std=normalization.std,
        bands=store.bands,
        reading=store.info.get("reading", {}),
        landsift=__version__,
        module=model.module,
        code=own_networks.fingerprint(model.module),
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_state(nn.ModuleDict({"backbone": backbone}), folder / WEIGHTS_FILE, says)
    runs.write_json(folder / DESCRIPTION_FILE, description.to_dict())
