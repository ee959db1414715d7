"""A CSV or Parquet table of labelled patches: columns `path`, `label` and, if wanted, `split` and `group`."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.data.records import CHUNK, Record, Records
from landsift.errors import DataError, nearest

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

TABLE_SUFFIXES = frozenset({".csv", ".parquet", ".pq"})

MAX_ROWS = 2**25
"""Largest table that is read; 33 million rows take some 2 GB, and a Parquet file of some bytes may claim more."""

_MAX_ROW_GROUP = 2**28  # bytes once unpacked; paths and labels of a million rows take a tenth of it
_MAX_RATIO = 20  # of the unpacked bytes to the file's; paths and labels reach ten
_MAX_LINE = 2**20  # characters
_MAX_PATH, _MAX_NAME = 4096, 1000  # characters


def read_table(file: Path) -> Records:
    """The rows of a table, in its order.

    Values are read as text; spaces around labels, splits and groups are dropped, and an empty split or
    group is None.

    Raises:
        DataError: the table cannot be read, lacks a column, is empty, or a row lacks a path or label or
            repeats a path.
    """
    records = Records.of(_records(file))
    if not len(records):
        raise DataError(f"{file} has no rows", "a table of patches has one row per image")
    if (path := records.repeated_path()) is not None:
        raise DataError(f"{file}: the path {path} stands in two rows", "keep one row per image")
    return records


def _records(file: Path) -> Iterator[Record]:
    is_csv = file.suffix.lower() == ".csv"
    rows = _csv_rows(file) if is_csv else _parquet_rows(file)
    try:
        for number, (path, *others) in enumerate(rows, start=1):
            label, split, group = (value.strip() for value in others)
            if not path or not label:
                missing = "path" if not path else "label"
                raise DataError(f"{file}: row {number} below the header has no {missing}", "fill it in or drop the row")
            if "\0" in path or len(path) > _MAX_PATH or len(label) + len(split) + len(group) > _MAX_NAME:
                what = "a path with a NUL" if "\0" in path else "a path or name too long to be one"
                raise DataError(f"{file}: row {number} below the header has {what}", "are its quotes closed?")
            if number > MAX_ROWS:
                raise DataError(f"{file} has more than {MAX_ROWS:,} rows", "divide it")
            yield Record(path, label, split or None, group or None)
    except DataError:
        raise
    except Exception as error:  # what the parsers meet: csv.Error, OSError, UnicodeError, pyarrow's of five bases
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        kind = "CSV" if is_csv else "Parquet"
        raise DataError(f"cannot read the table {file}: {reason}", f"is it a {kind} file that may be read?") from error


def _positions(file: Path, header: Sequence[str]) -> list[int | None]:
    """Where each field of a Record stands among a table's columns."""
    names = [name.strip() for name in header]
    for column in ("path", "label"):
        if column not in names:
            hint = nearest(column, names) or "a table of patches has the columns path and label"
            if len(names) == 1 and any(other in names[0] for other in ";\t|"):
                hint = "its columns must be divided by commas"
            raise DataError(f"{file} has no column '{column}' (it has: {', '.join(names[:8])[:200]})", hint)
    for column in Record._fields:
        if names.count(column) > 1:
            raise DataError(f"{file} has two columns '{column}'", "keep one of them")
    return [names.index(column) if column in names else None for column in Record._fields]


def _csv_rows(file: Path) -> Iterator[list[str]]:
    """The fields of Record, as they are written: a class may be called "NA" and a group "007"."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        lines = csv.reader(_lines(stream), strict=True)
        header = next(lines, None)
        if header is None:
            raise ValueError("the file is empty")
        positions, width = _positions(file, header), len(header)
        for fields in lines:
            if not fields:  # a blank line
                continue
            if len(fields) != width:
                if any(fields[width:]):
                    raise ValueError(f"line {lines.line_num} has {len(fields)} fields where the header has {width}")
                fields += [""] * (width - len(fields))
            yield ["" if at is None else fields[at] for at in positions]


def _lines(stream: Any) -> Iterator[str]:
    while line := stream.readline(_MAX_LINE):
        if len(line) == _MAX_LINE:
            raise ValueError(f"a line is longer than {_MAX_LINE:,} characters")
        yield line


def _parquet_rows(file: Path) -> Iterator[list[str]]:
    """The fields of Record as text; the other columns are not read."""
    from pyarrow import parquet, types

    with file.open("rb") as stream, parquet.ParquetFile(stream) as table:
        schema = table.schema_arrow
        fields = [None if at is None else schema.field(at) for at in _positions(file, schema.names)]
        names = [field.name for field in fields if field is not None]
        for field in fields:
            if field is not None and types.is_nested(field.type):
                raise ValueError(f"column '{field.name}' holds {field.type}, not text")
        _refuse_bomb(file, table.metadata)
    # As dictionaries, because one long value may stand in every row.
    with file.open("rb") as stream, parquet.ParquetFile(stream, read_dictionary=names) as table:
        for batch in table.iter_batches(CHUNK, columns=names):
            columns = ([""] * len(batch) if field is None else _texts(batch.column(field.name)) for field in fields)
            yield from map(list, zip(*columns, strict=True))


def _refuse_bomb(file: Path, metadata: parquet.FileMetaData) -> None:
    """Refuse what unpacks to far more than its bytes."""
    if metadata.num_rows > MAX_ROWS:
        raise DataError(f"{file} has more than {MAX_ROWS:,} rows", "divide it")
    # Not by column: where a column's statistics are damaged, asking for its size ends the process.
    sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    if max(sizes, default=0) > _MAX_ROW_GROUP and sum(sizes) > _MAX_RATIO * file.stat().st_size:
        raise DataError(
            f"{file}: its {file.stat().st_size:,} bytes unpack to {sum(sizes) >> 20:,} MiB",
            "is it a table of patches? write it with row groups of fewer rows",
        )


def _texts(column: pa.Array) -> list[str]:
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(column.type):
        # A batch brings the values of the whole row group; those that its rows name are taken.
        names, positions = np.unique(column.indices.fill_null(-1).to_numpy(), return_inverse=True)
        nulls = int(len(names) > 0 and names[0] < 0)
        texts = [""] * nulls + _texts(column.dictionary.take(pa.array(names[nulls:])))
        return [texts[at] for at in positions.tolist()]
    # A number that is none differs from itself.
    values = column.to_pylist()
    return [
        "" if value is None or value != value else value.decode() if isinstance(value, bytes) else str(value)
        for value in values
    ]
