"""The files of a model's thresholds, and the same within a file that was exported.

model/
  trust.json          thresholds, and which files they belong to
  trust.safetensors   features of the training patches in short: means of classes, directions, spreads

Both are optional. An exported model has them as JSON in its metadata, if it has any.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from landsift.errors import ModelError, RunError
from landsift.models.model_json import WEIGHTS_FILE, ModelDescription
from landsift.models.trust import FORMAT, Distances, Thresholds, Trust
from landsift.runs import read_json, write_bytes, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger("landsift")

TRUST_FILE = "trust.json"
FEATURES_FILE = "trust.safetensors"
_MAX_BYTES = 2**26


def write_trust(trust: Trust, folder: Path) -> None:
    """Write both files into a model's folder; trust.json last, without which the other is not read."""
    from safetensors.numpy import save

    content = save(arrays_of(trust.distances))
    weights = folder / WEIGHTS_FILE
    own = replace(trust.thresholds, weights=_sha256(weights) if weights.is_file() else None, features=_sha256(content))
    write_bytes(folder / FEATURES_FILE, content)
    write_json(folder / TRUST_FILE, asdict(own))


def read_trust(folder: Path, description: ModelDescription) -> Trust | None:
    """Read both files of a model's folder; None where there is no trust.json.

    Raises:
        ModelError: a file is damaged or missing, or belongs to another model.
    """
    file, features = folder / TRUST_FILE, folder / FEATURES_FILE
    if not file.exists():
        if features.exists():
            logger.warning("%s is missing beside %s: no sets, abstention and ood", file, FEATURES_FILE)
        return None
    hint = f"delete {TRUST_FILE} to use the model without sets, abstention and ood"
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES >> 20} MiB")
        stored = read_json(file)
    except (OSError, RunError, ValueError) as error:
        raise ModelError(f"{file} is damaged: {error}"[:300], hint) from None
    thresholds = thresholds_of(file, stored, description, hint)
    whole = f"copy all files of the run's folder model/ together, or {hint}"
    if thresholds.weights is not None and thresholds.weights != _sha256(folder / WEIGHTS_FILE):
        raise ModelError(f"{file} belongs to another model: its weights are not those of {WEIGHTS_FILE}", whole)
    distances = _distances(features, hint)
    if thresholds.features is not None and thresholds.features != _sha256(features):
        raise ModelError(f"{features} is not the file that {TRUST_FILE} was written with", whole)
    return Trust(thresholds, distances)


def thresholds_of(file: Path, stored: Any, description: ModelDescription, hint: str) -> Thresholds:
    """What a file says of thresholds, checked.

    Args:
        file: that holds them.
        stored: its content, or the part of it that is about them.
        description: of the model that they should belong to.
        hint: what to do where they cannot be used.

    Raises:
        ModelError: they are damaged, of a newer landsift, or belong to another model.
    """
    try:
        if isinstance(stored, dict) and isinstance(number := stored.get("format"), int) and number > FORMAT:
            raise ModelError(f"{file}: format {str(number)[:20]} is of a newer landsift", f"update landsift, or {hint}")
        if isinstance(stored, dict) and (unknown := set(stored) - {field.name for field in fields(Thresholds)}):
            raise ValueError(f"unknown key '{min(unknown)[:40]}'")
        thresholds = TypeAdapter(Thresholds).validate_json(json.dumps(stored))
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(f"{file} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}"[:300], hint) from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file} is damaged: {error}"[:300], hint) from None
    if thresholds.classes != description.classes or thresholds.temperature != description.temperature:
        raise ModelError(f"{file} belongs to another model: its classes or temperature are others", hint)
    return thresholds


def arrays_of(distances: Distances) -> dict[str, NDArray[np.float32]]:
    """What a file holds of distances: float32 arrays by name."""
    arrays = {
        "means": distances.means,
        "directions": distances.directions,
        "spreads": distances.spreads,
        "rest": np.array([distances.rest]),
    }
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def distances_of(arrays: Mapping[str, NDArray[Any]]) -> Distances:
    """Distances from what `arrays_of` returned.

    Raises:
        ValueError: the arrays do not fit each other, or hold values that are none.
        KeyError: one is missing; IndexError, TypeError: likewise of damaged ones.
    """
    means, directions = arrays["means"], arrays["directions"]
    spreads, rest = arrays["spreads"], float(arrays["rest"][0])
    if means.ndim != 2 or not len(means) or directions.shape != (len(spreads), means.shape[1]):
        raise ValueError("its arrays do not fit each other")
    if not all(np.isfinite(array).all() for array in arrays.values()) or rest <= 0 or (spreads <= 0).any():
        raise ValueError("it holds values that are no variances")
    return Distances(means, directions, spreads, rest)


def to_json(trust: Trust) -> dict[str, Any]:
    """Thresholds and distances as plain values; arrays as their shapes and, in base64, little-endian float32."""
    arrays = {
        name: {"shape": list(array.shape), "float32": base64.b64encode(array.astype("<f4").tobytes()).decode("ascii")}
        for name, array in arrays_of(trust.distances).items()
    }
    return {"thresholds": asdict(trust.thresholds), "distances": arrays}


def from_json(file: Path, stored: Any, description: ModelDescription) -> Trust:
    """What `to_json` made.

    Raises:
        ModelError: it is damaged, of a newer landsift, or belongs to another model.
    """
    hint = "export the model again"
    try:
        thresholds, arrays = stored["thresholds"], dict(stored["distances"])
        found = {
            name: np.frombuffer(base64.b64decode(each["float32"], validate=True), "<f4").reshape(each["shape"])
            for name, each in arrays.items()
        }
        distances = distances_of(found)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ModelError(f"{file}: its thresholds are damaged: {' '.join(str(error).split())}"[:300], hint) from None
    return Trust(thresholds_of(file, thresholds, description, hint), distances)


def _distances(file: Path, hint: str) -> Distances:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return distances_of(load_file(file))
    except FileNotFoundError:
        raise ModelError(f"{file} is missing", hint) from None
    except (OSError, SafetensorError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ModelError(f"{file} is damaged: {' '.join(str(error).split())}"[:300], hint) from None


def _sha256(content: Path | bytes) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
