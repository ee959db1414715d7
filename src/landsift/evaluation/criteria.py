"""The criteria a classifier is judged by: accuracy, macro F1 or balanced accuracy, as figures and per patch.

Macro F1 and balanced accuracy are no means over patches. What one patch more of its kind adds to them is (the
infinitesimal jackknife, Efron 1982), so that the spread of these values over patches, groups and seeds is that of the
figure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

WORDS = {"accuracy": "accuracy", "macro_f1": "macro F1", "balanced_accuracy": "balanced accuracy"}
"""The criteria and their names in text; balanced accuracy is the mean recall of the classes."""


def figure_of(criterion: str, confusion: NDArray[Any]) -> float:
    """The figure of a confusion matrix [K, K], whose rows are the true classes; at least one patch."""
    hits, predicted, true = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
    if criterion == "accuracy":
        return float(hits.sum() / true.sum())
    if criterion == "macro_f1":
        return float(np.nanmean(per_class_of(hits, predicted, true)[2]))
    return float(np.nanmean(per_class_of(hits, predicted, true)[1]))


def values_of(criterion: str, labels: NDArray[Any], predicted: NDArray[Any], K: int) -> Values:
    """A value per patch, float [N]: their mean is the figure, and their spread is what it varies with.

    Args:
        criterion: of `WORDS`.
        labels: int [N], N at least one.
        predicted: int [N].
        K: how many classes there are.
    """
    return _VALUES[criterion](labels.astype(np.int64), predicted.astype(np.int64), K)


def worth(criterion: str, labels: NDArray[Any]) -> float:
    """How many patches the figure is a mean of, in effect: fewer than there are where small classes count as much.

    A mean over classes varies as the mean of so many patches does: the harmonic mean of the classes' sizes, times their
    number.
    """
    sizes = np.bincount(labels)
    sizes = sizes[sizes > 0]
    return float(len(labels) if criterion == "accuracy" else len(sizes) ** 2 / (1 / sizes).sum())


def per_class_of(hits: NDArray[Any], predicted: NDArray[Any], true: NDArray[Any]) -> Values:
    """Precision, recall and F1, [..., 3, K], of confusion matrices; NaN where undefined.

    What scikit-learn's `precision_recall_fscore_support` gives for one, for any number of them at once.

    Args:
        hits: the matrices' diagonals, [..., K].
        predicted: how often each class was predicted, [..., K].
        true: how often each class occurs, [..., K].
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(np.stack([hits / predicted, hits / true, 2 * hits / (predicted + true)], axis=-2))


def _accuracy(labels: NDArray[np.int64], predicted: NDArray[np.int64], K: int) -> Values:
    return np.asarray(labels == predicted, dtype=np.float64)


def _macro_f1(labels: NDArray[np.int64], predicted: NDArray[np.int64], K: int) -> Values:
    """F1 = 2 hits / (true + predicted), and a patch adds to the three counts; the mean is over classes that occur."""
    N, right = len(labels), labels == predicted
    true, guessed = np.bincount(labels, minlength=K), np.bincount(predicted, minlength=K)
    f1 = np.nan_to_num(per_class_of(np.bincount(labels[right], minlength=K), guessed, true)[2])
    occurs = true + guessed > 0
    weight = np.where(occurs, N / np.maximum(true + guessed, 1), 0.0) / occurs.sum()
    influence = 2 * right * weight[labels] - (f1 * weight)[labels] - (f1 * weight)[predicted]
    return np.asarray(f1.sum() / occurs.sum() + influence)


def _balanced_accuracy(labels: NDArray[np.int64], predicted: NDArray[np.int64], K: int) -> Values:
    """The mean over the classes among the labels of hits / true, to both of which a patch adds."""
    N, right = len(labels), labels == predicted
    true = np.bincount(labels, minlength=K)
    recall = np.bincount(labels[right], minlength=K) / np.maximum(true, 1)
    weight = N / np.maximum(true, 1) / (true > 0).sum()
    return np.asarray(recall.sum() / (true > 0).sum() + (right - recall[labels]) * weight[labels])


_VALUES: dict[str, Callable[[NDArray[np.int64], NDArray[np.int64], int], Values]] = {
    "accuracy": _accuracy,
    "macro_f1": _macro_f1,
    "balanced_accuracy": _balanced_accuracy,
}
