"""The strategy table, and which strategy a configuration trains.

A strategy is a tuple of phases, and the table is data: a new strategy is a new row, here or under `strategies` in a
configuration (docs/strategies.md).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import TypeAdapter, ValidationError

from landsift.errors import ConfigError, nearest
from landsift.training.phases import Phase, Strategy

if TYPE_CHECKING:
    from torch import nn

    from landsift.config import RunConfig

logger = logging.getLogger("landsift")

STRATEGIES: dict[str, Strategy] = {
    # The tutorial's recipe: the head finds its place on frozen features, then everything moves a little.
    "two_phase": (
        Phase("head", epochs=7, lr_head=2e-3, warmup_steps=500),
        Phase("fine-tune", epochs=10, lr_head=1e-4, blocks="all", lr_backbone=1e-5, lr_min=1e-6, batch_norm="eval"),
    ),
    # The case study's five, of 15 epochs each under one cosine. At 2e-5 weights hardly move: BN in eval mode.
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
    """All settings that a training's result depends on, a strategy by its phases and not by its name.

    Without where it is tracked, what it asks of a cluster, where its patches come from, and how it is guarded against
    interruptions: they change no weight. A file that names the rows of a split counts by its content.

    Raises:
        ConfigError: the strategy cannot be resolved.
        DataError: that file cannot be read.
    """
    from landsift.data.split_rows import known_by_content

    return {
        "split": known_by_content(config.data.split),
        "budget": config.data.budget,
        "budget_seed": config.data.effective_budget_seed,
        "model": config.model.model_dump(mode="json", exclude={"module"}),  # whose code counts, wherever it lies
        "strategy": [asdict(phase) for phase in strategy_of(config)],
        "training": config.training.model_dump(mode="json", exclude={"checkpoint_minutes", "max_skipped_steps"}),
        "seed": config.seed,
    }


def needs_blocks(phase: Phase) -> bool:
    """Whether the phase tells a backbone's blocks apart."""
    return phase.blocks not in {0, "all"} or (phase.trains_backbone and phase.layer_decay < 1)


def spelled_out(strategy: Strategy, changed: str = "", value: str = "") -> str:
    """A strategy as `--set` takes it, with what differs from a phase's defaults: "strategy=[{name: head, ...}]".

    Args:
        strategy: the phases.
        changed: a key of the last phase that is to have another value; "": none.
        value: as YAML.
    """
    defaults = {field.name: field.default for field in fields(Phase)}
    phases = [{k: v for k, v in asdict(phase).items() if v != defaults[k]} for phase in strategy]
    texts = [
        {k: yaml.safe_dump(v, default_flow_style=True).split("\n")[0] for k, v in phase.items()} for phase in phases
    ]
    if changed:
        texts[-1][changed] = value
    return f"strategy=[{', '.join('{' + ', '.join(f'{k}: {v}' for k, v in phase.items()) + '}' for phase in texts)}]"


def check_blocks(config: RunConfig, strategy: Strategy, network: nn.Module | None = None) -> None:
    """Refuse a strategy that tells blocks apart, for a backbone that cannot be divided.

    Args:
        config: names the backbone.
        strategy: the phases.
        network: the backbone that is to be trained, of which it is said where it has too few blocks. None: it is only
            checked, on one that is made without memory for its weights, if it can be.

    Raises:
        ConfigError: the backbone is one block.
    """
    if not any(map(needs_blocks, strategy)):
        return
    from landsift.models.blocks import backbone_blocks
    from landsift.models.timm_networks import unfilled

    looked_at = network or unfilled(config.model, config.training.image_size)
    if looked_at is None:
        return
    name, count = config.model.backbone, len(backbone_blocks(looked_at))
    for phase in strategy:
        if count == 1 and needs_blocks(phase):
            key = "layer_decay" if phase.blocks == "all" else "blocks"
            raise ConfigError(
                f"strategy, phase '{phase.name}': {key}: the blocks of {name} are not known",
                "choose a strategy that trains the head or everything, such as two_phase, or another backbone",
            )
        if network and isinstance(phase.blocks, int) and phase.blocks > count:
            logger.info(
                "phase '%s' asks for the last %d blocks of %s, which has %d: all train",
                phase.name, phase.blocks, name, count,
            )  # fmt: skip


def _phases(phases: Iterable[Mapping[str, Any]], key: str) -> Strategy:
    strategy = tuple(_phase(f"{key}, phase {i}", i, values) for i, values in enumerate(phases, start=1))
    late = next((i for i, phase in enumerate(strategy[1:], start=2) if phase.from_scratch), None)
    if late:
        message = f"{key}, phase {late}: from_scratch would discard what the earlier phases have trained"
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
