"""Phases: stretches of a training in which the same parameters train, and the arithmetic of their epochs and rates."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict

if TYPE_CHECKING:
    from landsift.config import TrainingConfig

LARGEST_WARMUP = 0.1
"""Warm-up takes at most this share of a phase: the tutorial's 500 steps outlasted its whole first phase."""
REFERENCE_BATCH = 64
"""Patches per step that the learning rates of strategies are meant for."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training in which the same parameters train under one schedule.

    Attributes:
        name: what the report calls it.
        epochs: how many.
        blocks: how many of the backbone's last blocks train: 0 (frozen), a number, or "all".
        lr_head: peak learning rate of the head.
        lr_backbone: peak learning rate of the backbone's last block.
        layer_decay: the learning rate falls by this factor with each block from the last towards the stem.
        warmup_steps: linear warm-up in optimizer steps; never more than a tenth of the phase.
        schedule: "cosine" down to `lr_min` within the phase; "run", the phase's stretch of one cosine that spans all
            phases of the run; or "constant".
        lr_min: where the cosine ends.
        image_size: height and width of the input in pixels; None: `training.image_size`.
        from_scratch: the backbone starts from random weights, whatever `model.weights` says; for the first phase.
        batch_norm: which statistics the backbone's batch norms use. "train": those of each batch in the blocks that
            train, and their running statistics follow; frozen blocks keep theirs. "eval": the running statistics,
            which stand still everywhere. "recalibrate": as "eval", once the running statistics of all blocks were
            estimated anew from training patches, at the phase's start.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str
    epochs: int
    lr_head: float
    blocks: int | Literal["all"] = 0
    lr_backbone: float = 0.0
    layer_decay: float = 1.0
    warmup_steps: int = 0
    schedule: Literal["cosine", "run", "constant"] = "cosine"
    lr_min: float = 0.0
    image_size: int | None = None
    from_scratch: bool = False
    batch_norm: Literal["train", "eval", "recalibrate"] = "train"

    def __post_init__(self) -> None:
        checks = {
            "epochs": self.epochs >= 1,
            "lr_head": self.lr_head > 0,
            "lr_backbone": self.lr_backbone >= 0 and (self.lr_backbone > 0) == self.trains_backbone,
            "blocks": self.blocks == "all" or self.blocks >= 0,
            "layer_decay": 0 < self.layer_decay <= 1,
            "warmup_steps": self.warmup_steps >= 0,
            "lr_min": self.lr_min >= 0,
            "image_size": self.image_size is None or self.image_size >= 16,
        }
        wrong = [name for name, fine in checks.items() if not fine]
        if wrong == ["lr_backbone"]:
            raise ValueError(f"phase '{self.name}': lr_backbone must be above 0 exactly where blocks train")
        if wrong:
            raise ValueError(f"phase '{self.name}': {wrong[0]} is out of range ({getattr(self, wrong[0])!r})")

    @property
    def trains_backbone(self) -> bool:
        """Whether any block of the backbone trains."""
        return self.blocks == "all" or self.blocks > 0

    def factor(self, step: int, steps: int, peak: float, *, before: int = 0, total: int | None = None) -> float:
        """Share of the peak learning rate at an optimizer step.

        Args:
            step: 0-based step within the phase.
            steps: how many steps the phase has.
            peak: the group's peak learning rate, which `lr_min` is held against.
            before: how many steps the phases before this one have.
            total: how many steps the whole run has; None: the phase is its last.
        """
        warmup = min(self.warmup_steps, int(steps * LARGEST_WARMUP))
        ramp = min(1.0, (step + 1) / (warmup + 1))
        if self.schedule == "constant" or peak <= self.lr_min:
            return ramp
        done, length = max(0, step - warmup), steps - warmup
        if self.schedule == "run":
            done, length = before + step, before + steps if total is None else total
        progress = min(1.0, done / max(1, length))
        lowest = self.lr_min / peak
        return ramp * (lowest + (1.0 - lowest) * 0.5 * (1.0 + math.cos(math.pi * progress)))


Strategy = tuple[Phase, ...]
"""A strategy: its phases, in their order."""


def phase_of(strategy: Strategy, epoch: int) -> int:
    """Index of the phase that a 0-based epoch belongs to; epochs past the end belong to the last."""
    first = 0
    for i, phase in enumerate(strategy):
        first += phase.epochs
        if epoch < first:
            return i
    return len(strategy) - 1


def first_epoch(strategy: Strategy, index: int) -> int:
    """The 0-based epoch that a phase starts with."""
    return sum(phase.epochs for phase in strategy[:index])


def total_epochs(strategy: Strategy) -> int:
    """Epochs of all phases together."""
    return sum(phase.epochs for phase in strategy)


def lr_factor(settings: TrainingConfig) -> float:
    """What all learning rates are multiplied with: 1, n/64 (Goyal et al. 2017) or sqrt(n/64) (Malladi et al. 2022).

    n is the number of patches per step over all processes.
    """
    ratio = settings.batch_size * settings.devices * settings.num_nodes / REFERENCE_BATCH
    return {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[settings.lr_scaling]


def scale_rates(strategy: Strategy, factor: float) -> Strategy:
    """The phases with all their learning rates multiplied."""
    if factor == 1.0:
        return strategy
    return tuple(
        replace(p, lr_head=p.lr_head * factor, lr_backbone=p.lr_backbone * factor, lr_min=p.lr_min * factor)
        for p in strategy
    )
