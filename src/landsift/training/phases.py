"""Phases and the strategy table.

A strategy is a tuple of phases, and the table is data: a new strategy is a new row, here or under `strategies` in a
configuration (docs/strategies.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from landsift.errors import ConfigError, nearest

if TYPE_CHECKING:
    from landsift.config import RunConfig

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

STRATEGIES: dict[str, Strategy] = {
    # The tutorial's recipe: the head finds its place on frozen features, then everything moves a little.
    "two_phase": (
        Phase("head", epochs=7, lr_head=2e-3, warmup_steps=500),
        Phase("fine-tune", epochs=10, lr_head=1e-4, blocks="all", lr_backbone=1e-5, lr_min=1e-6, batch_norm="eval"),
    ),
    # The case study's five, of 15 epochs each under one cosine. At 2e-5 weights hardly move: batch norms are at rest.
    "linear_probe": (Phase("head", epochs=15, lr_head=1e-3),),
    "last_block": (Phase("last block", epochs=15, lr_head=5e-4, blocks=1, lr_backbone=5e-4),),
    "full": (Phase("everything", epochs=15, lr_head=2e-5, blocks="all", lr_backbone=2e-5, batch_norm="eval"),),
    "differential": (Phase("everything", epochs=15, lr_head=1e-3, blocks="all", lr_backbone=2e-5, batch_norm="eval"),),
    # A network with fewer blocks trains all it has.
    "progressive": (
        Phase("head", epochs=3, lr_head=1e-3, schedule="run"),
        Phase("last block", epochs=3, lr_head=2e-5, blocks=1, lr_backbone=2e-5, schedule="run", batch_norm="eval"),
        Phase("last 2 blocks", epochs=3, lr_head=2e-5, blocks=2, lr_backbone=2e-5, schedule="run", batch_norm="eval"),
        Phase("last 3 blocks", epochs=3, lr_head=2e-5, blocks=3, lr_backbone=2e-5, schedule="run", batch_norm="eval"),
        Phase("last 4 blocks", epochs=3, lr_head=2e-5, blocks=4, lr_backbone=2e-5, schedule="run", batch_norm="eval"),
    ),
    # Rates that fall towards the stem, whose features are the most general (Howard and Ruder 2018).
    "layer_decay": (
        Phase(
            "everything",
            epochs=15,
            lr_head=1e-3,
            blocks="all",
            lr_backbone=7e-4,
            layer_decay=0.7,
            batch_norm="eval",
        ),
    ),
    # What pretrained weights are worth shows against a network that has none.
    "scratch": (
        Phase(
            "from scratch", epochs=15, lr_head=1e-3, blocks="all", lr_backbone=1e-3, warmup_steps=500, from_scratch=True
        ),
    ),
}


def resolve_strategy(
    strategy: str | Iterable[Mapping[str, Any]], own: Mapping[str, Iterable[Mapping[str, Any]]] | None = None
) -> Strategy:
    """The phases of a named strategy, or of a list of phases from a configuration.

    Args:
        strategy: a name of the table or of `own`, or the phases themselves.
        own: `strategies` of the configuration: phases by name. All of them are checked.

    Raises:
        ConfigError: the name is unknown or `own` redefines one of the table, or a phase has an unknown key or a value
            out of range.
    """
    known = dict(STRATEGIES)
    for name, phases in (own or {}).items():
        if name in STRATEGIES:
            raise ConfigError(
                f"strategies.{name}: '{name}' is one of landsift's own strategies", "give it another name"
            )
        known[name] = _phases(phases, f"strategies.{name}")
    if not isinstance(strategy, str):
        return _phases(strategy, "strategy")
    if strategy not in known:
        hint = nearest(strategy, known) or f"known: {', '.join(known)}, or a list of phases"
        raise ConfigError(f"unknown strategy '{strategy}'", hint)
    return known[strategy]


def strategy_of(config: RunConfig) -> Strategy:
    """The phases that this configuration trains.

    From random weights, batch norms have no statistics to stand still at: `batch_norm: eval` becomes `train` there.

    Raises:
        ConfigError: as `resolve_strategy`.
    """
    strategy = resolve_strategy(config.strategy, config.strategies)
    if config.model.weights != "none" and not strategy[0].from_scratch:
        return strategy
    return tuple(replace(phase, batch_norm="train") if phase.batch_norm == "eval" else phase for phase in strategy)


def settled(config: RunConfig) -> RunConfig:
    """The configuration with `model.weights: none` if its strategy starts from random weights, else as it is.

    Who reads `model.weights` reads it from here, so that weights which are not used are neither looked for nor named.

    Raises:
        ConfigError: as `resolve_strategy`.
    """
    scratch = strategy_of(config)[0].from_scratch
    return config.replace("model.weights=none") if scratch else config


def deciding_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that a training's result depends on, a strategy by its phases and not by its name.

    What is not named here is none of them: a new section of the configuration makes no other training. How a training
    is guarded against interruptions changes no weight.
    """
    return {
        "split": config.data.split.model_dump(mode="json"),
        "budget": config.data.budget,
        "budget_seed": config.data.effective_budget_seed,
        "model": config.model.model_dump(mode="json", exclude={"module"}),  # whose code counts, wherever it lies
        "strategy": [asdict(phase) for phase in strategy_of(config)],
        "training": config.training.model_dump(mode="json", exclude={"checkpoint_minutes", "max_skipped_steps"}),
        "seed": config.seed,
    }


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


def _phases(phases: Iterable[Mapping[str, Any]], key: str) -> Strategy:
    strategy = tuple(_phase(f"{key}, phase {i}", i, values) for i, values in enumerate(phases, start=1))
    late = next((i for i, phase in enumerate(strategy[1:], start=2) if phase.from_scratch), None)
    if late:
        message = f"{key}, phase {late}: from_scratch would throw away what the phases before have trained"
        raise ConfigError(message, "set it in the first phase, or leave it out")
    return strategy


def _phase(where: str, number: int, values: Mapping[str, Any]) -> Phase:
    try:
        return TypeAdapter(Phase).validate_python({"name": f"phase {number}"} | dict(values))
    except ValidationError as error:
        unknown = {"unexpected_keyword_argument", "extra_forbidden"}
        first = min(error.errors(), key=lambda e: e["type"] not in unknown)  # a misspelt key is missing as well
        key = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] in unknown:
            known = [field.name for field in fields(Phase)]
            hint = nearest(key, known) or f"known: {', '.join(known)}"
            raise ConfigError(f"{where}: unknown key '{key}'", hint) from None
        if first["type"] == "missing":
            raise ConfigError(f"{where}: '{key}' is missing", "a phase needs epochs and lr_head") from None
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where}{f', {key}' if key else ''}: {reason}") from None
