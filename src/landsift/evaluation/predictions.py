"""The table of predictions, as files hold it."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.extras import needs
from landsift.runtime.whole import write_whole

if TYPE_CHECKING:
    import pandas as pd


def predictions_columns(
    paths: Sequence[str],
    classes: Sequence[str],
    probabilities: NDArray[np.float32],
    judged: Mapping[str, Any] | None = None,
    **known: Any,
) -> dict[str, Any]:
    """The columns of `predictions_table`, N values each, or one for all."""
    names = np.asarray(classes, dtype=object)
    columns: dict[str, Any] = {"path": paths} | known | {"predicted": names[probabilities.argmax(axis=1)]}
    columns |= dict(judged or {})
    return columns | {f"p_{name}": probabilities[:, k] for k, name in enumerate(classes)}


def predictions_table(
    paths: Sequence[str],
    classes: Sequence[str],
    probabilities: NDArray[np.float32],
    judged: Mapping[str, Any] | None = None,
    **known: Any,
) -> pd.DataFrame:
    """One row per patch: path, what else is known of it, predicted, what is judged of it, p_<class>.

    Args:
        paths: of N patches.
        classes: K names.
        probabilities: float [N, K].
        judged: columns by name, `set`, `abstain` and `ood` (`landsift.models.trust.columns`).
        known: columns by name, such as `label`: N values, or one for all.
    """
    needs("pandas", extra="train", what="a table of predictions")
    import pandas as pd

    return pd.DataFrame(predictions_columns(paths, classes, probabilities, judged, **known))


def write_csv(out: Path, columns: Mapping[str, Any]) -> None:
    """Write columns of N values each as pandas does, whole or not at all: NaN is empty; nothing but NumPy is needed."""
    write_csv_parts(out, [columns])


def write_csv_parts(out: Path, parts: Iterable[Mapping[str, Any]]) -> None:
    """The same of columns that come in parts, at least one, each with the same columns."""
    each = iter(parts)
    first = next(each)
    rows = (
        row
        for columns in chain([first], each)
        for row in zip(*(_texts(np.asarray(values)) for values in columns.values()), strict=True)
    )
    write_rows(out, first, rows)


def write_rows(out: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV table row by row, whole or not at all."""

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(_Lines(stream))
            writer.writerow(header)
            writer.writerows(rows)

    write_whole(out, write)


class _Lines:
    """Has the lines of a CSV writer end as the system's do.

    The writer is left with its own ending: with another one it writes a carriage return in a name without quotes, and
    whoever reads the table takes it for the end of a row.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, line: str) -> None:
        self._stream.write(line.removesuffix("\r\n") + os.linesep)


def _texts(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind != "f":
        return values
    return np.where(np.isnan(values), "", values.astype(str))
