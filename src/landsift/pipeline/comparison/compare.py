"""Compare training strategies on this machine or on a cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landsift.engine import LOCAL, EngineOptions
from landsift.errors import RunError
from landsift.evaluation.recommendation import Rule
from landsift.pipeline import run
from landsift.pipeline.comparison.grid import SEEDS, Grid, Row, with_defaults
from landsift.pipeline.flyte import submit
from landsift.pipeline.inputs import Config, Data, configured
from landsift.runs import COMPARISON, CONFIG, PREDICTIONS, REPORT, Comparison
from landsift.runtime import outputs

OWN = {COMPARISON, CONFIG, PREDICTIONS, REPORT, "cells", "strategies.csv", "per_class.csv", "pairs.csv", "cells.csv"}
"""What a comparison's folder holds."""


def compare(
    config: Config,
    out: Path | str,
    *,
    data: Data = None,
    strategies: Sequence[str] = (),
    budgets: Sequence[int | None] | Mapping[int | None, int] = (),
    seeds: Sequence[int] = SEEDS,
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    folds: int | None = None,
    engine: str = LOCAL,
    workers: int | None = None,
    threads: int | None = None,
    gpus: int | None = None,
    cache: bool = True,
    criterion: str = "accuracy",
    margin: float = 0.01,
) -> Comparison:
    """Train strategies × budgets × seeds and compare them; what was trained before comes from the cache.

    Args:
        config: what all share: a configuration, nested values, a YAML file, or None. What it does not set is as
            `grid.DEFAULTS` says, so that None, `{}` and `RunConfig()` mean the same comparison.
        data: a store, or what `data.source` may name; None: what the configuration names.
        out: the folder to make: new, empty, or an older comparison, which is replaced.
        strategies: names of the strategy table or of `config.strategies`; none: all.
        budgets: numbers of training labels, or with how many of the seeds each is trained, such as
            `{500: 3, 8000: 1}`; none: all labels.
        seeds: one training each.
        variants: settings of model variants by name, such as `{"resnet18": {"model.backbone": "resnet18"}}`.
        folds: of a cross-validation (random, by group or by place, as `data.split` says): everything is trained once
            for each, with the fold as its test; None: one split for all.
        engine: "local", or the address of a Dask scheduler, whose workers train; as are the next three, of
            `EngineOptions`.
        workers: processes of this machine that train at once; None: one for every four cores.
        threads: that each of them computes in; None: its share of the cores.
        gpus: of this machine, for each of them alone; None: all see all.
        cache: False trains everything again.
        criterion: by what rows are compared and chosen: "accuracy", "macro_f1" or "balanced_accuracy".
        margin: how much worse than the best on validation a row may be that computes less, as a share.

    Returns:
        The finished comparison. Trainings that failed are named in it.

    Raises:
        LandsiftError: the output, the data, a strategy, a model or the tracking cannot be used, or all trainings
            failed.
    """
    base = with_defaults(configured(config, data))
    rule = Rule(criterion, margin)
    grid = Grid.of(base, strategies, budgets, seeds, variants, folds)
    return run_grid(grid, out, EngineOptions(engine, workers, threads, gpus), cache=cache, rule=rule)


def run_grid(
    grid: Grid,
    out: Path | str,
    options: EngineOptions | None = None,
    *,
    cache: bool = True,
    command: Sequence[str] | None = None,
    rule: Rule | None = None,
) -> Comparison:
    """The same for a grid, an engine and a rule; `command` is the command line, for the report."""
    out = outputs.absolute(out)
    inputs = {
        "grid_json": grid.to_json(),
        "command_json": json.dumps(command and [*command]),
        "group": out.name,
        "engine_json": json.dumps((options or EngineOptions()).to_dict()),
        "rule_json": json.dumps((rule or Rule()).to_dict()),
        "afresh": "no" if cache else "yes",
    }
    run.execute("landsift_comparison", inputs, grid.base, out, last=COMPARISON, replace=_is_older(out))
    return Comparison(out)


def submit_comparison(
    grid: Grid,
    remote: Path,
    *,
    cache: bool = True,
    command: Sequence[str] | None = None,
    rule: Rule | None = None,
    bundle_to: Path | None = None,
) -> str:
    """Submit the comparison to a Flyte cluster, where every training is a task of its own; else as `submit.submit`."""
    base = submit.for_cluster(grid.base)
    rows = tuple(Row(r.name, r.strategy, r.variant, submit.for_cluster(r.config)) for r in grid.rows)
    sent = Grid(base, rows, grid.budgets, grid.seeds, grid.repeats)
    inputs = {
        "grid_json": sent.to_json(),
        "command_json": json.dumps(command and [*command]),
        "group": f"compare-{base.data.source}",
        "engine_json": json.dumps(EngineOptions().to_dict()),
        "rule_json": json.dumps((rule or Rule()).to_dict()),
        "afresh": "no",
    }
    configs = [row.config for row in rows]
    return submit.send("landsift_comparison", inputs, configs, remote, cache=cache, bundle_to=bundle_to)


def _is_older(out: Path) -> bool:
    """Whether `out` is a comparison's folder and nothing else; raises RunError where it holds more."""
    if not (out / COMPARISON).is_file():
        return False
    others = sorted(path.name for path in out.iterdir() if path.name not in OWN)
    if others:
        raise RunError(f"{out} holds a comparison, but also {others[0]}", "give --out a new folder")
    return True
