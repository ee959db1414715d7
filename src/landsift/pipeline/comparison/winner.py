"""The command that trains a row of a comparison by itself, on all labels."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from landsift.config import RunConfig
from landsift.config_overrides import spelled
from landsift.pipeline.comparison.grid import Row

OF_TRIALS = ("data.budget=null", "data.budget_seed=null", "data.split.folds=null", "data.split.fold=null")
"""What belongs to a trial and not to a training on all labels."""


def training_command(row: Row) -> str:
    """`landsift run` with every setting in which a row differs from the defaults, for a shell.

    Tracking is left out: a trial keeps no curves and no figures, a run is to have them. The seed is that of the
    comparison's configuration.

    Args:
        row: of a grid; its paths are absolute.
    """
    wanted = row.config.replace(*OF_TRIALS).to_dict()
    del wanted["tracking"]
    source = wanted["data"].pop("source")
    command = ["landsift", "run", "--data", str(source)]
    for key, value in _differences(wanted, RunConfig().to_dict()):
        command += ["--set", f"{key}={spelled(value)}"]
    return shlex.join([*command, "--out", f"runs/{row.folder}"])


def _differences(values: Mapping[str, Any], defaults: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Whole keys of what differs, and its value; a section is looked into, a mapping of people's own names is not."""
    for key, value in values.items():
        default = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(default, Mapping) and default:
            yield from _differences(value, default, f"{above}{key}.")
        elif value != default:
            yield f"{above}{key}", value
