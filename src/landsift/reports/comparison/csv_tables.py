"""A comparison as CSV tables: one record a line, plain headers, numbers as they were measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from landsift.reports.csv_text import csv_text

STRATEGIES = (
    "name", "strategy", "variant", "budget", "seeds", "accuracy", "accuracy_low", "accuracy_high", "macro_f1",
    "balanced_accuracy", "val_accuracy", "val_macro_f1", "val_balanced_accuracy", "trainable", "share", "work",
    "relative_work", "train_seconds", "best", "within_margin", "recommended",
)  # fmt: skip
PER_CLASS = ("name", "budget", "class", "f1")
PAIRS = ("budget", "a", "b", "seeds", "difference", "low", "high", "p", "p_corrected", "verdict", "test")
CELLS = (
    "name", "budget", "seed", "state", "reason", "cached", "accuracy", "macro_f1", "ece", "val_accuracy", "epochs",
    "best_epoch", "work", "train_seconds", "seconds", "trainable", "parameters",
)  # fmt: skip


def tables(comparison: Mapping[str, Any]) -> dict[str, str]:
    """The text of each CSV table by its file name.

    `strategies.csv` has a line per strategy and budget (shares between 0 and 1, floating-point operations, seconds),
    `per_class.csv` one per strategy, budget and class, `pairs.csv` one per budget and pair (`a` against `b`),
    `cells.csv` one per trial. Values that do not apply are empty.

    Args:
        comparison: What comparison.json holds.
    """
    return {
        "strategies.csv": csv_text(STRATEGIES, _strategies(comparison)),
        "per_class.csv": csv_text(
            PER_CLASS,
            (
                {"name": r["row"], "budget": r["budget"], "class": name, "f1": f1}
                for r in comparison["results"]
                for name, f1 in r["f1"].items()
            ),
        ),
        "pairs.csv": csv_text(PAIRS, (pair | _bounds(pair["interval"]) for pair in comparison["pairs"])),
        "cells.csv": csv_text(
            (*CELLS, "fold") if comparison.get("folds") else CELLS,
            (cell | {"name": cell["row"]} for cell in comparison["cells"]),
        ),
    }


def _strategies(comparison: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    rows = {row["name"]: row for row in comparison["rows"]}
    advice = {advice["budget"]: advice for advice in comparison["recommendations"]}
    for result in comparison["results"]:
        name, advised = result["row"], advice.get(result["budget"])
        bounds = {f"accuracy_{side}": bound for side, bound in _bounds(result["accuracy_interval"]).items()}
        marks = {
            "best": name == advised["best"],
            "within_margin": name in advised["within_margin"],
            "recommended": name == advised["row"],
        } if advised else {}  # fmt: skip
        validation = {f"val_{criterion}": figure for criterion, figure in result["validation"].items()}
        yield rows[name] | result | bounds | validation | marks


def _bounds(interval: Sequence[float]) -> dict[str, float]:
    return {"low": interval[0], "high": interval[1]}
