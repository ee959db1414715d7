"""The grid of a comparison: rows (a strategy, of a model variant) × label budgets × seeds."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel

from landsift.config import RunConfig, SplitConfig
from landsift.config_overrides import laid_over, read_mapping, value_of
from landsift.errors import ConfigError
from landsift.evaluation.finished_comparison import folder_of
from landsift.training.strategies import STRATEGIES, resolve_strategy

DEFAULTS: dict[str, Any] = {"tracking": {"wandb": "disabled", "tsne_every": 0}}
"""What a comparison sets where its configuration is silent: a hundred trials are not tracked. Nothing of it changes
what is trained, so that a strategy is the same in a comparison and in a run."""
SEEDS = (0, 1, 2)
LONGEST_NAME = 200
"""Bytes of a row's name as that of a folder; file systems take 255."""


@dataclass(frozen=True)
class Row:
    """One of those that are compared.

    Attributes:
        name: the strategy, and the variant's name where there are several.
        strategy: name of the strategy.
        variant: name of the model variant, or None.
        config: the base configuration with the variant's settings and this strategy.
    """

    name: str
    strategy: str
    variant: str | None
    config: RunConfig

    @property
    def folder(self) -> str:
        """The name as that of a folder."""
        return folder_of(self.name)


@dataclass(frozen=True)
class Cell:
    """One training.

    Attributes:
        row: what is trained.
        budget: how many labels; None: all of the training split.
        seed: of everything random but the split.
        config: its complete configuration.
        fold: which fold is its test, from 0; None: there are none.
    """

    row: Row
    budget: int | None
    seed: int
    config: RunConfig
    fold: int | None = None

    @property
    def label(self) -> str:
        """What people call it, such as "linear_probe, 500 labels, seed 0"."""
        budget = "all labels" if self.budget is None else f"{self.budget:,} labels"
        fold = "" if self.fold is None else f", fold {self.fold + 1}"
        return f"{self.row.name}, {budget}, seed {self.seed}{fold}"


