"""A CSV or Parquet table of labelled patches: columns `path`, `label` and, if wanted, `split`, `group` and places."""

from __future__ import annotations

import csv
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.data.decoding.decode import IMAGE_SUFFIXES
from landsift.data.geodesy import Places
from landsift.data.sources.coordinates import PLACE_COLUMNS, RULE, PlaceReader
from landsift.data.sources.met import Met
from landsift.data.sources.records import CHUNK, Record, Records
from landsift.data.sources.table_columns import positions, refuse_split_values, tell_unused, unused
from landsift.errors import DataError, LandsiftError
from landsift.extras import needs
from landsift.runtime.notices import once

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
_FIRST_LINES = 20
_SAMPLE = 1000  # rows in which a column that is not read is looked at
_MISSING = frozenset({"nan", "<na>", "nat"})  # as pandas writes a value that is missing


def read_table(file: Path, *, labels: bool = True) -> Records:
    r"""The rows of a table, in its order.

    Values are read as text; spaces around labels, splits and groups are dropped, and an empty split or
    group is None. Where `\` in a path leads to no file, it is taken for Windows' `/`. Without `labels` a column of that
    name is not read, nor needed.

    Raises:
        DataError: the table cannot be read, lacks a column, is empty, a row lacks a path or label or repeats a path,
            another column seems to be meant as its split, group or place, or a place is none.
        MissingExtraError: places are projected, and rasterio is not installed.
    """
    reader = PlaceReader(file)
    fields = Record._fields if labels else [name for name in Record._fields if name != "label"]
    found = _records(file, (*fields, *PLACE_COLUMNS), reader)
    records = Records.of(found if labels else (record._replace(label=None) for record in found))
    _refuse_repeated(file, len(records), records.repeated_path() if len(records) else None)
    records.places = reader.places()
    return records


def has_labels(file: Path) -> bool:
    """Whether a table has a column of labels; True where it cannot be read, which reading it will tell."""
    try:
        next(_records(file, ("path", "label")), None)
    except DataError as error:
        return "has no column 'label'" not in error.message
    return True


def read_places(file: Path) -> tuple[list[str], Places]:
    """What a table says of where patches lie: the paths or names of files as they are written, N, and places, [N, 2].

    Raises:
        DataError: the table cannot be read, has no column that names files or none of places, is empty, or a value is
            none.
        MissingExtraError: the places are projected, and rasterio is not installed.
    """
    reader = PlaceReader(file)
    names = [record.path for record in _records(file, ("file", *PLACE_COLUMNS), reader)]
    _refuse_repeated(file, len(names), None)
    if (places := reader.places()) is None:
        raise DataError(f"{file} names no places", RULE)
    return names, places


def read_names(file: Path) -> list[str]:
    """What a table names in its column of paths or names of files, as it is written there.

    Raises:
        DataError: the table cannot be read, has no such column, or is empty.
    """
    names = [record.path for record in _records(file, ("file",))]
    _refuse_repeated(file, len(names), None)
    return names


def read_paths(file: Path) -> Iterator[str]:
    """The files that a table names, whatever else stands in it: paths as they are opened, and URLs as they are written.

    Rows are read as they are asked for.

    Raises:
        DataError: (where it is met) the table cannot be read, has no column `path`, is empty, a row has no path or
            repeats one, or none of the files is there.
    """
    return _each_path(file, lambda: (record.path for record in _records(file, ("path",))))


def read_list(file: Path) -> Iterator[str]:
    """The files that a text file names, one a line; empty lines are passed over. Otherwise as `read_paths`."""

    def lines() -> Iterator[str]:
        try:
            with file.open(encoding="utf-8-sig") as stream:
                slashes = _Slashes(file)
                yield from (slashes(line.rstrip("\n")) for line in _lines(stream) if line.strip())
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"cannot read the list {file}: {reason}", "one path a line, in UTF-8") from None

    return _each_path(file, lines)


