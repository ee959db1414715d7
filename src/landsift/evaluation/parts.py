"""One part of a prediction: the function that any worker runs, and the small description that it is given."""

from __future__ import annotations

import functools
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from landsift.data.decoding.patches import Patches
from landsift.data.decoding.wanted import Wanted
from landsift.data.unlabelled.entries import read_slice
from landsift.errors import ModelError, RunError
from landsift.evaluation.in_chunks import Answered, Loaded, in_chunks
from landsift.evaluation.model_files import files_for
from landsift.evaluation.part_files import write_part
from landsift.evaluation.predict import Predictions, predictions_of
from landsift.evaluation.told import Told
from landsift.models.loading import fingerprint_of, load_model
from landsift.runtime.memory_allocator import keep_freed_memory


@dataclass(frozen=True)
class Part:
    """What a worker needs to know of a part; paths are absolute, and it sees the same files there.

    Attributes:
        number: of the part, from 0.
        plan: of the prediction that it belongs to, as its manifest has it.
        model: path of the model.
        fingerprint: of its files (`fingerprint_of`).
        module: as of `load_model`.
        reading: as of `predict_files`, in JSON.
        folder: from which relative paths of entries go.
        list: path of the list of all entries.
        start: where in it those of the part begin, in bytes.
        count: how many they are.
        out: path of the file to write, .parquet or .npz.
    """

    number: int
    plan: str
    model: str
    fingerprint: str
    module: str | None
    reading: str
    folder: str
    list: str
    start: int
    count: int
    out: str


class PartDone(NamedTuple):
    """What became of a part."""

    number: int
    entries: int
    rows: int
    seconds: float
    """That it took."""
    model_seconds: float
    """That the model took of them."""


def predict_part(part: Part, advance: Callable[[int], object] | None = None) -> PartDone:
    """Classify the entries of a part and write its file.

    The model stays loaded in this process for the next part.

    Args:
        part: what is to be done.
        advance: called with the number of entries that are done since; None where nobody waits in this process.

    Raises:
        DataError: an archive or an object store cannot be read any more.
        ModelError: there is no such model any more.
        RunError: the part cannot be written.
    """
    begun = time.perf_counter()
    loaded = loaded_model(part.model, part.fingerprint, part.module, part.reading, part.folder)
    try:
        entries = read_slice(Path(part.list), part.start, part.count)
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {part.list}: {error}", "run the command again") from None
    found, told = list[Answered](), Told()
    for chunk in in_chunks(loaded, entries, told):
        found.append(chunk._replace(images=chunk.images[:0]))
        if advance is not None:
            advance(chunk.entries)
    told.heard = loaded.patches.take()
    predictions = predictions_of(loaded, found)
    seconds, of_model = time.perf_counter() - begun, sum(chunk.seconds for chunk in found)
    note = {"plan": part.plan, "number": part.number, "seconds": seconds, "model_seconds": of_model}
    write_part(Path(part.out), predictions, note | note_of(predictions, found, told))
    return PartDone(part.number, part.count, len(predictions.paths), seconds, of_model)


def note_of(predictions: Predictions, found: list[Answered], told: Told) -> dict[str, Any]:
    """What is noted with a part, values of JSON: counts, what could not be read, and what is to be said."""
    judged = predictions.judged
    abstain = None if judged is None or judged.abstain is None else int(judged.abstain.sum())
    return {
        "rows": len(predictions.paths),
        "predicted": dict(Counter(predictions.predicted)),
        "abstain": abstain,
        "ood": None if judged is None else int(judged.ood.sum()),
        "places": bool(np.isfinite(predictions.places).any()),
        "unreadable": [(path, why.text, why.cause.name) for chunk in found for path, why in chunk.unreadable],
        "told": told.to_json(),
    }


@functools.lru_cache(maxsize=1)
def loaded_model(model: str, fingerprint: str, module: str | None, reading: str, folder: str) -> Loaded:
    """The model of a part, loaded once; arguments as of `Part`.

    Raises:
        ModelError: it cannot be loaded, or is another than when the work began.
    """
    keep_freed_memory()
    predictor = load_model(model, module=module)
    if fingerprint_of(model) != fingerprint:
        raise ModelError(f"{model} was replaced while it was at work", "run the command again")
    data = files_for(predictor.description, json.loads(reading))
    return Loaded(predictor, Patches(Wanted.of(*data)), folder)
