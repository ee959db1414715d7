"""The tables that a run's page saves as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from landsift.reports.csv_text import csv_rows, csv_text
from landsift.reports.run.confusion import confusion_rows
from landsift.reports.run.trust import reliability_rows
from landsift.runs import Run

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("precision", "recall", "f1")
PER_CLASS = ("class", "patches", *(name + end for name in METRICS for end in ("", "_low", "_high")))
RELIABILITY = ("low", "high", "patches", "confidence", "accuracy", "accuracy_low", "accuracy_high")
MOST_MISTAKES = 5000
"""Rows of mistakes.csv at most: the page has to hold them."""


def csv_tables(run: Run, mistakes: pd.DataFrame) -> dict[str, str]:
    """The text of each table by its file name; shares are between 0 and 1, epochs are counted from 1.

    Args:
        run: a run directory.
        mistakes: columns path, label, predicted, probability.
    """
    test, classes = run.evaluation["test"], list(run.evaluation["classes"])
    columns = list(dict.fromkeys(name for row in run.metrics for name in row))
    return {
        "epochs.csv": csv_text(columns, (row | {"epoch": row["epoch"] + 1} for row in run.metrics)),
        "confusion.csv": csv_rows(confusion_rows(test["confusion"], classes)),
        "classes.csv": csv_text(PER_CLASS, (_class(name, test) for name in classes)),
        "reliability.csv": csv_text(RELIABILITY, map(_bin, reliability_rows(run))),
        "mistakes.csv": csv_text(list(mistakes.columns), _records(mistakes.head(MOST_MISTAKES))),
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _class(name: str, test: Mapping[str, Any]) -> dict[str, Any]:
    figures, intervals = test["per_class"][name], test["intervals"]["per_class"][name]
    return {
        "class": name,
        "patches": figures["support"],
        **{metric: figures[metric] for metric in METRICS},
        **{f"{metric}{end}": value for metric in METRICS for end, value in _bounds(intervals[metric]).items()},
    }


def _bin(row: Mapping[str, Any]) -> dict[str, Any]:
    bounds = {f"accuracy{end}": value for end, value in _bounds(row["interval"]).items()}
    return {"patches": row["n"], **row, **bounds}


def _bounds(interval: list[float] | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {"_low": low, "_high": high}