@dataclass(frozen=True)
class Grid:
    """All that is to be trained.

    Attributes:
        base: the configuration that all rows share.
        rows: what is compared, in the order asked for.
        budgets: ascending; None (all labels) last.
        seeds: ascending.
        repeats: for each budget, how many of the seeds it is trained with.
        folds: of a cross-validation, or None: one split for all.
    """

    base: RunConfig
    rows: tuple[Row, ...]
    budgets: tuple[int | None, ...]
    seeds: tuple[int, ...]
    repeats: tuple[int, ...]
    folds: int | None = None

    @classmethod
    def of(
        cls,
        base: RunConfig,
        strategies: Sequence[str] = (),
        budgets: Sequence[int | None] | Mapping[int | None, int] = (),
        seeds: Sequence[int] = SEEDS,
        variants: Mapping[str, Mapping[str, Any]] | None = None,
        folds: int | None = None,
    ) -> Self:
        """Check what is asked for and lay out the grid.

        Args:
            base: the configuration that all rows share; its own strategy, budget and seed are not used.
            strategies: as the others in `compare.compare`.
            budgets: likewise.
            seeds: likewise.
            variants: likewise.
            folds: likewise.

        Raises:
            ConfigError: a name is unknown, something is named twice, or a variant changes what may not differ.
        """
        base = base.absolute()
        if base.pretraining.method is not None:
            raise ConfigError(
                "pretraining.method: a comparison does not pretrain",
                "pretrain first (landsift pretrain), and give each folder as a value of model.weights",
            )
        strategies = tuple(_listed("strategies", strategies, str, "a list of names"))
        listed = _listed("budgets", budgets, int | None, "a list such as [100, 500, None]")
        budgets = budgets if isinstance(budgets, Mapping) else listed
        if isinstance(budgets, Mapping):
            _listed("budgets", budgets.values(), int, "numbers of seeds by budget, such as {500: 3, None: 1}")
        seeds = _listed("seeds", seeds, int, "a list of whole numbers from 0, such as [0, 1, 2]")
        if not isinstance(variants or {}, Mapping) or not all(
            isinstance(s, Mapping) for s in (variants or {}).values()
        ):
            raise ConfigError("variants are settings by name", "such as {'resnet18': {'model.backbone': 'resnet18'}}")
        if folds is not None:
            if base.data.split.folds not in (None, folds):
                text = f"a cross-validation of {folds} folds and data.split.folds={base.data.split.folds}"
                raise ConfigError(text, "leave data.split.folds and data.split.fold out")
            base.replace(f"data.split.folds={folds}", "data.split.fold=0")  # raises what is wrong with it
        strategies = strategies or (*STRATEGIES, *base.strategies)
        for name in strategies:
            resolve_strategy(name, base.strategies)
        for what, given in (("strategy", strategies), ("budget", [*budgets]), ("seed", seeds)):
            twice = next((v for i, v in enumerate(given) if v in given[:i]), None)
            if twice is not None:
                raise ConfigError(f"{what} {twice} is given twice", "name each once")
        if not seeds or min(seeds) < 0:
            raise ConfigError("seeds are whole numbers from 0, at least one", "such as --seeds 0,1,2")
        wanted = dict(budgets) if isinstance(budgets, Mapping) else dict.fromkeys(budgets, len(seeds))
        wanted = wanted or {None: len(seeds)}
        ordered = tuple(sorted(wanted, key=lambda b: (b is None, b or 0)))
        repeats = tuple(wanted[budget] for budget in ordered)
        if too_few := [budget for budget in wanted if budget is not None and budget < 2]:
            raise ConfigError(f"a budget of {too_few[0]} labels", "2 or more, or None for all")
        if min(repeats) < 1 or max(repeats) > len(seeds):
            raise ConfigError(f"a budget is trained with 1 to {len(seeds)} seeds", "name more seeds, or ask for fewer")
        rows = []
        named: list[tuple[str | None, Mapping[str, Any]]] = [*(variants or {}).items()]
        for variant, settings in named or [(None, {})]:
            config = _varied(base, variant, settings).absolute()
            for strategy in strategies:
                name = strategy if variant is None else f"{strategy} · {variant}"
                rows.append(Row(name, strategy, variant, _with_strategy(config, strategy)))
        _check_folders(rows)
        return cls(base, tuple(rows), ordered, tuple(sorted(seeds)), repeats, folds)

    @property
    def cells(self) -> list[Cell]:
        """All trainings: seed by seed, small budgets first, so that a comparison that is stopped has whole tables."""
        return [
            Cell(row, budget, seed, _of_cell(row.config, budget, seed, split), split.fold)
            for i, seed in enumerate(self.seeds)
            for split in self.splits
            for budget, repeats in zip(self.budgets, self.repeats, strict=True)
            if i < repeats
            for row in self.rows
        ]

    @property
    def splits(self) -> list[SplitConfig]:
        """The split that all share, or one for each fold."""
        split = self.base.data.split
        if self.folds is None:
            return [split]
        return [split.model_copy(update={"folds": self.folds, "fold": fold}) for fold in range(self.folds)]

    def to_json(self) -> str:
        """Text that `from_json` reads."""
        rows = [
            {"name": r.name, "strategy": r.strategy, "variant": r.variant, "config": r.config.to_dict()}
            for r in self.rows
        ]
        lists = {"budgets": self.budgets, "seeds": self.seeds, "repeats": self.repeats}
        return json.dumps({"base": self.base.to_dict(), "rows": rows, "folds": self.folds} | lists, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The grid that `to_json` wrote."""
        values = json.loads(text)
        rows = tuple(
            Row(r["name"], r["strategy"], r["variant"], RunConfig.from_dict(r["config"])) for r in values["rows"]
        )
        budgets, seeds, repeats = (tuple(values[name]) for name in ("budgets", "seeds", "repeats"))
        return cls(RunConfig.from_dict(values["base"]), rows, budgets, seeds, repeats, values["folds"])


def with_defaults(config: RunConfig) -> RunConfig:
    """The configuration with `DEFAULTS` for what it does not set itself."""
    return RunConfig.from_dict(laid_over(DEFAULTS, config.model_dump(mode="json", exclude_unset=True)))


def load_base(path: Path | None, overrides: Iterable[str]) -> tuple[RunConfig, dict[str, dict[str, Any]]]:
    """The base configuration of a comparison, and the variants that keys given several times stand for.

    Args:
        path: a YAML file, laid over `DEFAULTS`; or None.
        overrides: `key=value`; a key with several values makes a variant of each, several such keys one of each
            combination.

    Raises:
        ConfigError: the file, a key or a value is wrong.
    """
    by_key: dict[str, list[str]] = {}
    for override in overrides:
        key, _, value = override.partition("=")
        by_key.setdefault(key.strip(), []).append(value)
    once = [f"{key}={values[0]}" for key, values in by_key.items() if len(values) == 1]
    axes = {key: values for key, values in by_key.items() if len(values) > 1}
    base = with_defaults(RunConfig.load(path, once))
    variants = {}
    for values in itertools.product(*axes.values()):
        name = ", ".join(value.strip() for value in values)
        if name in variants:
            raise ConfigError(f"--set gives {name} twice", "name each value once")
        variants[name] = {key: value_of(key, value) for key, value in zip(axes, values, strict=True)}
    return base, variants if axes else {}


def read_variants(path: Path) -> dict[str, dict[str, Any]]:
    """Model variants of a YAML file: a mapping from names to settings, such as `resnet18: {model.backbone: resnet18}`.

    Raises:
        ConfigError: the file cannot be read or is something else.
    """
    values = read_mapping(path, "--variants")
    if not values or not all(isinstance(v, dict) for v in values.values()):
        raise ConfigError(
            f"{path} holds no variants", "write names with settings, such as  resnet18: {model.backbone: resnet18}"
        )
    return {str(name): dict(settings) for name, settings in values.items()}


def _listed(what: str, given: Any, kind: Any, needed: str) -> list[Any]:
    """What was given from Python as a list; a number or a text alone is none."""
    values = None if isinstance(given, str | bytes) or not isinstance(given, Iterable) else [*given]
    if values is not None:
        values = [value.item() if isinstance(value, np.generic) else value for value in values]
    if values is None or any(isinstance(value, bool) or not isinstance(value, kind) for value in values):
        raise ConfigError(f"{what} is {str(given)[:100]!r}", f"needed: {needed}")
    return values


def _check_folders(rows: Sequence[Row]) -> None:
    """Refuse names that cannot be those of folders side by side."""
    by_folder: dict[str, Row] = {}
    for row in rows:
        if row.folder.strip(".-") == "" or len(row.folder.encode()) > LONGEST_NAME:
            reason = "too long" if row.folder.strip(".-") else "no name of a folder"
            raise ConfigError(f"the name '{row.name[:100]}' is {reason}", "give the variant or the strategy another")
        other = by_folder.setdefault(row.folder, row)
        if other is not row:
            message = f"'{other.name}' and '{row.name}' would have the same folder, {row.folder}"
            raise ConfigError(message, "give one of them another name")


def _varied(base: RunConfig, variant: str | None, settings: Mapping[str, Any]) -> RunConfig:
    """The base with a variant's settings; data, seed and strategy are the same for all."""
    settings = dict(_leaves(settings, base))
    for key in settings:
        part = key.split(".")[0]
        if part in {"data", "seed", "strategy", "strategies", "pretraining", "cluster", "tracking"}:
            raise ConfigError(
                f"variant '{variant}' sets {key}, which all variants share",
                "variants differ in model, training and evaluation",
            )
    return base.replace(*(f"{key}={json.dumps(value, default=_plain)}" for key, value in settings.items()))


def _leaves(settings: Mapping[str, Any], section: BaseModel) -> Iterator[tuple[str, Any]]:
    """Settings by their whole keys: of a section that is given as nested values, what it does not name stays."""
    for key, value in settings.items():
        place: Any = section
        for part in str(key).split("."):
            place = getattr(place, part, None)
        if isinstance(value, Mapping) and isinstance(place, BaseModel):
            yield from ((f"{key}.{below}", leaf) for below, leaf in _leaves(value, place))
        else:
            yield str(key), value


def _plain(value: object) -> Any:
    """What Python gives as a value, as JSON has it."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic):
        return value.item()
    raise ConfigError(f"a variant sets {str(value)[:100]}, which is no value of a configuration")


def _with_strategy(config: RunConfig, strategy: str) -> RunConfig:
    """The configuration with one strategy, and without the own ones that it does not use."""
    own = {strategy: config.strategies[strategy]} if strategy in config.strategies else {}
    return RunConfig.from_dict(config.to_dict() | {"strategy": strategy, "strategies": own})


def _of_cell(config: RunConfig, budget: int | None, seed: int, split: SplitConfig) -> RunConfig:
    data = config.data.model_copy(update={"budget": budget, "budget_seed": seed, "split": split})
    return config.model_copy(update={"data": data, "seed": seed})
