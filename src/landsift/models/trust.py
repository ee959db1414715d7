"""What a model says beside its probabilities: sets of classes, where it abstains, and what lies out of distribution.

`landsift.evaluation.trust` chooses the thresholds, `trust_files` writes and reads them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from landsift.errors import listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger("landsift")

FORMAT = 2
"""Thresholds of format 1 do not name the files that they belong to."""
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
        weights: SHA-256 of the model.safetensors that they belong to; None: not known.
        features: SHA-256 of the trust.safetensors that they belong to; None: not known.
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
    weights: str | None = None
    features: str | None = None
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
        distance: of its features, float64 [N]; infinite where it has no data.
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
    r"""Sets as text: names, the most probable first, with | between them; \ and | within a name become \\ and \|."""
    names = [name.replace("\\", r"\\").replace("|", r"\|") for name in classes]
    order = np.argsort(-probabilities, axis=1, kind="stable")
    return ["|".join(names[k] for k in row if inside[k]) for row, inside in zip(order, sets, strict=True)]


def columns(judged: Judged, probabilities: NDArray[Any], classes: Sequence[str]) -> dict[str, Any]:
    """The columns of a table of predictions: `set`, `abstain` (where there is a threshold) and `ood`."""
    table: dict[str, Any] = {"set": set_names(judged.sets, probabilities, classes)}
    if judged.abstain is not None:
        table["abstain"] = judged.abstain
    return table | {"ood": judged.ood}


def tell(trust: Trust) -> None:
    """Say what the thresholds of a model do not do, before somebody relies on it."""
    about = trust.thresholds
    always = [name for name, value in zip(about.classes, about.least, strict=True) if value == 0]
    share = f"{100 * about.coverage:g} %"
    if len(always) == len(about.classes):
        logger.warning("every set holds all classes: the test of the run had too few patches for sets of %s", share)
    elif always:
        logger.info("in every set is %s: the test of the run had too few patches of it for %s", listed(always), share)
    if about.confidence is None and about.risk is not None:
        message = "no column abstain: the run's validation could not show answers of which at most %g %% are wrong"
        logger.info(message, 100 * about.risk)
