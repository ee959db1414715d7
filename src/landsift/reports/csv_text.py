"""CSV tables as text: one record a line, plain headers, numbers as they were measured."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def csv_text(columns: Sequence[str], records: Iterable[Mapping[str, Any]]) -> str:
    """A table with a header line; what a record lacks is empty, and its other keys are left out."""
    return csv_rows([columns, *([record.get(name) for name in columns] for record in records)])


def csv_rows(rows: Iterable[Sequence[Any]]) -> str:
    """A table of rows, the header among them."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([_plain(value) for value in row] for row in rows)
    return file.getvalue()


def _plain(value: Any) -> Any:
    """A value in one field: truth in lower case as in JSON, a list with spaces between."""
    if isinstance(value, bool):
        return str(value).lower()
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value
