"""What `landsift tune` searches: the settings, their ranges, and known good configurations, which are tried first.

A trial is a value per dimension. What a user sets is fixed and not searched, unless `--search` names it. A value equal
to the configuration's own changes nothing, so that the first trial is that configuration itself, to the last key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from landsift.config import RunConfig
from landsift.config_overrides import spelled
from landsift.errors import ConfigError, nearest
from landsift.training.phases import Phase, Strategy, total_epochs
from landsift.training.strategies import STRATEGIES, check_blocks, resolve_strategy

Value = str | int | float
Values = dict[str, Value]


@dataclass(frozen=True)
class Dimension:
    """A setting that is searched.

    Attributes:
        name: of the dimension, in `--search`, trials.csv and on the page.
        keys: of the configuration that it decides; where the user sets one, the dimension is fixed.
        what: it is, for people.
        default: what the configuration has.
        choices: the values; empty: a range.
        low, high: of the range; whole numbers where `default` is one.
        log: whether the range is logarithmic.
    """

    name: str
    keys: tuple[str, ...]
    what: str
    default: Value
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False


EVERYTHING = "everything"
"""The whole network at one learning rate in one phase, as configs/fast.yaml trains."""
ROWS: dict[str, Strategy] = {
    **{name: STRATEGIES[name] for name in ("two_phase", "layer_decay", "linear_probe", "last_block")},
    EVERYTHING: (Phase(EVERYTHING, epochs=15, lr_head=2e-3, blocks="all", lr_backbone=2e-3, warmup_steps=500),),
}
"""Strategies that are searched beside the configuration's own."""
FACTOR = 10.0
"""Learning rates are searched from a strategy's own divided by this to its own times this."""
MIXING = {"none": (0.0, 0.0), "mixup": (0.2, 0.0), "cutmix": (0.0, 0.5), "both": (0.2, 0.5)}
"""mixup and CutMix; the strengths of configs/best.yaml."""
HEADS: dict[str, dict[str, Any]] = {
    "hidden": {"hidden": 256, "dropout": 0.3},
    "linear": {"hidden": None, "dropout": 0.0},
}
OFF = "off"
PATCHES_SEEN = 30_000
"""Of training, at least: so many patches in all epochs together set the longest training, of 15 to 60 epochs."""
PHASES_KEYS = ("lr_head", "lr_backbone", "layer_decay", "epochs")
"""Dimensions that change the phases of the strategy."""

FAST: Values = {
    "strategy": EVERYTHING, "color_jitter": 0.0, "weight_decay": 0.01, "head": "linear", "ema": 0.98, "image_size": 0,
}  # fmt: skip
DECAY: Values = {"strategy": "layer_decay", "color_jitter": 0.0, "image_size": 0}
STARTS: tuple[Values, ...] = (
    {},  # the configuration as it is
    DECAY,
    {**DECAY, "epochs": 30, "mixing": "both"},
    {**FAST, "epochs": 30},  # configs/fast.yaml
    {**FAST, "epochs": 30, "mixing": "both"},  # configs/best.yaml
    {"strategy": "linear_probe", "color_jitter": 0.0, "image_size": 0},
)
"""Known good configurations, tried first (docs/results.md, docs/results-defaults.md).

`image_size` 0: the patches' own. What is fixed stays.
"""


