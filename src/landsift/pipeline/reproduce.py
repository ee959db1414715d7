"""Repeating a run from its own config.yaml: what it was, and what is different now."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landsift import runs
from landsift.config import RunConfig
from landsift.errors import LandsiftError
from landsift.training.strategies import deciding_settings

ARITHMETIC = ("precision", "compiled_from_epoch")
"""What a run may have chosen by itself."""
MACHINE = ("cpu", "cores", "gpu")

Original = dict[str, Any]
"""Of the run that is repeated: `run` (its folder), `fingerprint` of its patches, `versions`, `hardware`, `model` (the
hashes of its weights and of its network's code), `metrics`."""


def original(config: RunConfig, file: Path | None) -> Original | None:
    """The run that `config` repeats: `file` is its config.yaml, and nothing that decides its numbers was changed.

    Args:
        config: the complete configuration, with what the command line changed.
        file: of `--config`.

    Returns:
        None where no run is repeated.
    """
    if file is None or file.name != runs.CONFIG or not file.with_name(runs.MANIFEST).is_file():
        return None
    try:
        run = runs.Run.open(file.parent)
        if deciding_settings(run.config) != deciding_settings(config):
            return None
        manifest = run.manifest
        return {
            "run": os.path.abspath(file.parent),
            "fingerprint": manifest["data"]["fingerprint"],
            "versions": dict(manifest["versions"]),
            "hardware": {name: manifest["hardware"][name] for name in (*MACHINE, *ARITHMETIC)},
            "model": _model(manifest),
            "metrics": _numbers(run.metrics),
        }
    except (LandsiftError, KeyError, TypeError, ValueError):  # a run of another landsift, or a damaged one
        return None


def arithmetic(repeats_json: str) -> Mapping[str, Any] | None:
    """How the repeated run computed, on the same machine; None elsewhere, where it is chosen anew."""
    repeated = json.loads(repeats_json)
    if repeated is None:
        return None
    from landsift.training.provenance import hardware

    here, there = hardware(), repeated["hardware"]
    return {name: there[name] for name in ARITHMETIC} if all(here[n] == there[n] for n in MACHINE) else None


def compared(repeated: Original, manifest: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the manifest says of a repetition.

    Returns:
        `run`: what is repeated; `same_metrics`: whether all figures of all epochs are equal to the last bit;
        `differs`: a `what`, a `then` and a `now` for the data, each library and each part of the machine that differ.
    """
    pairs = [("data", repeated["fingerprint"], manifest["data"]["fingerprint"])]
    model = _model(manifest)
    pairs += [(name, repeated["model"].get(name), model[name]) for name in model]
    names = sorted(repeated["versions"].keys() | manifest["versions"].keys())
    pairs += [(name, repeated["versions"].get(name), manifest["versions"].get(name)) for name in names]
    hardware = manifest["hardware"]
    pairs += [(n, repeated["hardware"].get(n), hardware.get(n)) for n in (*MACHINE, *ARITHMETIC)]
    return {
        "run": repeated["run"],
        "same_metrics": repeated["metrics"] == _numbers(metrics),
        "differs": [{"what": what, "then": then, "now": now} for what, then, now in pairs if then != now],
    }


def _model(manifest: Mapping[str, Any]) -> dict[str, str | None]:
    """What the settings do not say of a model: which weights the hub's were, and the code of the user's own network."""
    model = manifest["model"]
    return {"weights": (model.get("weights_file") or {}).get("sha256"), "network code": model.get("code")}


def _numbers(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of metrics.json without what a clock says."""
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in metrics]
