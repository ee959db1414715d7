"""From the answers of a tested model to its sets, its abstention and its out-of-distribution flags, and their figures.

What selects and what reports is kept apart. Validation, which has chosen the epoch and the temperature, also chooses
the thresholds for risk and distance; the test reports them. The thresholds of sets come from one half of the test
patches, which have selected nothing, and the other half reports them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.config import EvaluationConfig
from landsift.errors import listed
from landsift.evaluation.abstention import answered_figures, choose_confidence, risk_curve
from landsift.evaluation.conformal import KINDS, expected_range, halves, patches_for, set_figures, thresholds
from landsift.models.trust import Distances, Judged, Thresholds, Trust, with_predicted
from landsift.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

COVERAGES = (0.9, 0.95, 0.99)
RISKS = (0.005, 0.01)
"""Reported beside the chosen ones."""
FARTHEST = 0.01
"""Share of the validation patches that lie farther away than patches in distribution."""
MOST_PATCHES = 5000
"""Training patches whose features are looked at."""
MOST_DIRECTIONS = 128
PATCHES_PER_DIRECTION = 10


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says of N labelled patches.

    Attributes:
        labels: int [N].
        probabilities: calibrated, float [N, K].
        distance: of their features, float [N].
        groups: int [N], what is right or wrong together; None: patches are independent.
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    distance: NDArray[np.float64]
    groups: NDArray[np.int64] | None

    @property
    def confidence(self) -> NDArray[np.float32]:
        """Probability of the predicted class, [N]."""
        found: NDArray[np.float32] = self.probabilities.max(axis=1)
        return found

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether it is right, [N]."""
        found: NDArray[np.bool_] = self.probabilities.argmax(axis=1) == self.labels
        return found


