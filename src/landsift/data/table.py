"""A CSV or Parquet table of labelled patches: columns `path`, `label` and, if wanted, `split` and `group`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

from landsift.data.records import Record, Records
from landsift.errors import DataError, nearest

if TYPE_CHECKING:
    import pandas as pd

TABLE_SUFFIXES = frozenset({".csv", ".parquet", ".pq"})


def read_table(file: Path) -> Records:
    """The rows of a table, in its order.

    Values are read as text; spaces around labels, splits and groups are dropped, and an empty split or
    group is None.

    Raises:
        DataError: the table cannot be read, lacks a column, is empty, or a row lacks a path or label or
            repeats a path.
    """
    frame = _read_frame(file)
    frame.columns = [str(c).strip() for c in frame.columns]
    for column in ("path", "label"):
        if column not in frame.columns:
            hint = nearest(column, frame.columns) or "a table of patches has the columns path and label"
            found = ", ".join(frame.columns[:8])
            raise DataError(f"{file} has no column '{column}' (it has: {found})", hint)
        if (frame.columns == column).sum() > 1:
            raise DataError(f"{file} has two columns '{column}'", "keep one of them")
    if not len(frame):
        raise DataError(f"{file} has no rows", "a table of patches has one row per image")

    records = Records.of(_rows(file, frame))
    if (path := records.repeated_path()) is not None:
        raise DataError(f"{file}: the path {path} stands in two rows", "keep one row per image")
    return records


def _rows(file: Path, frame: pd.DataFrame) -> Iterator[Record]:
    columns = (_texts(frame, c) for c in Record._fields)
    for row, values in enumerate(zip(*columns, strict=True)):
        path, label, split, group = (values[0], *(v.strip() for v in values[1:]))
        if not path or not label:
            missing = "path" if not path else "label"
            raise DataError(f"{file}: row {row + 1} below the header has no {missing}", "fill it in or drop the row")
        yield Record(path, label, split or None, group or None)


def _read_frame(file: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if file.suffix.lower() == ".csv":
            # text throughout: a class may be called "NA" and a group "007"
            return pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:  # pandas's and pyarrow's parser errors are ValueErrors
        reason = " ".join(str(error).split())
        kind = "CSV" if file.suffix.lower() == ".csv" else "Parquet"
        raise DataError(f"cannot read the table {file}: {reason}", f"is it a {kind} file that may be read?") from None


def _texts(frame: pd.DataFrame, column: str) -> Iterator[str]:
    if column not in frame.columns:
        yield from repeat("", len(frame))
    else:
        values = frame[column]
        yield from ("" if missing else str(value) for value, missing in zip(values, values.isna(), strict=True))
