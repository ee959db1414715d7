"""`landsift compare`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from landsift.cli.options import (
    ConfigOption,
    CriterionOption,
    EngineOption,
    GpusOption,
    JsonOption,
    MarginOption,
    RemoteOption,
    ThreadsOption,
    rule_changes,
)
from landsift.cli.slips import needs_source
from landsift.engine.options import LOCAL, EngineOptions


def compare(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="The folder to write: a new one, or that of an earlier comparison.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="SOURCE", help="As in `landsift run`.", show_default=False),
    ] = None,
    strategies: Annotated[
        str | None,
        typer.Option("--strategies", metavar="A,B", help="Names of strategies.  Default: all.", show_default=False),
    ] = None,
    budgets: Annotated[
        str | None,
        typer.Option(
            "--budgets",
            metavar="N,M",
            help="Numbers of training labels, or all; N:1 trains with the first seed only.  Default: all.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", metavar="N,M", help="Seeds, one trial each.")] = "0,1,2",
    config: ConfigOption = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="KEY=VALUE",
            help="Change one setting. A key given several times, such as model.backbone, makes one variant per value.",
        ),
    ] = None,
    variants: Annotated[
        Path | None,
        typer.Option(
            "--variants",
            metavar="FILE",
            help="A YAML file: names of model variants, each with its settings.",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            metavar="K",
            help="Cross-validate: train everything K times, each fold once the test; random, by group or by place.",
            min=2,
            max=100,
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", "-j", metavar="N", help="Trials run in parallel.  Default: one per four cores.", min=1
        ),
    ] = None,
    engine: EngineOption = LOCAL,
    threads: ThreadsOption = None,
    gpus: GpusOption = None,
    criterion: CriterionOption = None,
    margin: MarginOption = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Ignore the cache and train everything.")] = False,
    remote: RemoteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare training strategies × label budgets × seeds on the same patches.

    A trial is one training of a strategy with a budget and a seed. Finished
    trials come from the cache, so an interrupted comparison resumes. A strategy
    is trained as `landsift run` trains it; trials are not tracked. The page and
    the last lines give the command that trains the winner on all labels.
    """
    from landsift.cli.printing import print_comparison, say
    from landsift.errors import ConfigError
    from landsift.evaluation.recommendation import Rule
    from landsift.pipeline.comparison import grid

    if out is None and remote is None:
        raise typer.BadParameter("a comparison on this machine needs --out DIR", param_hint="--out")
    rule = Rule(**rule_changes(criterion, margin))
    options = EngineOptions(engine, workers, threads, gpus)
    if remote is not None and options != EngineOptions():
        given = engine != LOCAL, workers, threads, gpus
        name = next(n for n, value in zip(("engine", "workers", "threads", "gpus"), given, strict=True) if value)
        raise typer.BadParameter("changes nothing with --remote, where each trial is a task", param_hint=f"--{name}")
    base, axes = grid.load_base(config, settings or ())
    if data is not None:
        base = base.replace(f"data.source={json.dumps(data)}")
    needs_source(base.data, "compare", {"--out": str(out or "DIR")})
    if axes and variants is not None:
        raise ConfigError("--variants cannot be used with a key given several times by --set", "use one of them")
    from landsift.pipeline.comparison import compare as pipeline

    numbers = [_number(seed, "--seeds") for seed in _names(seeds)]
    cells = grid.Grid.of(
        base,
        _names(strategies),
        _budgets(budgets, len(numbers)),
        numbers,
        grid.read_variants(variants) if variants else axes,
        folds,
    )
    command = ["landsift", *sys.argv[1:]]
    if remote is not None:
        url = pipeline.submit_comparison(cells, remote, cache=not no_cache, command=command, rule=rule)
        say(json.dumps({"url": url}) if as_json else url)
        return
    assert out is not None
    finished = pipeline.run_grid(cells, out, options, cache=not no_cache, command=command, rule=rule)
    print_comparison(finished, as_json=as_json)


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _budgets(text: str | None, seeds: int) -> dict[int | None, int]:
    """Budgets, each with its number of seeds."""
    found: dict[int | None, int] = {}
    for name in _names(text):
        budget, _, repeats = name.partition(":")
        number = None if budget == "all" else _number(budget, "--budgets", least=2)
        if number in found:
            raise typer.BadParameter(f"{budget} is given twice", param_hint="--budgets")
        found[number] = _number(repeats, "--budgets", least=1) if repeats else seeds
    return found


def _number(text: str, option: str, least: int = 0) -> int:
    if not text.isdecimal() or int(text) < least:
        raise typer.BadParameter(f"'{text}' is not a whole number of at least {least}", param_hint=option)
    return int(text)
