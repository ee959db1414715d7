"""Parts of a prediction as files, and what becomes of them: one table, or a folder of Parquet files.

Parts of a folder are Parquet, for whoever reads the folder. Those of one file are NumPy's .npz, from which the file is
written in the end, CSV without pandas. A part holds its own notes, so that it is there whole or not at all.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from landsift.evaluation.predict import Predictions
from landsift.evaluation.predictions import write_csv_parts
from landsift.models.trust import Judged
from landsift.runtime.whole import write_whole

NOTE = b"landsift"
"""Key of a Parquet part's metadata."""
_JUDGED = ("sets", "abstain", "ood", "distance")


def write_part(file: Path, predictions: Predictions, note: dict[str, Any]) -> None:
    """Write a part, .parquet or .npz by its name, whole or not at all.

    Args:
        file: to write.
        predictions: of its entries.
        note: what `read_note` gives, values of JSON.

    Raises:
        RunError: it cannot be written.
    """
    said = json.dumps(note, allow_nan=False).encode()
    if file.suffix == ".parquet":
        import pyarrow as pa
        from pyarrow import parquet

        table = pa.Table.from_pandas(_frame(predictions, places=True), preserve_index=False)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), NOTE: said})
        write_whole(file, lambda partial: parquet.write_table(table, partial))
        return
    arrays: dict[str, Any] = {"probabilities": predictions.probabilities, "places": predictions.places}
    arrays |= {"paths": _bytes(json.dumps(predictions.paths).encode()), "note": _bytes(said)}
    arrays |= {"classes": _bytes(json.dumps(predictions.classes).encode())}
    if predictions.judged is not None:
        found = {name: getattr(predictions.judged, name) for name in _JUDGED}
        arrays |= {name: values for name, values in found.items() if values is not None}

    def write(partial: Path) -> None:
        with partial.open("wb") as stream:  # by name NumPy would add an ending
            np.savez(stream, **arrays)

    write_whole(file, write)


def read_note(file: Path) -> dict[str, Any] | None:
    """What was noted with a part; None where there is none that can be read."""
    try:
        if file.suffix == ".parquet":
            from pyarrow import parquet

            metadata = parquet.read_schema(file).metadata or {}
            said = metadata[NOTE]
        else:
            with np.load(file, allow_pickle=False) as arrays:
                said = arrays["note"].tobytes()
        return dict(json.loads(said))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # pyarrow's errors are some of these
        return None


def read_part(file: Path) -> Predictions:
    """A part of one file's."""
    with np.load(file, allow_pickle=False) as arrays:
        judged = None
        if "sets" in arrays:
            abstain = arrays.get("abstain")
            judged = Judged(arrays["sets"], abstain, arrays["ood"], arrays["distance"])
        paths, classes = (json.loads(arrays[name].tobytes()) for name in ("paths", "classes"))
        return Predictions(paths, tuple(classes), arrays["probabilities"], [], arrays["places"], judged)


def join(parts: Sequence[Path], out: Path, *, places: bool) -> None:
    """Write one table, .csv or .parquet, of parts in their order; one part is in memory at a time.

    Args:
        parts: .npz.
        out: to write, whole or not at all.
        places: whether one of them knows the place of a file.

    Raises:
        RunError: it cannot be written.
    """
    each = (read_part(part) for part in parts)
    if out.suffix == ".parquet":
        write_whole(out, lambda partial: _write_parquet(partial, each, places=places))
    else:
        write_csv_parts(out, (predictions.columns(places) for predictions in each))


def _write_parquet(partial: Path, each: Iterable[Predictions], *, places: bool) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    writer: Any = None
    try:
        for predictions in each:
            table = pa.Table.from_pandas(_frame(predictions, places=places), preserve_index=False)
            writer = writer or parquet.ParquetWriter(partial, table.schema)
            writer.write_table(table.cast(writer.schema))
    finally:
        if writer is not None:
            writer.close()


def _frame(predictions: Predictions, *, places: bool) -> Any:
    """As a table with the same types however many rows it has."""
    import pandas as pd

    frame = pd.DataFrame(predictions.columns(places))
    texts = [name for name in ("path", "predicted", "set") if name in frame]
    return frame.astype(dict.fromkeys(texts, "str"))


def _bytes(raw: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(raw, dtype=np.uint8)
