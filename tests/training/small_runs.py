"""Settings under which a whole training takes a second; those of the tutorial; a test adds what it is about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landsift.config import RunConfig
    from landsift.data.store.patch_store import PatchStore
    from landsift.runs import Run

SMALL = (
    "data.synthetic.patches=120",
    "data.synthetic.size=16",
    "model.backbone=test_efficientnet",
    "model.weights=none",
    "model.head={hidden: 256, dropout: 0.3}",
    "training.image_size=32",
    "training.batch_size=16",
    "training.accelerator=cpu",
    "training.precision=32",
    "training.label_smoothing=0.1",
    "training.weight_decay=1.0e-4",
    "training.gradient_clip=null",
    "training.augment.color_jitter=[0.2, 0.2, 0.2, 0.1]",
    "tracking.tsne_per_class=5",
)

VARIANTS = {
    "plain": (
        "strategy=[{name: head, epochs: 2, lr_head: 5.0e-3, batch_norm: recalibrate}, "
        "{name: all, epochs: 2, lr_head: 2.0e-3, lr_backbone: 2.0e-3, blocks: all}]",
        "training.augment.color_jitter=[0, 0, 0, 0]",
        "training.ema=0.9",
        "tracking.tsne_every=2",
    ),
    "rich": (
        "strategy=[{name: last, epochs: 2, lr_head: 5.0e-3, blocks: 1, lr_backbone: 1.0e-3, schedule: run}, "
        "{name: all, epochs: 2, lr_head: 2.0e-3, lr_backbone: 2.0e-3, blocks: all, layer_decay: 0.7, schedule: run, "
        "batch_norm: recalibrate}]",
        "model.backbone_args={drop_path_rate: 0.2}",
        "training.augment={crop: 0.5, mixup: 0.2, cutmix: 1.0}",
        "training.gradient_clip=0.5",
        "training.sampler=balanced",
        "training.early_stopping={patience: 5}",
        "tracking.tsne_every=0",
    ),
}
"""Two ways to train, five steps in each of four epochs: `plain` keeps the features of a frozen backbone, recalibrated,
and averages weights, `rich` has all that draws random numbers or has a state of its own."""


def small(*changes: str) -> RunConfig:
    """The settings with changes laid over them, the later ones over the earlier."""
    from landsift.config import RunConfig  # here: processes are forked from one that knows nothing of landsift

    return RunConfig.load(None, (*SMALL, *changes))


def train(config: RunConfig, store: PatchStore, folder: Path, experiment: Any | None = None) -> Run:
    """Train, test and draw: a whole run directory but for its report."""
    from landsift.evaluation.complete_run import complete_run
    from landsift.training import start

    start.train(config, store, folder, experiment)
    return complete_run(config, store, folder)