@dataclass(frozen=True)
class Space:
    """What is searched around a configuration.

    Attributes:
        base: the configuration.
        dimensions: those that are searched, by name.
        fixed: those that are not, by name, and why.
        rows: the strategies, by name; the configuration's own first.
        starts: values that are tried first; the first are the configuration's own.
    """

    base: RunConfig
    dimensions: dict[str, Dimension]
    fixed: dict[str, str]
    rows: dict[str, Strategy]
    starts: tuple[Values, ...]

    def applies(self, name: str, strategy: str) -> bool:
        """Whether a dimension changes anything with a strategy: without a backbone that trains it has no rate."""
        last = self.rows[strategy][-1]
        return {"lr_backbone": last.trains_backbone, "layer_decay": last.blocks == "all"}.get(name, True)

    def default(self, name: str, strategy: str) -> Value:
        """The value with which a dimension leaves a strategy, or the configuration, as it is."""
        if name == "epochs":
            return total_epochs(self.rows[strategy])
        return self.rows[strategy][-1].layer_decay if name == "layer_decay" else self.dimensions[name].default

    def completed(self, some: Mapping[str, Value]) -> Values:
        """Values of all dimensions that apply, from some of them; what is not searched is left out."""
        own = next(iter(self.rows))
        strategy = str(some.get("strategy", own)) if "strategy" in self.dimensions else own
        found: Values = {}
        for name, dimension in self.dimensions.items():
            if name == "strategy":
                found[name] = strategy
            elif self.applies(name, strategy):
                found[name] = _within(dimension, some.get(name, self.default(name, strategy)))
        return found

    def config(self, values: Mapping[str, Value]) -> RunConfig:
        """The configuration of a trial; equal values give an equal configuration."""
        own = next(iter(self.rows))
        name = str(values.get("strategy", own))
        phases = self._phases(name, values)
        changes = [f"{key}={value}" for key, value in self._settings(values).items()]
        if name != own or phases != self.rows[own]:
            changes.append(f"strategy={_spelled_out(phases)}")
        return self.base.replace(*changes) if changes else self.base

    def _phases(self, name: str, values: Mapping[str, Value]) -> Strategy:
        row = self.rows[name]
        epochs = int(values.get("epochs", total_epochs(row)))
        share = epochs / total_epochs(row)
        lengths = [max(1, round(phase.epochs * share)) for phase in row]
        lengths[-1] = max(1, epochs - sum(lengths[:-1]))
        while sum(lengths) > max(epochs, len(row)):  # many short phases, each rounded up
            lengths[lengths.index(max(lengths))] -= 1
        head, backbone = float(values.get("lr_head", 1.0)), float(values.get("lr_backbone", 1.0))
        phases = [
            replace(
                phase,
                epochs=length,
                lr_head=_rate(phase.lr_head, head),
                lr_backbone=_rate(phase.lr_backbone, backbone),
                lr_min=_rate(phase.lr_min, min(head, backbone, 1.0)),
            )
            for phase, length in zip(row, lengths, strict=True)
        ]
        decay = float(values.get("layer_decay", row[-1].layer_decay))
        phases[-1] = replace(phases[-1], layer_decay=decay)
        return tuple(phases)

    def _settings(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """The keys that differ from the configuration's, with values as YAML."""
        found: dict[str, Any] = {}
        for name, value in values.items():
            if name in ("strategy", *PHASES_KEYS) or value == self.dimensions[name].default:
                continue
            if name == "mixing":
                found["training.augment.mixup"], found["training.augment.cutmix"] = MIXING[str(value)]
            elif name == "color_jitter":
                s = float(value)
                found["training.augment.color_jitter"] = [s, s, s, s / 2]
            elif name == "head":
                found |= {f"model.head.{key}": spelled(each) for key, each in HEADS[str(value)].items()}
            else:
                found[self.dimensions[name].keys[0]] = spelled(None if value == OFF else value)
        return found


def space_of(base: RunConfig, side: int, train: int, asked: Sequence[str] = (), fixed_input: bool = False) -> Space:
    """The space around a configuration.

    Args:
        base: the configuration; what it sets is fixed, what it leaves at its default is searched.
        side: height and width that patches are stored at, in pixels.
        train: how many patches are trained on.
        asked: names of the dimensions to search, also where their keys are set; none: all that are not set.
        fixed_input: whether the network takes images of one size.

    Raises:
        ConfigError: a name is unknown, or nothing is left to search.
    """
    rows, left_out = _rows(base)
    known = {d.name: d for d in _dimensions(base, rows, side, train)}
    for name in asked:
        if name not in known:
            hint = nearest(name, known) or f"known: {', '.join(known)}"
            raise ConfigError(f"--search: there is nothing called '{name}'", hint)
    set_by_user = set_keys(base)
    own_phases = "strategy" in set_by_user and base.strategy not in list(STRATEGIES)
    searched, fixed = {}, {}
    for name, dimension in known.items():
        keys = (*dimension.keys, *(("strategy",) if own_phases and name in PHASES_KEYS else ()))
        said = next((key for key in set_by_user if any(key == k or key.startswith(f"{k}.") for k in keys)), None)
        if asked and name not in asked:
            fixed[name] = f"{_shown(base, dimension)}: not in --search"
        elif said and not asked:
            fixed[name] = f"{_shown(base, dimension)}: {said} is set"
        elif name == "image_size" and fixed_input:
            fixed[name] = f"{dimension.default}: the network takes images of one size"
        elif len(dimension.choices) == 1:
            fixed[name] = f"{dimension.default}: no other fits {base.model.backbone}"
        else:
            searched[name] = dimension
    if "strategy" in searched:
        fixed |= {f"strategy {name}": f"left out: {why}" for name, why in left_out.items()}
    else:
        rows = dict(list(rows.items())[:1])
    space = Space(base, searched, fixed, rows, ())
    for name in ("lr_backbone", "layer_decay"):
        if name in searched and not any(space.applies(name, row) for row in rows):
            fixed[name] = "no strategy that is searched trains the backbone's blocks"
            del searched[name]
    if not searched:
        if asked:
            reasons = "; ".join(f"{name} {fixed[name]}" for name in asked if name in fixed)
            raise ConfigError(f"nothing is left to search: {reasons}", "name others by --search, or leave it out")
        hint = f"leave some out, or name what to search all the same: --search {','.join(known)}"
        raise ConfigError("nothing is left to search: all that tune searches is set", hint)
    starts: list[Values] = []
    for start in STARTS:
        if "strategy" in searched and start.get("strategy", next(iter(rows))) not in rows:
            continue
        values = space.completed({k: side if k == "image_size" else v for k, v in start.items()})
        if values not in starts:
            starts.append(values)
    return replace(space, starts=tuple(starts))


def set_keys(config: RunConfig) -> tuple[str, ...]:
    """The keys that a configuration sets and does not leave at their defaults, as `training.image_size`."""

    def leaves(values: Mapping[str, Any], above: str) -> Iterable[str]:
        for key, value in values.items():
            if isinstance(value, Mapping) and value and above + key != "strategies":
                yield from leaves(value, f"{above}{key}.")
            else:
                yield above + key

    return tuple(leaves(config.model_dump(mode="json", exclude_unset=True), ""))


def _rows(base: RunConfig) -> tuple[dict[str, Strategy], dict[str, str]]:
    """The strategies that fit the network, the configuration's own first; and why others are left out, by name."""
    own = base.strategy if isinstance(base.strategy, str) else "as configured"
    rows = {own: resolve_strategy(base.strategy, base.strategies)}
    left_out: dict[str, str] = {}
    for name, row in ROWS.items():
        if name in rows or row in rows.values():
            continue
        if base.model.weights == "none" and row[0].blocks != "all":
            left_out[name] = "random weights need a training of all blocks"
            continue
        try:
            check_blocks(base, row)
        except ConfigError as error:
            left_out[name] = error.message
            continue
        rows[name] = row
    return rows, left_out


def _dimensions(base: RunConfig, rows: Mapping[str, Strategy], side: int, train: int) -> Iterable[Dimension]:
    training, augment, own = base.training, base.training.augment, next(iter(rows))
    epochs = total_epochs(rows[own])
    longest = int(min(max(PATCHES_SEEN / train, 15), 60))
    yield Dimension("strategy", ("strategy",), "training strategy", own, choices=tuple(rows))
    rate: dict[str, Any] = {"low": 1 / FACTOR, "high": FACTOR, "log": True}
    yield Dimension("lr_head", (), "learning rate of the head, times the strategy's", 1.0, **rate)
    yield Dimension("lr_backbone", (), "learning rate of the backbone, times the strategy's", 1.0, **rate)
    decay = rows[own][-1].layer_decay
    layers: dict[str, Any] = {"low": min(0.5, decay), "high": 1.0} if _divisible(base) else {"choices": (decay,)}
    yield Dimension("layer_decay", (), "layer-wise learning-rate decay", decay, **layers)
    yield Dimension(
        "epochs",
        (),
        "epochs of all phases",
        epochs,
        low=max(min(5, epochs), len(rows[own])),
        high=max(longest, epochs),
        log=True,
    )
    sizes = {
        training.image_size,
        *(s for s in (side, 3 * side // 2, 2 * side) if 32 <= s <= max(training.image_size, side)),
    }
    yield Dimension(
        "image_size", ("training.image_size",), "input size in pixels", training.image_size,
        choices=tuple(sorted(sizes)),
    )  # fmt: skip
    head = next((name for name, values in HEADS.items() if values == base.model.head.model_dump()), "as configured")
    yield Dimension(
        "head", ("model.head",), "the classifier on the features", head, choices=tuple(dict.fromkeys((head, *HEADS)))
    )
    ema: Value = OFF if training.ema is None else training.ema
    yield Dimension(
        "ema", ("training.ema",), "decay of the average of the weights", ema, choices=_with(ema, OFF, 0.9, 0.98, 0.998)
    )
    weight_decay = training.weight_decay
    decays: dict[str, Any] = {"low": min(1e-4, weight_decay), "high": max(0.1, weight_decay), "log": True}
    if weight_decay == 0:
        decays = {"choices": (0.0, 1e-3, 1e-2, 0.1)}
    yield Dimension("weight_decay", ("training.weight_decay",), "weight decay", weight_decay, **decays)
    crop: Value = OFF if augment.crop is None else augment.crop
    yield Dimension(
        "crop", ("training.augment.crop",), "smallest share of a random crop", crop, choices=_with(crop, OFF, 0.7, 0.4)
    )
    s = augment.color_jitter[0]
    jitter: Value = s if augment.color_jitter == (s, s, s, s / 2) else "as configured"
    yield Dimension(
        "color_jitter", ("training.augment.color_jitter",), "strength of colour jitter", jitter,
        choices=_with(jitter, 0.0, 0.1, 0.2, 0.4),
    )  # fmt: skip
    given = (augment.mixup, augment.cutmix)
    mixing = next((name for name, pair in MIXING.items() if pair == given), "as configured")
    yield Dimension(
        "mixing", ("training.augment.mixup", "training.augment.cutmix"), "mixup and CutMix", mixing,
        choices=tuple(dict.fromkeys((mixing, *MIXING))),
    )  # fmt: skip


def _divisible(base: RunConfig) -> bool:
    """Whether the backbone's blocks are known."""
    try:
        check_blocks(base, STRATEGIES["layer_decay"])
    except ConfigError:
        return False
    return True


def _with(default: Value, *choices: Value) -> tuple[Value, ...]:
    return choices if default in choices else (default, *choices)


def _within(dimension: Dimension, value: Value) -> Value:
    """The value, or the nearest one that the dimension has."""
    if not dimension.choices:
        assert not isinstance(value, str)
        found = min(max(value, dimension.low), dimension.high)
        return round(found) if isinstance(dimension.default, int) else float(found)
    if value in dimension.choices:
        return value
    numbers = [c for c in dimension.choices if not isinstance(c, str)]
    if isinstance(value, str) or not numbers:
        return dimension.default
    return min(numbers, key=lambda c: abs(c - value))


def _rate(rate: float, factor: float) -> float:
    """The rate of a phase, of four figures so that equal trials are equal."""
    return rate if factor == 1.0 or rate == 0 else float(f"{rate * factor:.4g}")


def _spelled_out(phases: Strategy) -> str:
    defaults = asdict(Phase("", 1, 1.0))
    return spelled(
        [{k: v for k, v in asdict(p).items() if k in ("name", "epochs", "lr_head") or v != defaults[k]} for p in phases]
    )


def _shown(base: RunConfig, dimension: Dimension) -> str:
    return "the strategy's" if dimension.name in PHASES_KEYS and dimension.name != "epochs" else str(dimension.default)
