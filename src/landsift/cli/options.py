"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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
