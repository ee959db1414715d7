"""What a model says beside its probabilities: sets of classes, where it abstains, and what lies out of distribution.

model/
  trust.json          thresholds, and what they were chosen from
  trust.safetensors   features of the training patches in short: means of classes, directions, spreads

Both are optional. `landsift.evaluation.trust` makes them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from landsift.errors import ModelError, RunError
from landsift.models.model_json import ModelDescription
from landsift.runs import read_json, write_bytes, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRUST_FILE = "trust.json"
FEATURES_FILE = "trust.safetensors"
FORMAT = 1
_MAX_BYTES = 2**26
_AT_A_TIME = 4096

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Thresholds:
    """The content of trust.json.

    Attributes:
        classes: names, in the order of the probabilities.
        temperature: of the model that they belong to.
        coverage: share of patches whose set is to hold their class.
        sets: "marginal": over all patches; "class": over those of each class.
        least: per class, the least probability with which it is in a set.
        risk: share of mistakes among the answered patches that is to be kept; None where no threshold was shown to.
        confidence: the least with which a patch is answered; None likewise.
        distance: the largest of a patch that is in distribution.
        landsift: version that wrote it.
        format: version of this layout.
    """

    classes: tuple[str, ...]
    temperature: Finite | None
    coverage: Share
    sets: Literal["marginal", "class"]
    least: tuple[Share, ...]
    risk: Share | None
    confidence: Share | None
    distance: Finite
    landsift: str
    format: int = FORMAT

    def __post_init__(self) -> None:
        if len(self.least) != len(self.classes):
            raise ValueError(f"least has {len(self.least)} numbers for {len(self.classes)} classes")


@dataclass(frozen=True, eq=False)
class Distances:
    """Mahalanobis distance to the nearest class, with one covariance for all classes (Lee et al. 2018).

    The covariance is that of probabilistic principal components (Tipping & Bishop 1999): it has spreads of its own
    along r directions, and one for all others, so that features of 1,280 numbers need no matrix of 1,280².

    Attributes:
        means: of the features of each class that has training patches, [k, D].
        directions: orthonormal, [r, D].
        spreads: variance along each direction, [r].
        rest: variance along all others.
    """

    means: NDArray[np.float32]
    directions: NDArray[np.float32]
    spreads: NDArray[np.float32]
    rest: float

    def __call__(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Squared distances, [N], of features [N, D], over D: about 1 for patches like those of the training."""
        parts = [self._of(features[i : i + _AT_A_TIME]) for i in range(0, len(features), _AT_A_TIME)]
        return np.concatenate(parts) if parts else np.empty(0)

    def _of(self, features: NDArray[Any]) -> NDArray[np.float64]:
        means, directions = self.means.astype(np.float64), self.directions.astype(np.float64)
        origin = means.mean(axis=0)
        x, m = features.astype(np.float64) - origin, means - origin  # [N, D], [K, D]
        apart = np.square(x).sum(axis=1)[:, None] - 2 * x @ m.T + np.square(m).sum(axis=1)  # [N, K]
        z, c = x @ directions.T, m @ directions.T  # [N, r], [K, r]
        weights = 1 / self.spreads.astype(np.float64) - 1 / self.rest
        along = (np.square(z) @ weights)[:, None] - 2 * (z * weights) @ c.T + np.square(c) @ weights
        found: NDArray[np.float64] = (apart / self.rest + along).min(axis=1) / means.shape[1]
        return found


