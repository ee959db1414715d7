"""What a training says of itself when it has ended: its manifest."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.config import Normalization, RunConfig
from landsift.training.phases import Strategy, first_epoch, phase_of
from landsift.training.provenance import hardware, versions
from landsift.training.torch_state import stated
from landsift.version import __version__

if TYPE_CHECKING:
    from landsift.data.splits import Split
    from landsift.data.store.patch_store import PatchStore
    from landsift.training.module import PatchModule


def data_of(config: RunConfig, store: PatchStore) -> dict[str, Any]:
    """What the manifest of any training says of its patches."""
    return {
        "source": config.data.source,
        "fingerprint": store.fingerprint,
        "patches": len(store),
        "unlabelled": len(store.unlabelled),
        "patch_shape": list(store.images.shape[1:]),
        "bands": store.bands.to_dict(),
        "reading": store.info.get("reading", {}),
        "skipped": list(store.skipped),
        "store": str(store.folder),
    }


def manifest_of(
    config: RunConfig,
    store: PatchStore,
    split: Split,
    module: PatchModule,
    strategy: Strategy,
    trainable: list[int],
    normalization: Normalization,
    best: dict[str, Any],
    facts: dict[str, Any],
) -> dict[str, Any]:
    """What manifest.json says of a training; later stages add to it.

    Args:
        config: the complete configuration.
        store: the patches.
        split: how they were divided.
        module: the trained module.
        strategy: its phases.
        trainable: how many parameters train, per phase.
        normalization: of the inputs.
        best: epoch, val_acc and checkpoint of the best epoch, and the figure it was chosen by.
        facts: precision, compiled_from_epoch; feature_seconds, by index of the phase; interruptions of this training,
            and the seconds that it took up to the last of them; notes on its phases, for people.
    """
    counts = np.bincount(store.labels[store.labels >= 0], minlength=len(store.classes))
    return {
        "landsift": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": None,
        "seed": config.seed,
        "data": data_of(config, store)
        | {
            "classes": {name: int(n) for name, n in zip(store.classes, counts, strict=True)},
            "split": {"train": len(split.train), "val": len(split.val), "test": len(split.test)},
            "budget": config.data.budget,
            "budget_seed": config.data.effective_budget_seed,
        },
        "model": {
            "backbone": config.model.backbone,
            "weights": config.model.weights,
            "parameters": sum(p.numel() for p in module.classifier.parameters()),
            "image_size": strategy[phase_of(strategy, best["epoch"])].image_size or config.training.image_size,
            "normalization": normalization.model_dump(mode="json"),
            "ema": config.training.ema,
        },
        "phases": [
            asdict(phase)
            | {"first_epoch": first_epoch(strategy, i), "trainable": trainable[i]}
            | {"feature_seconds": facts["feature_seconds"].get(i)}
            for i, phase in enumerate(strategy)
        ],
        "best": best,
        "notes": facts["notes"],
        "interruptions": facts["interruptions"],
        "seconds_before": facts["seconds_before"],
        "versions": versions(),
        "numerics": stated(),
        "hardware": hardware() | {name: facts[name] for name in ("precision", "compiled_from_epoch")},
        "stages": {},
    }
