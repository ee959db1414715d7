"""The table beside a store's images: written in pieces, read column by column, so that memory stays small."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from landsift.data.sources.records import Records

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("path", "label", "sha256", "group", "split", "lon", "lat")
_CHUNK = 2**14  # rows per piece


def write_index(
    path: Path,
    records: Records,
    rows: NDArray[np.int64],
    hashes: NDArray[np.uint8],
    places: NDArray[np.float64] | None = None,
) -> None:
    """Write a row per patch: path, label (int64; -1: none), sha256 (hex), group, split and, if any is known, lon, lat.

    Args:
        path: The Parquet file.
        records: All patches of the source.
        rows: Those to write, [N].
        hashes: SHA-256 of their pixels, [N, 32].
        places: Longitude and latitude of all patches of the source, [M, 2], NaN where unknown; None: none is known.
    """
    import pyarrow as pa
    from pyarrow import parquet

    text = pa.string()
    schema = pa.schema({"path": text, "label": pa.int64(), "sha256": text, "group": text, "split": text})
    if places is not None:
        schema = schema.append(pa.field("lon", pa.float64())).append(pa.field("lat", pa.float64()))
    # Files opened by Python, because pyarrow takes no path that is not UTF-8.
    with (
        path.open("wb") as file,
        parquet.ParquetWriter(file, schema, use_dictionary=["label", "group", "split"]) as writer,
    ):
        for start in range(0, len(rows), _CHUNK):
            part = slice(start, start + _CHUNK)
            texts = records.table.take(pa.array(rows[part]))
            columns = {
                "path": texts["path"],
                "label": pa.array(records.labels[rows[part]]),
                "sha256": [row.tobytes().hex() for row in hashes[part]],
                "group": texts["group"],
                "split": texts["split"],
            }
            if places is not None:
                columns |= {"lon": pa.array(places[rows[part], 0]), "lat": pa.array(places[rows[part], 1])}
            writer.write_table(pa.table(columns).cast(schema))


def read_column(path: Path, name: str) -> pa.ChunkedArray:
    """One column; `group` and `split` dictionary-encoded.

    Raises:
        OSError, ValueError: the file cannot be read or parsed.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with path.open("rb") as file, parquet.ParquetFile(file, read_dictionary=["group", "split"]) as table:
        column = table.read(columns=[name])[name]
    kind = {"path": pa.string(), "sha256": pa.string(), "label": pa.int64()}.get(name)
    if kind is not None and (column.type != kind or column.null_count):
        raise ValueError(f"column {name} is not as it was written")
    column.validate(full=True)  # Parquet itself does not see to it that text is UTF-8
    return column


def read_places(path: Path) -> NDArray[np.float64]:
    """Longitude and latitude of each patch's centre in degrees, float64 [N, 2], NaN where it is not known.

    Raises:
        OSError, ValueError: the file cannot be read or parsed.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with path.open("rb") as file, parquet.ParquetFile(file) as table:
        if "lon" not in table.schema_arrow.names:
            return np.full((table.metadata.num_rows, 2), np.nan)
        columns = table.read(columns=["lon", "lat"])
    if any(columns[name].type != pa.float64() or columns[name].null_count for name in ("lon", "lat")):
        raise ValueError("columns lon and lat are not as they were written")
    return np.stack([columns["lon"].to_numpy(), columns["lat"].to_numpy()], axis=1)


def read_contents(path: Path) -> NDArray[np.int64]:
    """A number per patch, equal for patches with equal pixels, in order of appearance: int64 [N].

    Goes by the first eight bytes of each hash: of a million different patches, two share them in one of 40 million
    stores.

    Raises:
        OSError, ValueError: the file cannot be read or parsed.
    """
    import pandas as pd
    from pyarrow import parquet

    with path.open("rb") as file, parquet.ParquetFile(file) as table:
        keys = np.empty(table.metadata.num_rows, dtype=np.uint64)
        done = 0
        for group in range(table.num_row_groups):  # iterating over batches would keep what was read
            texts = table.read_row_group(group, columns=["sha256"])["sha256"].to_pylist()
            hashes = np.frombuffer(bytes.fromhex("".join(texts)), dtype=np.uint8).reshape(-1, 32)
            keys[done : done + len(hashes)] = hashes[:, :8].copy().view(np.uint64)[:, 0]
            done += len(hashes)
    return pd.factorize(keys)[0].astype(np.int64, copy=False)


def contradictions(contents: NDArray[np.int64], labels: NDArray[np.int64]) -> int:
    """How many contents stand in more than one class; patches without a label stand in none."""
    contents, labels = contents[labels >= 0], labels[labels >= 0]
    if not len(contents):
        return 0
    one = np.empty(contents.max() + 1, dtype=np.int64)
    one[contents] = labels
    return len(np.unique(contents[labels != one[contents]]))
