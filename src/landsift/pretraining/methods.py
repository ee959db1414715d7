"""The table of methods, and which of them a configuration trains.

A method is a row: an objective, a head, whether there is a teacher, and the settings that it takes where the
configuration leaves them out. A new method is a new row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from landsift.config import RunConfig
from landsift.config_pretraining import PretrainingConfig, ProjectionConfig
from landsift.pretraining import objectives
from landsift.training.phases import Phase, Strategy

if TYPE_CHECKING:
    from torch import nn

    from landsift.pretraining.objectives import Objective

DEFAULT = "simclr"
"""The method of `landsift pretrain` where none is named."""
FROM_WEIGHTS = 0.2
"""Share of a row's learning rate for a backbone that starts from weights: at the whole rate it forgets more than it
learns (docs/results-pretraining.md)."""
SMALLEST = 16
"""Height and width of a view in pixels, at least."""


@dataclass(frozen=True)
class Method:
    """A way to learn without labels.

    Attributes:
        lr: peak learning rate of AdamW, from random weights.
        weight_decay: at the beginning and at the end.
        local_views: beside the two global ones.
        global_area: smallest and largest share of the patch that a global view shows.
        has_teacher: whether an average of the student is its teacher, and is what is kept.
        hidden: width of the head's hidden layers.
        bottleneck: width before its last layer, if it has one.
        output: width of its outputs.
        head: makes it of the backbone's number of features and the settings.
        objective: makes the loss of the settings.
    """

    lr: float
    weight_decay: tuple[float, float]
    local_views: int
    global_area: tuple[float, float]
    has_teacher: bool
    hidden: int
    bottleneck: int | None
    output: int
    head: Callable[[int, ProjectionConfig], nn.Module]
    objective: Callable[[PretrainingConfig], Objective]


METHODS: dict[str, Method] = {
    "dino": Method(
        lr=1e-3,
        weight_decay=(0.04, 0.4),
        local_views=4,
        global_area=(0.4, 1.0),
        has_teacher=True,
        hidden=512,
        bottleneck=128,
        output=2048,
        head=objectives.dino_head,
        objective=objectives.dino,
    ),
    "lejepa": Method(
        lr=1e-3,
        weight_decay=(0.05, 0.05),
        local_views=2,
        global_area=(0.4, 1.0),
        has_teacher=False,
        hidden=512,
        bottleneck=None,
        output=64,
        head=objectives.lejepa_head,
        objective=objectives.lejepa,
    ),
    "simclr": Method(
        lr=1e-3,
        weight_decay=(0.01, 0.01),
        local_views=0,
        global_area=(0.15, 1.0),
        has_teacher=False,
        hidden=512,
        bottleneck=None,
        output=128,
        head=objectives.simclr_head,
        objective=objectives.simclr,
    ),
}


def complete(config: PretrainingConfig, *, from_weights: bool = False) -> PretrainingConfig:
    """The settings with the method's own where they are left out.

    Args:
        config: as given.
        from_weights: whether the backbone starts from weights, not from random numbers.
    """
    name = config.method or DEFAULT
    row = METHODS[name]
    head, views = config.head, config.views
    own = {"hidden": row.hidden, "bottleneck": row.bottleneck, "output": row.output}
    head = head.model_copy(update={key: value for key, value in own.items() if getattr(head, key) is None})
    shown = {"local": row.local_views, "global_area": row.global_area}
    views = views.model_copy(update={key: value for key, value in shown.items() if getattr(views, key) is None})
    return config.model_copy(
        update={
            "method": name,
            "lr": config.lr or row.lr * (FROM_WEIGHTS if from_weights else 1.0),
            "weight_decay": config.weight_decay or row.weight_decay,
            "head": head,
            "views": views,
        }
    )


def phases_of(config: PretrainingConfig) -> Strategy:
    """The phases of complete settings: one for each image size, under one cosine with a warm-up at the beginning.

    A later phase begins with a fresh optimizer, which a short warm-up is for.
    """
    assert config.lr is not None
    sizes = [size for size, _ in config.progressive]
    ends = [0.0]
    for _, share in config.progressive:
        ends.append(ends[-1] + share)
    starts = [0]
    for i, end in enumerate(ends[1:], start=1):  # each phase has an epoch at least
        starts.append(min(max(starts[-1] + 1, round(end * config.epochs)), config.epochs - len(ends) + i))
    epochs = [end - start for start, end in zip(starts, [*starts[1:], config.epochs], strict=True)]
    return tuple(
        Phase(
            f"{config.method} {size} px",
            epochs=count,
            lr_head=config.lr,
            blocks="all",
            lr_backbone=config.lr,
            schedule="run",
            lr_min=min(config.lr_min, config.lr),
            warmup_steps=10**6 if i == 0 else 50,
            image_size=size,
        )
        for i, (size, count) in enumerate(zip([*sizes, config.image_size], epochs, strict=True))
    )


def local_size(config: PretrainingConfig, size: int, multiple: int = 1) -> int:
    """Height and width of local views in a phase of global ones of `size` pixels; a multiple of a ViT's patches."""
    wanted = size * config.views.local_size / config.image_size
    return max(-(-SMALLEST // multiple) * multiple, round(wanted / multiple) * multiple)


def as_training(config: RunConfig) -> RunConfig:
    """The configuration as the loop takes it: what `training` says of the classifier comes from `pretraining`.

    Args:
        config: with complete settings of the pretraining.
    """
    own = config.pretraining
    assert own.weight_decay is not None
    training = config.training.model_copy(
        update={
            "image_size": own.image_size,
            "batch_size": own.batch_size,
            "weight_decay": own.weight_decay[0],
            "gradient_clip": own.gradient_clip,
            "sampler": "shuffle",
            "class_weights": "none",
            "ema": None,
            "early_stopping": None,
            "lr_scaling": "none",
        }
    )
    return config.model_copy(update={"training": training})
