"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from landsift.errors import ConfigError
from landsift.runtime.outputs import absolute, check_outside

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="A YAML configuration.", show_default=False)
]
CriterionOption = Annotated[
    str | None,
    typer.Option(
        "--criterion",
        metavar="NAME",
        help="What strategies are judged by: accuracy, macro_f1 or balanced_accuracy.",
        show_default=False,
    ),
]
MarginOption = Annotated[
    float | None,
    typer.Option(
        "--margin",
        metavar="POINTS",
        help="How many percentage points worse than the best a strategy may be that computes less.  Default: 1.",
        show_default=False,
    ),
]
ModuleOption = Annotated[
    str | None,
    typer.Option(
        "--module",
        metavar="MODULE",
        help="What registers the model's network with timm, if it is none of timm's: a module or its .py file, which "
        "is run.  Default: what the run was trained with, where that was on this machine.",
        show_default=False,
    ),
]
RemoteOption = Annotated[
    Path | None,
    typer.Option("--remote", metavar="FLYTE_CONFIG", help="Submit to the Flyte cluster of this configuration."),
]


def rule_changes(criterion: str | None, margin: float | None) -> dict[str, Any]:
    """What the two options say of the rule by which strategies are chosen; points become shares."""
    return {
        **({} if criterion is None else {"criterion": criterion}),
        **({} if margin is None else {"margin": margin / 100}),
    }


def check_beside(out: Path, source: str) -> None:
    """Check that an output is not put among the patches of a source; raises RunError."""
    from landsift.data.sources.base import NAMES

    if source not in NAMES:
        check_outside(out, [source])


SPLIT = ("data.split", "data.budget", "data.budget_seed")
"""What decides who is in train, val and test, and nothing of the patches."""


def settings_of(source: str, *, patch_size: bool = True) -> tuple[str, ...]:
    """The keys of the configuration that change how a source is decoded.

    Args:
        source: as in `landsift run --data`, or a store, of which nothing is decoded any more.
        patch_size: whether patches may be stored at a size that the user chooses.
    """
    from landsift.data.store.patch_store import META

    if (absolute(source) / META).is_file():
        return ()
    of_files = ("data.max_unreadable", "data.locations")
    own = {"synthetic": ("data.synthetic",), "eurosat": ("data.eurosat", *of_files)}
    size = ("data.patch_size",) if patch_size else ()
    return (*size, *own.get(source, of_files))


def refuse_idle(settings: Iterable[str], acting: Iterable[str], where: str) -> None:
    """Refuse a setting that a command would pass over: what comes out would be taken for what it says.

    Args:
        settings: as `--set` gives them.
        acting: keys, or sections of keys, that change something in this command.
        where: the end of "changes nothing ...".

    Raises:
        ConfigError: one changes nothing, or is no setting.
    """
    from landsift import config_overrides
    from landsift.config import RunConfig

    acting, settings = tuple(acting), tuple(settings)
    RunConfig.load(None, settings)  # a key that is none is told as such
    for setting in settings:
        values: dict[str, Any] = {}
        config_overrides.apply(values, setting)
        for key in _keys(values):
            if not any(key == one or key.startswith(f"{one}.") for one in acting):
                hint = f"what does: {', '.join(acting)}" if acting else "leave --set out"
                raise ConfigError(f"configuration key '{key}' changes nothing {where}", hint)


def _keys(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _keys(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"
