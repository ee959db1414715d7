"""Figures of a classifier on one split, each with a 95 % interval: over patches, or over groups where there are any.

Shares (accuracy, precision, recall) have Wilson's intervals, and so have F1 and macro F1, which are functions of shares
(`intervals` says how). That of the expected calibration error is the tests' which it passes (`calibration`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.errors import DataError, ModelError
from landsift.evaluation.calibration import calibration_error, calibration_interval
from landsift.evaluation.criteria import per_class_of, values_of, worth
from landsift.evaluation.intervals import LEVEL, Interval, figure_interval, grouped_share_interval, share_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

PER_CLASS = ("precision", "recall", "f1")
METHODS = {
    "patches": {
        "shares": "Wilson's score interval over patches: accuracy, precision, recall, F1",
        "macro_f1": "Wilson's score interval at the effective number of patches, from the jackknife over patches",
        "ece": "inversion of tests with simulated chance in the bins",
    },
    "groups": {
        "shares": "Wilson's score interval at the effective number of patches, from the jackknife over groups: "
        "accuracy, precision, recall, F1",
        "macro_f1": "the same",
        "ece": "inversion of tests with simulated chance in the bins, as large as the groups show it",
    },
}
"""What evaluation.json says of its intervals, by what they are over."""


def evaluate(
    labels: NDArray[Any],
    probabilities: NDArray[Any],
    classes: Sequence[str],
    *,
    groups: NDArray[Any] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracy, macro F1, calibration error, confusion matrix and figures per class, with 95 % intervals.

    A class without patches has support 0, precision, recall and F1 of 0 and intervals of None. As in scikit-learn
    and torchmetrics, macro F1 is the mean over the classes that occur among the labels or the predictions.
    The expected calibration error is that of the predicted class's probability (Guo et al. 2017, 15 bins).

    Args:
        labels: int [N], each the number of a class.
        probabilities: float [N, K], rows that sum to 1.
        classes: K names.
        groups: [N], what patches of one scene, field or day have in common, such as the names of scenes: the intervals
            then allow for other groups, not for other patches of these. None, or one group alone: patches are drawn
            independently of each other.
        draws: How often chance is drawn for the interval of the calibration error.
        seed: Of these draws.

    Returns:
        Plain numbers, ready for JSON: `n`, `accuracy`, `macro_f1`, `ece`, `confusion` [K][K] (rows are true classes),
        `per_class` {class: {precision, recall, f1, support}} and `intervals` {level, over ("patches" or "groups"),
        groups (how many there are, or None), methods (in words), accuracy, macro_f1, ece: [low, high], per_class:
        {class: {precision, recall, f1: [low, high], or None where the class or its predictions are in no patch or in
        one group alone}}}.

    Raises:
        DataError: there are no patches, or the shapes do not match.
        ModelError: a probability is not a finite number.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    groups = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    _check(labels, probabilities, groups, len(classes))
    K, N = len(classes), len(labels)
    predicted = probabilities.argmax(axis=1)
    cells = labels.astype(np.int64) * K + predicted  # [N], the cell of the confusion matrix a patch falls in
    confidence = np.minimum(probabilities.max(axis=1), 1.0)  # rounding can leave more, which no bin is for
    correct = predicted == labels

    counts = np.bincount(cells, minlength=K * K).reshape(K, K)
    hits, guessed, support = counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)
    per_class = per_class_of(hits, guessed, support)  # [3, K]
    figures = {
        "accuracy": float(correct.mean()),
        "macro_f1": float(np.nanmean(per_class[2])),
        "ece": calibration_error(confidence, correct),
    }
    known = 0 if groups is None else int(groups.max()) + 1
    over = groups if known > 1 else None

    def share(right: NDArray[np.bool_], of: NDArray[np.bool_]) -> Interval | None:
        if over is None:
            return share_interval(int(right.sum()), int(of.sum()))
        return grouped_share_interval(right[of], over[of])

    accuracy = share(correct, np.ones(N, dtype=bool))
    assert accuracy is not None  # of at least one patch, and of several groups or none
    return {
        "n": N,
        **figures,
        "confusion": counts.tolist(),
        "per_class": {
            name: {key: float(np.nan_to_num(per_class[i, k])) for i, key in enumerate(PER_CLASS)}
            | {"support": int(support[k])}
            for k, name in enumerate(classes)
        },
        "intervals": {
            "level": LEVEL,
            "over": "patches" if over is None else "groups",
            "groups": known or None,
            "methods": METHODS["patches" if over is None else "groups"],
            "accuracy": accuracy,
            "macro_f1": _macro_f1_interval(labels, predicted, K, over),
            "ece": calibration_interval(figures["ece"], confidence, correct, accuracy, over, draws, seed),
            "per_class": {
                name: _class_intervals(labels == k, predicted == k, share) if support[k] else dict.fromkeys(PER_CLASS)
                for k, name in enumerate(classes)
            },
        },
    }


def _check(labels: NDArray[Any], probabilities: NDArray[Any], groups: NDArray[Any] | None, K: int) -> None:
    if len(labels) == 0:
        raise DataError("there are no patches to evaluate", "give the split a larger share of the patches")
    if labels.ndim != 1 or probabilities.shape != (len(labels), K):
        raise DataError(
            f"labels {labels.shape} and probabilities {probabilities.shape} do not describe the same patches "
            f"in {K} classes"
        )
    if groups is not None and len(groups) != len(labels):
        raise DataError(f"{len(groups)} groups were given for {len(labels)} patches")
    if labels.min() < 0 or labels.max() >= K:
        raise DataError(f"a label lies outside the {K} classes: {labels.min()} to {labels.max()}")
    check_finite(probabilities, "probabilities")


def check_finite(values: NDArray[Any], what: str) -> None:
    """Raise ModelError where numbers of a model, such as its probabilities, are not finite."""
    if not np.isfinite(values).all():
        raise ModelError(
            f"the model's {what} are not finite: its weights have diverged",
            "lower the learning rates, or train in float32 with --set training.precision=32",
        )


def _class_intervals(
    of_class: NDArray[np.bool_], predicted: NDArray[np.bool_], share: Callable[..., Interval | None]
) -> dict[str, Interval | None]:
    """Of precision, recall and F1 of one class, from which patches are of it and which are predicted as it.

    F1 = 2 J / (1 + J) grows with J, the share that is both among the patches that are either, so that the ends of J's
    interval are those of F1's.
    """
    right = of_class & predicted
    either = share(right, of_class | predicted)
    return {
        "precision": share(right, predicted),
        "recall": share(right, of_class),
        "f1": either and [2 * end / (1 + end) for end in either],
    }


def _macro_f1_interval(
    labels: NDArray[Any], predicted: NDArray[Any], K: int, groups: NDArray[np.int64] | None
) -> Interval:
    values, N = values_of("macro_f1", labels, predicted, K), len(labels)
    figure = float(np.clip(values.mean(), 0.0, 1.0))
    if groups is None:  # one patch changes the figure by what it adds to it
        left_out, sizes = (figure - values) / N, np.full(N, 1 / N)
    else:
        G, right = int(groups.max()) + 1, labels == predicted
        true, guessed, hits = (
            np.bincount(groups[of] * K + number[of], minlength=G * K).reshape(G, K)
            for number, of in ((labels, slice(None)), (predicted, slice(None)), (labels, right))
        )
        without = [n.sum(axis=0) - n for n in (hits, guessed, true)]
        left_out = np.nanmean(per_class_of(*without)[:, 2], axis=1) - figure
        sizes = np.bincount(groups) / N
    return figure_interval(figure, left_out, sizes, worth("macro_f1", labels))