def is_list(file: Path) -> bool:
    """Whether a line leads to a file, or one of the first is a URL; `imgs/*` of a shell names notes among images."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(_lines(stream)):
                path = line.rstrip("\n")
                ways = {path, path.replace("\\", "/")} if path.strip() else ()
                if number < _FIRST_LINES and _URL.match(path):
                    return True
                if any(os.path.isfile(file.parent / way) for way in ways):  # noqa: PTH113 (of long lines no error)
                    return True
    except (OSError, ValueError):
        pass
    return False


_URL = re.compile("[a-z][a-z0-9+.-]*://")
_RELATIVE_URL = re.compile("file://[^/]")
"""A URL names a host there: whoever writes it means a path, which `check_paths` tells."""


def _each_path(file: Path, rows: Callable[[], Iterator[str]]) -> Iterator[str]:
    met, count, there = Met(), 0, False
    for path in rows():
        if met.again(path):
            _refuse_repeated(file, 1, path)
        count += 1
        url = "://" in path and not _RELATIVE_URL.match(path)
        there = there or url or _is_there(file.parent / path)
        yield path if url else str(file.parent / path)
    _refuse_repeated(file, count, None)
    if not there:
        check_paths(file, rows(), count)


def read_split(file: Path) -> dict[str, str]:
    """What a table says of the split: train, val or test, or another name of these, by path as it is written there.

    Raises:
        DataError: the table cannot be read, lacks the column `path` or `split`, is empty, or a row has no path or split
            or repeats a path.
    """
    records = list(_records(file, ("path", "split")))
    counts = Counter(record.path for record in records)
    _refuse_repeated(file, len(records), next((path for path, n in counts.items() if n > 1), None))
    if (empty := next((record.path for record in records if record.split is None), None)) is not None:
        raise DataError(f"{file}: {empty} has no split", "fill the column 'split', or drop the row")
    return {record.path: str(record.split) for record in records}


def check_paths(file: Path, paths: Iterable[str], count: int) -> None:
    """Raise DataError where none of a table's paths leads to a file, and say where they are looked for."""
    path = ""
    for each in paths:
        path = path or each
        if _is_there(file.parent / each):
            return
    looked_for = os.path.normpath(file.parent.absolute() / path)
    others = (Path.cwd(), *file.absolute().parent.parents[:3])
    hint = "paths in a table are absolute or relative to the table's folder"
    if place := next((other for other in others if _is_there(other / path)), None):
        hint = f"it is there from {place}: move the table to that folder, or make its paths absolute"
    elif written := next((way for way in _other_ways(path) if _is_there(file.parent / way)), None):
        hint = f"{written!r} is there: write the paths like that"
    raise DataError(
        f"{file}: none of its {count:,} paths leads to a file; {path!r} is looked for at {looked_for}", hint
    )


def _other_ways(path: str) -> Iterator[str]:
    """A path without what people write around it, and with an ending."""
    bare = path.strip().removeprefix("file://").strip()
    yield from (bare, bare.lstrip("/"), bare.lstrip("./"))
    yield from (f"{bare.lstrip('/')}{suffix}" for suffix in sorted(IMAGE_SUFFIXES))


class _Slashes:
    r"""Paths of a table or a list with `/` for Windows' `\`, if the first that has one leads to no file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._windows: bool | None = None

    def __call__(self, path: str) -> str:
        if "\\" not in path:
            return path
        if self._windows is None:
            self._windows = not _is_there(self._file.parent / path)
            if self._windows:
                once(logging.INFO, f"{self._file}: \\ in its paths is read as /")
        return path.replace("\\", "/") if self._windows else path


def _refuse_repeated(file: Path, count: int, repeated: str | None) -> None:
    if not count:
        raise DataError(f"{file} has no rows", "a table of patches has one row per image")
    if repeated is not None:
        raise DataError(f"{file}: the path {repeated} stands in two rows", "keep one row per image")


def _is_there(path: Path) -> bool:
    try:
        os.stat(path)  # noqa: PTH116 (fast)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):  # reading it will tell why
        return True
    return True


def _records(file: Path, wanted: Sequence[str], reader: PlaceReader | None = None) -> Iterator[Record]:
    """The rows of a table; their places go to `reader`, whose columns are the last of those wanted."""
    is_csv = file.suffix.lower() == ".csv"
    slashes = _Slashes(file)
    try:
        rows = _csv_rows(file, wanted) if is_csv else _parquet_rows(file, wanted)
        texts = len(wanted) - 1 - (0 if reader is None else len(PLACE_COLUMNS))
        for number, (path, *others) in enumerate(rows, start=1):
            row = f"{file}: row {number} below the header"
            if reader is not None:
                reader.add(row, others[texts:])
            values = [value.strip() for value in others[:texts]]
            _check_row(row, path, dict(zip(wanted[1:], values, strict=False)))
            if number > MAX_ROWS:
                raise DataError(f"{file} has more than {MAX_ROWS:,} rows", "divide it")
            if wanted[0] == "path":  # other names are looked up, not opened
                path = slashes(path)
            named = dict(zip(wanted[1:], values, strict=False))
            yield Record(path, named.get("label", ""), named.get("split") or None, named.get("group") or None)
    except LandsiftError:
        raise
    except Exception as error:  # what the parsers meet: csv.Error, OSError, UnicodeError, pyarrow's of five bases
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        kind = "CSV" if is_csv else "Parquet"
        hint = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else f"is it a {kind} file that may be read?"
        raise DataError(f"cannot read the table {file}: {reason}", hint) from error


def _check_row(row: str, path: str, values: Mapping[str, str]) -> None:
    """Refuse what is no path and no name."""
    if not path or ("label" in values and not values["label"]):
        raise DataError(f"{row} has no {'label' if path else 'path'}", "fill it in or drop the row")
    for column, value in values.items():
        if value.lower() in _MISSING:
            hint = "fill it in or drop the row" if column == "label" else "fill it in or leave it empty"
            raise DataError(f"{row} has the {column} '{value}', which stands for a missing value", hint)
    if "\0" in path or len(path) > _MAX_PATH or sum(map(len, values.values())) > _MAX_NAME:
        what = "a path with a NUL" if "\0" in path else "a path or name too long to be one"
        raise DataError(f"{row} has {what}", "are its quotes closed?")


def _csv_rows(file: Path, wanted: Sequence[str]) -> Iterator[list[str]]:
    """The wanted columns, as they are written: a class may be called "NA" and a group "007"."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        lines = csv.reader(_lines(stream), strict=True)
        header = next(lines, None)
        if header is None:
            raise ValueError("the file is empty")
        places = positions(file, header, wanted)
        others = unused(header, places)
        rows = _complete(lines, len(header))
        first = list(islice(rows, _SAMPLE))
        _tell_others(file, wanted, header, others, {i: [row[i] for row in first] for i in others})
        for fields in chain(first, rows):
            yield ["" if at is None else fields[at] for at in places]


