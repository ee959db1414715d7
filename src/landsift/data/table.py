"""A CSV or Parquet table of labelled patches: columns `path`, `label` and, if wanted, `split` and `group`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from landsift.data.records import CHUNK, Record, Records
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
    records = Records.of(_rows(file))
    if not len(records):
        raise DataError(f"{file} has no rows", "a table of patches has one row per image")
    if (path := records.repeated_path()) is not None:
        raise DataError(f"{file}: the path {path} stands in two rows", "keep one row per image")
    return records


def _rows(file: Path) -> Iterator[Record]:
    row = 0
    for frame in _frames(file):
        frame.columns = [str(c).strip() for c in frame.columns]
        _check_columns(file, frame)
        columns = (_texts(frame[c]) if c in frame.columns else [""] * len(frame) for c in Record._fields)
        for path, *others in zip(*columns, strict=True):
            row += 1
            label, split, group = (value.strip() for value in others)
            if not path or not label:
                missing = "path" if not path else "label"
                raise DataError(f"{file}: row {row} below the header has no {missing}", "fill it in or drop the row")
            yield Record(path, label, split or None, group or None)


def _check_columns(file: Path, frame: pd.DataFrame) -> None:
    for column in ("path", "label"):
        if column not in frame.columns:
            hint = nearest(column, frame.columns) or "a table of patches has the columns path and label"
            found = ", ".join(frame.columns[:8])
            raise DataError(f"{file} has no column '{column}' (it has: {found})", hint)
        if (frame.columns == column).sum() > 1:
            raise DataError(f"{file} has two columns '{column}'", "keep one of them")


def _frames(file: Path) -> Iterator[pd.DataFrame]:
    """The table in pieces."""
    import pandas as pd
    from pyarrow import parquet

    try:
        if file.suffix.lower() == ".csv":
            # text throughout: a class may be called "NA" and a group "007"
            with pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig", chunksize=CHUNK) as frames:
                yield from frames
        else:
            with parquet.ParquetFile(file) as table:
                yield from (batch.to_pandas(integer_object_nulls=True) for batch in table.iter_batches(CHUNK))
    except (OSError, ValueError) as error:  # pandas's and pyarrow's parser errors are ValueErrors
        reason = " ".join(str(error).split())
        kind = "CSV" if file.suffix.lower() == ".csv" else "Parquet"
        raise DataError(f"cannot read the table {file}: {reason}", f"is it a {kind} file that may be read?") from None


def _texts(column: pd.Series) -> list[str]:
    return ["" if missing else str(value) for value, missing in zip(column.tolist(), column.isna(), strict=True)]
