"""The trials of a search as a CSV table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from landsift.reports.csv_text import csv_text


def trials_csv(trials: Iterable[Mapping[str, Any]], names: Iterable[str]) -> str:
    """A line per trial: how it ended, its validation accuracy, and its values; trials and epochs count from 1.

    Args:
        trials: as metrics.json has them.
        names: of the dimensions that are searched.
    """
    columns = (
        "trial", "state", "val_accuracy", "val_loss", "best_epoch", "epochs_trained", "seconds", "same_as", *names,
        "lr_head_of_last_phase", "lr_backbone_of_last_phase", "reason",
    )  # fmt: skip
    return csv_text(
        columns,
        (
            {
                **trial["values"],
                "trial": trial["number"] + 1,
                "state": trial["state"],
                "val_accuracy": trial["accuracy"],
                "val_loss": trial["loss"],
                "best_epoch": _from_1(trial["epoch"]),
                "epochs_trained": trial["epochs"],
                "seconds": trial["seconds"],
                "same_as": _from_1(trial["same_as"]),
                "lr_head_of_last_phase": trial["rates"][0],
                "lr_backbone_of_last_phase": trial["rates"][1],
                "reason": trial["reason"],
            }
            for trial in trials
        ),
    )


def _from_1(number: int | None) -> int | None:
    return None if number is None else number + 1