def _complete(lines: Any, width: int) -> Iterator[list[str]]:
    """The rows of a CSV reader, each as wide as its header; raises ValueError for one that is wider."""
    for fields in lines:
        if not fields:  # a blank line
            continue
        if any(fields[width:]):
            raise ValueError(f"line {lines.line_num} has {len(fields)} fields where the header has {width}")
        yield fields[:width] + [""] * (width - len(fields))


def _lines(stream: Any) -> Iterator[str]:
    while line := stream.readline(_MAX_LINE):
        if len(line) == _MAX_LINE:
            raise ValueError(f"a line is longer than {_MAX_LINE:,} characters")
        yield line


def _parquet_rows(file: Path, wanted: Sequence[str]) -> Iterator[list[str]]:
    """The wanted columns as text; of the others, a look at the first rows."""
    needs("pyarrow", extra="train", what="a Parquet table")
    from pyarrow import parquet, types

    with file.open("rb") as stream, parquet.ParquetFile(stream) as table:
        schema = table.schema_arrow
        places = positions(file, schema.names, wanted)
        fields = [None if at is None else schema.field(at) for at in places]
        names = [field.name for field in fields if field is not None]
        for field in fields:
            if field is not None and types.is_nested(field.type):
                raise ValueError(f"column '{field.name}' holds {field.type}, not text")
        _refuse_bomb(file, table.metadata)
        others = unused(schema.names, places)
        texts = [i for i in others if _is_text(schema.field(i).type) and schema.names.count(schema.names[i]) == 1]
    samples = _first_rows(file, [schema.names[i] for i in texts])
    _tell_others(file, wanted, schema.names, others, dict(zip(texts, samples, strict=True)))
    # As dictionaries, because one long value may stand in every row.
    with file.open("rb") as stream, parquet.ParquetFile(stream, read_dictionary=names) as table:
        for batch in table.iter_batches(CHUNK, columns=names):
            columns = ([""] * len(batch) if field is None else _texts(batch.column(field.name)) for field in fields)
            yield from map(list, zip(*columns, strict=True))


def _first_rows(file: Path, names: Sequence[str]) -> list[list[str]]:
    """The first values of some columns of text."""
    from pyarrow import parquet

    if not names:
        return []
    with file.open("rb") as stream, parquet.ParquetFile(stream, read_dictionary=list(names)) as table:
        batch = next(table.iter_batches(_SAMPLE, columns=list(names)), None)
        return [_texts(batch.column(name)) if batch is not None else [] for name in names]


def _is_text(kind: pa.DataType) -> bool:
    from pyarrow import types

    value = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(value) or types.is_large_string(value))


def _tell_others(
    file: Path, wanted: Sequence[str], header: Sequence[str], others: Sequence[int], samples: Mapping[int, list[str]]
) -> None:
    """Say which columns are not used, and refuse one that holds the split under another name."""
    names = [name.strip() for name in header]
    if "split" in wanted and "split" not in names:
        refuse_split_values(file, {names[i]: values for i, values in samples.items()})
    tell_unused(file, [names[i] for i in others], wanted)


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
