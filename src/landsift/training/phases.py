"""Phases and the strategy table.

A strategy is a tuple of phases, and the table is data: a new strategy is a new row, here or in a configuration file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from landsift.errors import ConfigError, nearest

LARGEST_WARMUP = 0.1
"""Warm-up takes at most this share of a phase: the tutorial's 500 steps outlasted its whole first phase."""


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
        schedule: "cosine" down to `lr_min`, or "constant".
        lr_min: where the cosine ends.
        image_size: height and width of the input in pixels; None: `training.image_size`.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str
    epochs: int
    lr_head: float
    blocks: int | Literal["all"] = 0
    lr_backbone: float = 0.0
    layer_decay: float = 1.0
    warmup_steps: int = 0
    schedule: Literal["cosine", "constant"] = "cosine"
    lr_min: float = 0.0
    image_size: int | None = None

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

    def factor(self, step: int, steps: int, peak: float) -> float:
        """Share of the peak learning rate at an optimizer step.

        Args:
            step: 0-based step within the phase.
            steps: how many steps the phase has.
            peak: the group's peak learning rate, which `lr_min` is held against.
        """
        warmup = min(self.warmup_steps, int(steps * LARGEST_WARMUP))
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if self.schedule == "constant" or peak <= self.lr_min:
            return 1.0
        progress = min(1.0, (step - warmup) / max(1, steps - warmup))
        lowest = self.lr_min / peak
        return lowest + (1.0 - lowest) * 0.5 * (1.0 + math.cos(math.pi * progress))


Strategy = tuple[Phase, ...]

STRATEGIES: dict[str, Strategy] = {
    # The tutorial's recipe: the head finds its place on frozen features, then everything moves a little.
    "two_phase": (
        Phase("head", epochs=7, lr_head=2e-3, warmup_steps=500),
        Phase("fine-tune", epochs=10, lr_head=1e-4, blocks="all", lr_backbone=1e-5, lr_min=1e-6),
    ),
}


def resolve_strategy(strategy: str | Iterable[Mapping[str, Any]]) -> Strategy:
    """The phases of a named strategy, or of a list of phases from a configuration.

    Raises:
        ConfigError: the name is unknown, or a phase has an unknown key or a value out of range.
    """
    if isinstance(strategy, str):
        if strategy not in STRATEGIES:
            hint = nearest(strategy, STRATEGIES) or f"known: {', '.join(STRATEGIES)}, or a list of phases"
            raise ConfigError(f"unknown strategy '{strategy}'", hint)
        return STRATEGIES[strategy]
    return tuple(_phase(number, values) for number, values in enumerate(strategy, start=1))


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


def _phase(number: int, values: Mapping[str, Any]) -> Phase:
    try:
        return TypeAdapter(Phase).validate_python({"name": f"phase {number}"} | dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
            known = [field.name for field in fields(Phase)]
            hint = nearest(key, known) or f"known: {', '.join(known)}"
            raise ConfigError(f"strategy, phase {number}: unknown key '{key}'", hint) from None
        if first["type"] == "missing":
            raise ConfigError(
                f"strategy, phase {number}: '{key}' is missing", "a phase needs epochs and lr_head"
            ) from None
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"strategy, phase {number}{f', {key}' if key else ''}: {reason}") from None
