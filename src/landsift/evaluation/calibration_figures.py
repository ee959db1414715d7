"""How well probabilities describe how often a class is right: figures, and the reliability diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.evaluation.calibration import BINS, calibration_error, calibration_interval
from landsift.evaluation.intervals import LEVEL, Interval, grouped_share_interval, share_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST = 1e-12
"""Probability that the log loss takes for less."""
IN_A_BIN = 25
"""Patches of a bin of the reliability diagram, at least: bins with fewer are merged with the next one."""


def calibration_figures(
    labels: NDArray[Any],
    probabilities: NDArray[Any],
    groups: NDArray[np.int64] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Calibration error, classwise calibration error, Brier score and log loss, and the reliability diagram.

    Args:
        labels: int [N].
        probabilities: float [N, K], rows that sum to 1.
        groups: int [N], what is right or wrong together; None: patches are independent.
        draws: of the interval of the calibration error.
        seed: of these draws.

    Returns:
        `ece` (of the predicted class, Guo et al. 2017), `classwise_ece` (mean over classes of that of their
        probabilities, Kull et al. 2019), `brier` (sum over classes of squared differences, 0 to 2), `log_loss`
        (natural), `intervals` {ece, brier, log_loss: [low, high]} of 95 %, and `reliability` (as `reliability`).
    """
    probabilities = probabilities.astype(np.float64)
    N, K = probabilities.shape
    over = groups if groups is not None and len(np.unique(groups)) > 1 else None
    if over is not None:
        over = np.unique(over, return_inverse=True)[1]
    confidence = np.minimum(probabilities.max(axis=1), 1.0)
    correct = probabilities.argmax(axis=1) == labels
    accuracy = share_interval(int(correct.sum()), N) if over is None else grouped_share_interval(correct, over)
    assert accuracy is not None  # of at least one patch, in several groups or none
    ece = calibration_error(confidence, correct)
    squares = np.square(probabilities - np.eye(K)[labels]).sum(axis=1)
    losses = log_losses(labels, probabilities)
    return {
        "ece": ece,
        "classwise_ece": float(
            np.mean([calibration_error(np.minimum(probabilities[:, k], 1.0), labels == k) for k in range(K)])
        ),
        "brier": float(squares.mean()),
        "log_loss": float(losses.mean()),
        "intervals": {
            "ece": calibration_interval(ece, confidence, correct, accuracy, over, draws, seed),
            "brier": mean_interval(squares, over),
            "log_loss": mean_interval(losses, over),
        },
        "reliability": reliability(confidence, correct, over),
    }


def log_losses(labels: NDArray[Any], probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Negative logarithm of the probability of the true class, [N]."""
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    found: NDArray[np.float64] = -np.log(np.maximum(true, LEAST))
    return found


def mean_interval(values: NDArray[np.float64], groups: NDArray[np.int64] | None) -> Interval | None:
    """95 % interval of a mean, by Student's t over patches or groups; None of fewer than two."""
    from scipy.special import stdtrit

    deviations = values - values.mean()
    if groups is not None:
        deviations = np.bincount(groups, weights=deviations)
    G = len(deviations)
    if G < 2:
        return None
    error = float(np.sqrt(G / (G - 1) * np.square(deviations).sum()) / len(values))
    half = float(stdtrit(G - 1, (1 + LEVEL) / 2)) * error
    return [float(values.mean()) - half, float(values.mean()) + half]


def reliability(
    confidence: NDArray[Any], correct: NDArray[Any], groups: NDArray[np.int64] | None = None
) -> list[dict[str, Any]]:
    """The reliability diagram: of each bin `low`, `high`, `n`, mean `confidence`, `accuracy` and its 95 % `interval`.

    Bins are those of the calibration error, from the highest confidence down; one with fewer than `IN_A_BIN` patches
    is merged with the next. What remains at the low end joins the last bin.

    Args:
        confidence: probability of the predicted class, float [N], at most 1.
        correct: whether it is right, bool [N].
        groups: int [N], or None.
    """
    number = np.digitize(confidence, np.linspace(0, 1, BINS + 1)).clip(1, BINS) - 1
    counts = np.bincount(number, minlength=BINS)
    spans: list[list[int]] = []  # [first, last] bins
    last = BINS - 1
    for first in range(BINS - 1, -1, -1):
        if counts[first : last + 1].sum() >= IN_A_BIN:
            spans.append([first, last])
            last = first - 1
    if last >= 0 and counts[: last + 1].any():
        if spans:
            spans[-1][0] = 0
        else:
            spans.append([0, last])
    rows = []
    for first, last in reversed(spans):
        inside = (number >= first) & (number <= last)
        right, n = correct[inside], int(inside.sum())
        interval = share_interval(int(right.sum()), n)
        if groups is not None:
            interval = grouped_share_interval(right, groups[inside])
        rows.append(
            {
                "low": first / BINS,
                "high": (last + 1) / BINS,
                "n": n,
                "confidence": float(confidence[inside].mean()),
                "accuracy": float(right.mean()),
                "interval": interval,
            }
        )
    return rows