@dataclass(frozen=True, eq=False)
class Judged:
    """What is said of N patches.

    Attributes:
        sets: whether each class is in the set, bool [N, K].
        abstain: whether the patch is not answered, bool [N]; None where no threshold was shown to keep the risk.
        ood: whether the patch is out of distribution, bool [N].
        distance: of its features, float64 [N].
    """

    sets: NDArray[np.bool_]
    abstain: NDArray[np.bool_] | None
    ood: NDArray[np.bool_]
    distance: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trust:
    """Thresholds and distances of a model."""

    thresholds: Thresholds
    distances: Distances

    def judge(self, probabilities: NDArray[Any], distance: NDArray[np.float64]) -> Judged:
        """Judge patches.

        Args:
            probabilities: calibrated, float [N, K].
            distance: of the features of the same patches (`distances`), float [N].
        """
        ood = ~(distance <= self.thresholds.distance)  # NaN is far away
        return Judged(self.sets(probabilities), self.abstain(probabilities, ood), ood, distance)

    def sets(self, probabilities: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether each class is in the set of each patch, bool [N, K]; the most probable one always is."""
        return with_predicted(probabilities >= np.asarray(self.thresholds.least), probabilities)

    def abstain(self, probabilities: NDArray[Any], ood: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
        """Whether each patch is out of distribution, or less probable to be right than is needed, bool [N]."""
        if self.thresholds.confidence is None:
            return None
        found: NDArray[np.bool_] = ood | (probabilities.max(axis=1) < self.thresholds.confidence)
        return found


def with_predicted(sets: NDArray[np.bool_], probabilities: NDArray[Any]) -> NDArray[np.bool_]:
    """Sets, bool [N, K], with the most probable class in each.

    A coverage below the accuracy takes thresholds that leave sets empty, just those of the least sure patches. An empty
    set says nothing; with its most probable class the coverage is only higher.
    """
    found = sets.copy()
    found[np.arange(len(found)), probabilities.argmax(axis=1)] = True
    return found


def set_names(sets: NDArray[np.bool_], probabilities: NDArray[Any], classes: Sequence[str]) -> list[str]:
    r"""Sets as text: names, the most probable first, with | between them; a | within a name is written as \|."""
    names = [name.replace("|", r"\|") for name in classes]
    order = np.argsort(-probabilities, axis=1, kind="stable")
    return ["|".join(names[k] for k in row if inside[k]) for row, inside in zip(order, sets, strict=True)]


def columns(judged: Judged, probabilities: NDArray[Any], classes: Sequence[str]) -> dict[str, Any]:
    """The columns of a table of predictions: `set`, `abstain` (where there is a threshold) and `ood`."""
    table: dict[str, Any] = {"set": set_names(judged.sets, probabilities, classes)}
    if judged.abstain is not None:
        table["abstain"] = judged.abstain
    return table | {"ood": judged.ood}


def write_trust(trust: Trust, folder: Path) -> None:
    """Write both files into a model's folder; trust.json last, without which the other is not read."""
    from safetensors.numpy import save

    distances = trust.distances
    arrays = {
        "means": distances.means,
        "directions": distances.directions,
        "spreads": distances.spreads,
        "rest": np.array([distances.rest]),
    }
    write_bytes(
        folder / FEATURES_FILE, save({name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()})
    )
    write_json(folder / TRUST_FILE, asdict(trust.thresholds))


def read_trust(folder: Path, description: ModelDescription) -> Trust | None:
    """Read both files of a model's folder; None where there is no trust.json.

    Raises:
        ModelError: a file is damaged or missing, or belongs to another model.
    """
    file = folder / TRUST_FILE
    if not file.exists():
        return None
    hint = f"delete {TRUST_FILE} to use the model without sets, abstention and ood"
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES >> 20} MiB")
        stored = read_json(file)
        if isinstance(stored, dict) and isinstance(number := stored.get("format"), int) and number > FORMAT:
            raise ModelError(f"{file}: format {str(number)[:20]} is of a newer landsift", f"update landsift, or {hint}")
        if isinstance(stored, dict) and (unknown := set(stored) - {field.name for field in fields(Thresholds)}):
            raise ValueError(f"unknown key '{min(unknown)[:40]}'")
        thresholds = TypeAdapter(Thresholds).validate_json(json.dumps(stored))
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(f"{file} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}"[:300], hint) from None
    except (OSError, RunError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} is damaged: {error}"[:300], hint) from None
    if thresholds.classes != description.classes or thresholds.temperature != description.temperature:
        raise ModelError(f"{file} belongs to another model: its classes or temperature are others", hint)
    return Trust(thresholds, _distances(folder / FEATURES_FILE, hint))


def _distances(file: Path, hint: str) -> Distances:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(file)
        means, directions = arrays["means"], arrays["directions"]
        spreads, rest = arrays["spreads"], float(arrays["rest"][0])
        if means.ndim != 2 or not len(means) or directions.shape != (len(spreads), means.shape[1]):
            raise ValueError("its arrays do not fit each other")
        if not all(np.isfinite(array).all() for array in arrays.values()) or rest <= 0 or (spreads <= 0).any():
            raise ValueError("it holds values that are no variances")
    except FileNotFoundError:
        raise ModelError(f"{file} is missing", hint) from None
    except (OSError, SafetensorError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ModelError(f"{file} is damaged: {' '.join(str(error).split())}"[:300], hint) from None
    return Distances(means, directions, spreads, rest)
