"""The confusion matrix as a table of a run's page: counts, per cent of rows and of columns, and both accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRONGEST = 0.55
"""Opacity of a cell that has all of its row: text stays readable on it."""


def confusion_table(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> dict[str, Any]:
    """The table of a confusion matrix, by its names in the template.

    The producer's accuracy of a class is the share of its patches that are predicted as it (recall), the user's
    accuracy that of the patches predicted as it that are of the class (precision); Story & Congalton 1986. Colour
    follows the square root of the share, so that rare confusions are visible beside the diagonal.

    Args:
        confusion: [K][K] counts, rows are true classes.
        classes: K names.
    """
    counts = np.asarray(confusion, dtype=np.int64).reshape(len(classes), len(classes))
    of_row, of_column = _shares(counts, 1), _shares(counts, 0)
    right = np.diag(counts)
    return {
        "classes": list(classes),
        "rows": [
            {
                "name": name,
                "cells": [_cell(counts[i, j], of_row[i, j], of_column[i, j], i == j) for j in range(len(classes))],
                "all": f"{counts[i].sum():,}",
                "producers": _accuracy(right[i], counts[i].sum()),
            }
            for i, name in enumerate(classes)
        ],
        "all": [f"{n:,}" for n in counts.sum(axis=0)],
        "users": [_accuracy(right[j], counts[:, j].sum()) for j in range(len(classes))],
        "total": f"{counts.sum():,}",
        "overall": _accuracy(right.sum(), counts.sum()),
    }


def confusion_rows(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> list[list[Any]]:
    """The counts as rows of a CSV table: a row per true class, a column per predicted class."""
    return [["true class", *classes], *([name, *row] for name, row in zip(classes, confusion, strict=True))]


def _shares(counts: NDArray[np.int64], axis: int) -> NDArray[np.float64]:
    found: NDArray[np.float64] = counts / np.maximum(counts.sum(axis=axis, keepdims=True), 1)
    return found


def _accuracy(right: int, of: int) -> str:
    return f"{100 * right / of:.1f}" if of else "–"


def _cell(count: int, of_row: float, of_column: float, right: bool) -> dict[str, Any] | None:
    """A cell; None where there is no patch."""
    if not count:
        return None
    return {
        "count": f"{count:,}",
        "of_row": f"{100 * of_row:.1f}",
        "of_column": f"{100 * of_column:.1f}",
        "row_depth": f"{STRONGEST * of_row**0.5:.2f}",
        "column_depth": f"{STRONGEST * of_column**0.5:.2f}",
        "right": right,
    }
