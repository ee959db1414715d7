"""Figures of a classifier on one split, each with a 95 % bootstrap interval over patches.

A resample's precision, recall and F1 depend on its confusion matrix only, so that the resamples' matrices are counted
first and their figures computed for all at once; the tests hold them against scikit-learn's. torchmetrics computes the
calibration error, and a resample's is summed from its bins in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.errors import DataError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CALIBRATION_BINS = 15
"""Bins of equal width of the expected calibration error, as in Guo et al. 2017."""
LEVEL = 0.95
"""Coverage of the intervals."""
PER_CLASS = ("precision", "recall", "f1")


def evaluate(
    labels: NDArray[Any],
    probabilities: NDArray[Any],
    classes: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracy, macro F1, calibration error, confusion matrix and figures per class, with bootstrap intervals.

    A class without patches has support 0, precision, recall and F1 of 0 and intervals of None. As in scikit-learn
    and torchmetrics, macro F1 is the mean over the classes that occur among the labels or the predictions.
    The expected calibration error is that of the predicted class's probability (Guo et al. 2017, 15 bins).

    Args:
        labels: int [N], each the number of a class.
        probabilities: float [N, K], rows that sum to 1.
        classes: K names.
        resamples: Bootstrap resamples; 0 leaves every interval None.
        seed: Seed of the resamples.

    Returns:
        Plain numbers, ready for JSON: `n`, `accuracy`, `macro_f1`, `ece`, `confusion` [K][K] (rows are true classes),
        `per_class` {class: {precision, recall, f1, support}} and `intervals` {accuracy, macro_f1, ece: [low, high],
        per_class: {class: {precision, recall, f1: [low, high]}}}.

    Raises:
        DataError: there are no patches, or the shapes do not match.
        ModelError: a probability is not a finite number.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    _check(labels, probabilities, len(classes))
    K = len(classes)
    predicted = probabilities.argmax(axis=1)
    cells = labels.astype(np.int64) * K + predicted  # [N], the cell of the confusion matrix a patch falls in
    confidence = probabilities.max(axis=1)
    correct = predicted == labels

    counts = np.bincount(cells, minlength=K * K).reshape(K, K)
    per_class = per_class_of(counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1))  # [3, K]
    figures = {
        "accuracy": float(correct.mean()),
        "macro_f1": float(np.nanmean(per_class[2])),
        "ece": _calibration_error(confidence, correct),
    }
    support = counts.sum(axis=1)
    draws = _bootstrap(cells, confidence, correct, K, resamples, seed)
    return {
        "n": len(labels),
        **figures,
        "confusion": counts.tolist(),
        "per_class": {
            name: {key: float(np.nan_to_num(per_class[i, k])) for i, key in enumerate(PER_CLASS)}
            | {"support": int(support[k])}
            for k, name in enumerate(classes)
        },
        "intervals": {
            **{key: _interval(draws[key], figures[key]) for key in ("accuracy", "macro_f1")},
            "ece": _mirrored_interval(draws["ece"], figures["ece"]),
            "per_class": {
                name: {
                    key: _interval(draws["per_class"][:, i, k], per_class[i, k]) if support[k] else None
                    for i, key in enumerate(PER_CLASS)
                }
                for k, name in enumerate(classes)
            },
        },
    }


def _check(labels: NDArray[Any], probabilities: NDArray[Any], K: int) -> None:
    if len(labels) == 0:
        raise DataError("there are no patches to evaluate", "give the split a larger share of the patches")
    if labels.ndim != 1 or probabilities.shape != (len(labels), K):
        raise DataError(
            f"labels {labels.shape} and probabilities {probabilities.shape} do not describe the same patches "
            f"in {K} classes"
        )
    if labels.min() < 0 or labels.max() >= K:
        raise DataError(f"a label lies outside the {K} classes: {labels.min()} to {labels.max()}")
    if not np.isfinite(probabilities).all():
        raise ModelError(
            "the model's probabilities are not finite: its weights have diverged",
            "lower the learning rates, or train in float32 with --set training.precision=32",
        )


def _calibration_error(confidence: NDArray[Any], correct: NDArray[Any]) -> float:
    """Expected calibration error: the multi-class one is the binary one of 'the predicted class is right'."""
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    return binary_calibration_error(
        torch.as_tensor(confidence, dtype=torch.float32).clamp(
            0, 1
        ),  # above 1 by rounding, it would take all for logits
        torch.as_tensor(correct, dtype=torch.int64),
        n_bins=CALIBRATION_BINS,
        norm="l1",
        validate_args=False,
    ).item()


def _bootstrap(
    cells: NDArray[np.int64],
    confidence: NDArray[Any],
    correct: NDArray[Any],
    K: int,
    resamples: int,
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Figures of patches drawn with replacement: accuracy, macro_f1, ece [R] and per_class [R, 3, K]."""
    rng = np.random.default_rng(seed)
    N = len(cells)
    draws = {key: np.empty(resamples) for key in ("accuracy", "macro_f1", "ece")}
    # A patch adds its (correct - confidence) to its bin; a bin's error is the size of that sum, over N.
    bins = np.digitize(confidence, np.linspace(0, 1, CALIBRATION_BINS + 1))
    gaps = correct - confidence
    hits, predicted, true = (np.empty((resamples, K), dtype=np.int64) for _ in range(3))
    for r in range(resamples):
        rows = rng.integers(N, size=N)
        counts = np.bincount(cells[rows], minlength=K * K).reshape(K, K)
        hits[r], predicted[r], true[r] = counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)
        draws["accuracy"][r] = correct[rows].mean()
        draws["ece"][r] = np.abs(np.bincount(bins[rows], weights=gaps[rows])).sum() / N
    per_class = per_class_of(hits, predicted, true)
    defined = np.isfinite(per_class[:, 2])
    draws["macro_f1"] = np.where(defined, per_class[:, 2], 0).sum(axis=1) / defined.sum(axis=1)
    return draws | {"per_class": per_class}


def per_class_of(hits: NDArray[np.int64], predicted: NDArray[np.int64], true: NDArray[np.int64]) -> NDArray[np.float64]:
    """Precision, recall and F1, [..., 3, K], of confusion matrices; NaN where undefined.

    What scikit-learn's `precision_recall_fscore_support` gives for one, for any number of them at once.

    Args:
        hits: the matrices' diagonals, [..., K].
        predicted: how often each class was predicted, [..., K].
        true: how often each class occurs, [..., K].
    """
    with np.errstate(invalid="ignore"):
        return np.stack([hits / predicted, hits / true, 2 * hits / (predicted + true)], axis=-2)


def _interval(draws: NDArray[np.float64], figure: float) -> list[float] | None:
    """Percentile interval over the draws where the figure is defined, with the figure in it; None where it never is."""
    draws = draws[np.isfinite(draws)]
    if len(draws) == 0 or not np.isfinite(figure):
        return None
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(min(low, figure)), float(max(high, figure))]


def _mirrored_interval(draws: NDArray[np.float64], figure: float) -> list[float] | None:
    """Basic bootstrap interval (Davison & Hinkley 1997, 5.2) of a figure that is not negative, with the figure in it.

    Every resample adds noise of its own to the bins, which makes calibration errors larger, never smaller: the
    percentiles of a well-calibrated model's draws lie above its true error. Mirrored at the figure they do not.
    """
    if len(draws) == 0:
        return None
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(max(0.0, min(2 * figure - high, figure))), float(max(2 * figure - low, figure))]
