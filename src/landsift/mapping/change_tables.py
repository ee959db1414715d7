"""The tables of a change between maps: matrix, transitions and trajectories, as CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from landsift.mapping.transitions import ChangeMatrix, Trajectory
from landsift.runtime.whole import write_whole

ARROW = " → "


def matrix_table(matrix: ChangeMatrix, classes: Sequence[str]) -> pd.DataFrame:
    """From-to hectares and per cent, with the margins of each class.

    Returns:
        One row per class and unit (`hectares`, `per cent` of the area that both maps classify) in the columns `unit`,
        `from`, each class as `to CLASS`, and `total`, `persistence`, `gain`, `loss`, `net` and `swap` of that class.
    """
    margins = matrix.margins()
    total = matrix.hectares.sum()
    tables = []
    for unit, scale in (("hectares", 1.0), ("per cent", 100 / total if total else 0.0)):
        values = matrix.hectares * scale
        table = pd.DataFrame(values, columns=[f"to {name}" for name in classes])
        table.insert(0, "from", list(classes))
        table.insert(0, "unit", unit)
        table["total"] = values.sum(axis=1)
        for name, margin in margins.items():
            table[name] = margin * scale
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def transition_table(matrix: ChangeMatrix, classes: Sequence[str]) -> pd.DataFrame:
    """The transitions that occur, the largest area first.

    Returns:
        Columns: `transition`, `from`, `to`, `changed`, `cells`, `hectares`, `per cent`, and `low confidence ha`, the
        part in cells below the limit of confidence.
    """
    before, after = (index.tolist() for index in np.nonzero(matrix.cells))
    at = np.nonzero(matrix.cells)
    table = pd.DataFrame(
        {
            "transition": [f"{classes[a]}{ARROW}{classes[b]}" for a, b in zip(before, after, strict=True)],
            "from": [classes[a] for a in before],
            "to": [classes[b] for b in after],
            "changed": at[0] != at[1],
            "cells": matrix.cells[at],
            "hectares": matrix.hectares[at],
            "per cent": matrix.per_cent[at],
            "low confidence ha": matrix.uncertain[at],
        }
    )
    return table.sort_values("hectares", ascending=False, kind="stable", ignore_index=True)


def class_table(matrix: ChangeMatrix, classes: Sequence[str]) -> pd.DataFrame:
    """Hectares of each class at the first and last date, and what became of them.

    Returns:
        Columns: `class`, `first ha`, `last ha`, and `gain`, `loss`, `net`, `swap` and `persistence` in hectares.
    """
    margins = matrix.margins()
    table = pd.DataFrame(
        {"class": list(classes), "first ha": matrix.hectares.sum(axis=1), "last ha": matrix.hectares.sum(axis=0)}
    )
    for name in ("gain", "loss", "net", "swap", "persistence"):
        table[name] = margins[name]
    return table


def trajectory_table(found: Sequence[Trajectory], classes: Sequence[str]) -> pd.DataFrame:
    """The sequences of classes in the order given.

    Returns:
        Columns: `trajectory`, `cells`, `hectares`, and `returns`: a class is left and comes back, likely an error.
    """
    return pd.DataFrame(
        {
            "trajectory": [ARROW.join(classes[code - 1] for code in each.codes) for each in found],
            "cells": [each.cells for each in found],
            "hectares": [each.hectares for each in found],
            "returns": [each.returns for each in found],
        }
    )


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV.

    Raises:
        RunError: it cannot be written.
    """
    write_whole(path, lambda partial: table.to_csv(partial, index=False))
