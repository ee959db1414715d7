"""The labelled patches of a source before they are decoded, kept by column so that a million take some 50 MB."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 2**14
"""Records that are Python objects at once."""
UNLABELLED = -1
"""The label of a patch that nobody has labelled."""
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


class Record(NamedTuple):
    """One labelled patch."""

    path: str
    """Relative to the source's root, with forward slashes; absolute only where a table says so."""
    label: str | None
    """The class's name; None: nobody has labelled it."""
    split: str | None = None
    group: str | None = None


def class_order(names: Sequence[str]) -> list[int]:
    """The positions of class names in their order: as text; where all of them are numbers, by value."""
    if all(_NUMBER.fullmatch(name) for name in names):
        return sorted(range(len(names)), key=lambda at: (Decimal(names[at]), names[at]))
    return sorted(range(len(names)), key=names.__getitem__)


class Records:
    """Labelled patches; `records[row]` and iterating give each as a Record.

    Attributes:
        table: A column for each field of Record: `path` as text, the others dictionary-encoded.
        names: Those of the records' classes, in order of appearance.
        classes: The same, sorted as text; where all of them are numbers, by value.
        labels: Position of each record's class in `classes`, int64 [N]; -1 where it has none.
        places: Longitude and latitude of each patch's centre in degrees (WGS 84), [N, 2], NaN where it is not known;
            None: none is known.
    """

    def __init__(self, table: pa.Table, places: NDArray[np.float64] | None = None) -> None:
        self.table = table.unify_dictionaries().combine_chunks()
        self._paths = self.table["path"].chunk(0)
        label = self.table["label"].chunk(0)
        self.names: list[str] = label.dictionary.to_pylist()
        order = np.array(class_order(self.names), dtype=np.int64)
        self.classes: tuple[str, ...] = tuple(self.names[at] for at in order)
        positions = np.append(np.argsort(order), UNLABELLED)  # which -1 picks the last of
        self.labels: NDArray[np.int64] = positions[label.indices.fill_null(-1).to_numpy()]
        self.places = places

    @classmethod
    def of(cls, records: Iterable[Record]) -> Self:
        """Gather records."""
        import pyarrow as pa

        name = pa.dictionary(pa.int32(), pa.string())
        schema = pa.schema({"path": pa.large_string(), "label": name, "split": name, "group": name})
        records = iter(records)
        chunks = []
        while chunk := list(islice(records, CHUNK)):
            arrays = [
                pa.array(values, kind) for values, kind in zip(zip(*chunk, strict=True), schema.types, strict=True)
            ]
            chunks.append(pa.Table.from_arrays(arrays, schema=schema))
        return cls(pa.concat_tables(chunks) if chunks else schema.empty_table())

    def sorted(self) -> Records:
        """By class, then by path."""
        import pyarrow as pa
        from pyarrow import compute

        keys = pa.table({"label": self.labels, "path": self._paths})
        order = compute.sort_indices(keys, sort_keys=[("label", "ascending"), ("path", "ascending")])
        return Records(self.table.take(order), None if self.places is None else self.places[order.to_numpy()])

    def repeated_path(self) -> str | None:
        """A path that stands in two records."""
        from pyarrow import compute

        ordered = self._paths.take(compute.sort_indices(self._paths))
        repeated = compute.index(compute.equal(ordered[1:], ordered[:-1]), True).as_py()
        return None if repeated < 0 else str(ordered[repeated])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> Record:
        return Record(*(column[row].as_py() for column in self.table.columns))

    def path(self, row: int) -> str:
        """The same as `records[row].path`, some twenty times as fast."""
        return str(self._paths[row].as_py())

    def __iter__(self) -> Iterator[Record]:
        for batch in self.table.to_batches(CHUNK):
            yield from map(Record._make, zip(*(column.to_pylist() for column in batch.columns), strict=True))