def fit_distances(features: NDArray[np.float32], labels: NDArray[np.int64]) -> Distances:
    """Means of the classes and the covariance within them (`Distances`), of training patches.

    Args:
        features: float [N, D].
        labels: int [N].
    """
    from scipy.linalg import eigh

    (N, D), numbers = features.shape, np.unique(labels, return_inverse=True)[1]
    x = features.astype(np.float64)
    means = np.stack([x[numbers == k].mean(axis=0) for k in range(int(numbers.max()) + 1)])
    within = x - means[numbers]
    covariance = within.T @ within / max(N - len(means), 1)
    total = float(np.trace(covariance))
    floor = max(1e-6 * total / D, 1e-12)  # of features that never differ
    r = min(MOST_DIRECTIONS, D - 1, N // PATCHES_PER_DIRECTION)
    spreads, directions = np.empty(0), np.empty((0, D))
    if r > 0:
        values, vectors = eigh(covariance, subset_by_index=[D - r, D - 1])
        spreads, directions = np.maximum(values[::-1], floor), vectors[:, ::-1].T
    rest = max((total - float(spreads.sum())) / (D - r), floor)
    stored = [np.ascontiguousarray(array, np.float32) for array in (means, directions, spreads)]
    return Distances(stored[0], stored[1], stored[2], float(np.float32(rest)))


def fit_trust(
    config: EvaluationConfig,
    classes: Sequence[str],
    temperature: float | None,
    distances: Distances,
    val: Answers,
    test: Answers,
    calibrating: NDArray[np.bool_],
) -> Trust:
    """Choose the thresholds.

    Args:
        config: coverage, kind of sets and risk.
        classes: K names.
        temperature: of the model.
        distances: in its features.
        val: answers to the validation patches.
        test: to the test patches.
        calibrating: which of those the thresholds of sets come from, bool [N].
    """
    distance = float(np.quantile(val.distance, 1 - FARTHEST, method="higher"))
    least = thresholds(test.probabilities[calibrating], test.labels[calibrating], config.coverage, config.sets)
    return Trust(
        Thresholds(
            classes=tuple(classes),
            temperature=temperature,
            coverage=config.coverage,
            sets=config.sets,
            least=tuple(float(value) for value in least),
            risk=config.risk,
            confidence=_confidence(val, config.risk, distance),
            distance=distance,
            landsift=__version__,
        ),
        distances,
    )


def trust_figures(
    trust: Trust, val: Answers, test: Answers, calibrating: NDArray[np.bool_], fitted_on: int
) -> dict[str, Any]:
    """What evaluation.json says of them; arguments as of `fit_trust`.

    Returns:
        `sets` {coverage, kind, calibrated_on, tested_on, rows, from_validation}: a row per coverage and kind, as
        `set_figures` returns it, with `classes_without` (names whose patches were too few for a threshold) and
        `by_threshold`: coverage, interval and size of sets that may be empty, whose coverage is `expected` in a range
        (`expected_range`; None where patches come in groups, which are exchangeable and their patches are not); those
        `from_validation` have their thresholds from validation, and are tested on all test patches.
        `abstention` {risk, confidence, rows, curve}: a row per risk with its `confidence` and, of val and test, what
        `answered_figures` returns; the curve of the test.
        `ood` {distance, fitted_on, directions, chosen_on, val, test}: how many validation patches the distance comes
        from, and the shares that are out of distribution.
    """
    chosen = trust.thresholds
    risks = sorted({*RISKS, *([] if chosen.risk is None else [chosen.risk])})
    tested = _some(test, ~calibrating)
    coverages = sorted({*COVERAGES, chosen.coverage})
    classes = chosen.classes
    return {
        "sets": {
            "coverage": chosen.coverage,
            "kind": chosen.sets,
            "calibrated_on": int(calibrating.sum()),
            "tested_on": len(tested.labels),
            "rows": [_sets(c, kind, classes, _some(test, calibrating), tested) for c in coverages for kind in KINDS]
            if len(tested.labels)
            else [],
            "from_validation": [_sets(c, kind, classes, val, test) for c in coverages for kind in KINDS],
        },
        "abstention": {
            "risk": chosen.risk,
            "confidence": chosen.confidence,
            "rows": [_answered(risk, val, test, chosen.distance) for risk in risks],
            "curve": risk_curve(test.confidence, test.correct, test.groups),
        },
        "ood": {
            "distance": chosen.distance,
            "fitted_on": fitted_on,
            "directions": len(trust.distances.directions),
            "chosen_on": len(val.labels),
            "val": float((val.distance > chosen.distance).mean()),
            "test": float((test.distance > chosen.distance).mean()),
        },
    }


def shortfalls(figures: dict[str, Any]) -> list[str]:
    """What the patches were too few for, a sentence each; `figures` as `trust_figures` returns them."""
    sets, abstention, ood = figures["sets"], figures["abstention"], figures["ood"]
    own = (sets["coverage"], sets["kind"])
    without: list[str] = next((r["classes_without"] for r in sets["rows"] if (r["nominal"], r["kind"]) == own), [])
    chosen, found = f"sets of {100 * sets['coverage']:g} %", []
    needed = f"{patches_for(sets['coverage']):,} patches"
    if not sets["rows"]:
        found.append(f"{chosen}: the test has one patch, and nothing to test their thresholds on")
    elif without and sets["kind"] == "marginal":
        found.append(
            f"{chosen}: half of the test, {sets['calibrated_on']:,} patches, is too small for a threshold, which needs "
            f"{needed}: every set holds all classes"
        )
    elif without:
        found.append(
            f"{chosen} by class: in every set is {listed(without)}: a threshold needs {needed} of a class in half of "
            "the test"
        )
    if abstention["confidence"] is None:
        found.append(
            f"no confidence was shown to keep the share of wrong answers below {100 * abstention['risk']:g} %: "
            f"validation has too few patches ({ood['chosen_on']:,}) or too many mistakes; predictions have no column "
            "abstain"
        )
    if ood["chosen_on"] < patches_for(1 - FARTHEST):
        found.append(
            f"out of distribution is what lies farther than all {ood['chosen_on']:,} validation patches: of patches "
            f"like those of the training about 1 in {ood['chosen_on'] + 1:,} is, and with more validation patches "
            f"{100 * FARTHEST:g} % are"
        )
    return found


def judged_figures(
    trust: Trust,
    judged: Judged,
    probabilities: NDArray[Any],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
) -> dict[str, Any]:
    """How sets, abstention and out-of-distribution flags do on labelled patches that chose none of them.

    Returns:
        `coverage` and `risk` that were chosen; `sets` as `set_figures`; `abstention` as `answered_figures`, None where
        the model has no threshold; `ood`: the share that is out of distribution.
    """
    correct = probabilities.argmax(axis=1) == labels
    return {
        "coverage": trust.thresholds.coverage,
        "risk": trust.thresholds.risk,
        "sets": set_figures(judged.sets, labels, trust.thresholds.classes, groups),
        "abstention": None if judged.abstain is None else answered_figures(~judged.abstain, correct, groups),
        "ood": float(judged.ood.mean()),
    }


def _confidence(val: Answers, risk: float, distance: float) -> float | None:
    known = val.distance <= distance
    near = _some(val, known)
    return choose_confidence(near.confidence, near.correct, risk, near.groups)


def _answered(risk: float, val: Answers, test: Answers, distance: float) -> dict[str, Any]:
    confidence = _confidence(val, risk, distance)
    row: dict[str, Any] = {"risk": risk, "confidence": confidence, "val": None, "test": None}
    if confidence is not None:
        for name, answers in (("val", val), ("test", test)):
            answered = (answers.confidence >= confidence) & (answers.distance <= distance)
            row[name] = answered_figures(answered, answers.correct, answers.groups)
    return row


def _sets(coverage: float, kind: str, classes: Sequence[str], chooses: Answers, reports: Answers) -> dict[str, Any]:
    least = thresholds(chooses.probabilities, chooses.labels, coverage, kind)
    groups = None if reports.groups is None else np.unique(reports.groups, return_inverse=True)[1]
    if groups is not None and groups.max() < 1:
        groups = None
    together = chooses.groups is not None and reports.groups is not None
    if together:  # a single group has halves of patches, which are exchangeable
        together = len(np.union1d(chooses.groups, reports.groups)) > 1  # type: ignore[arg-type]
    sets = reports.probabilities >= least
    written = set_figures(with_predicted(sets, reports.probabilities), reports.labels, classes, groups)
    alone = set_figures(sets, reports.labels, classes, groups)
    for name, row in written["per_class"].items():
        row["by_threshold"] = {key: alone["per_class"][name][key] for key in ("coverage", "interval")}
        if kind == "class":
            count = int((chooses.labels == classes.index(name)).sum())
            row["by_threshold"]["expected"] = None if together else expected_range(count, row["n"], coverage)
    by_threshold = {key: alone[key] for key in ("coverage", "interval", "size")}
    if kind == "marginal":
        sizes = len(chooses.labels), len(reports.labels)
        by_threshold["expected"] = None if together else expected_range(*sizes, coverage)
    return {
        "nominal": coverage,
        "kind": kind,
        "classes_without": [name for name, value in zip(classes, least, strict=True) if value == 0],
        **written,
        "by_threshold": by_threshold,
    }


def _some(answers: Answers, which: NDArray[np.bool_]) -> Answers:
    groups = None if answers.groups is None else answers.groups[which]
    return Answers(answers.labels[which], answers.probabilities[which], answers.distance[which], groups)


def calibrating_half(contents: NDArray[np.int64], groups: NDArray[np.int64] | None, seed: int) -> NDArray[np.bool_]:
    """Which test patches the thresholds of sets come from, bool [N]: half of the groups, or of the distinct patches.

    Args:
        contents: int [N], equal for copies of a patch.
        groups: int [N], what is right or wrong together, or None.
        seed: of the draw.
    """
    several = groups is not None and len(np.unique(groups)) > 1
    return halves(groups if several and groups is not None else contents, seed)
