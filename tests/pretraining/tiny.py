"""A pretraining of a second: patches, settings, and what must be the same in two of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from landsift.config import RunConfig

SETTINGS = (
    "model.backbone=test_efficientnet",
    "model.weights=none",
    "pretraining.image_size=32",
    "pretraining.views.local_size=16",
    "pretraining.views.local=2",
    "pretraining.batch_size=16",
    "pretraining.epochs=2",
    "pretraining.head={hidden: 32, bottleneck: 16, output: 64}",
    "pretraining.watch.patches=32",
    "training.accelerator=cpu",
    "training.precision=32",
    "tracking.wandb=disabled",
)


def settings(*changes: str) -> RunConfig:
    """The settings of DINO, which has every part, with changes laid over them."""
    from landsift.config import RunConfig

    return RunConfig.load(None, (*SETTINGS, "pretraining.method=dino", *changes))


def patches(count: int = 96, size: int = 32) -> tuple[Any, Any, list[str]]:
    """Patches of three kinds of texture and colour, uint8 [N, S, S, 3], their labels, and a split."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    coarse = rng.integers(0, 120, (count, 4, 4, 3))
    fine = rng.integers(0, 60, (count, size, size, 3))
    images = np.kron(coarse, np.ones((1, size // 4, size // 4, 1))) * (labels % 2)[:, None, None, None]
    images = images + fine + 30 * labels[:, None, None, None]
    split = np.array(["train", "train", "val", "train", "train", "test"])[np.arange(count) // 3 % 6]
    return images.clip(0, 255).astype(np.uint8), labels, split.tolist()


def left(folder: Path) -> dict[str, Any]:
    """What a pretraining leaves that must be equal in two of the same."""
    rows = json.loads((folder / "metrics.json").read_text())
    return {
        "metrics": [{k: v for k, v in row.items() if "seconds" not in k} for row in rows],
        "weights": (folder / "model" / "model.safetensors").read_bytes(),
        "model": (folder / "model" / "model.json").read_text(),
    }
