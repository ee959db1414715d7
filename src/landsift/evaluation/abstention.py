"""Which patches a model answers, so that few of the answers are wrong: selective classification.

Patches are ranked by the probability of their predicted class. The threshold for a risk r is chosen on validation: from
the surest half on, more and more patches are answered, as long as the upper end of the risk's 95 % interval is at most
r; the first failure ends it, so that the many looks need no correction (fixed-sequence testing, Angelopoulos et al.
2021). The risk of the answers is then r or less with a probability of 97.5 %, for patches like those of validation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.evaluation.intervals import Interval, grouped_share_interval, share_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEPS = 100
"""Shares of patches that are looked at, at most."""


def choose_confidence(
    confidence: NDArray[Any],
    correct: NDArray[np.bool_],
    risk: float,
    groups: NDArray[np.int64] | None = None,
) -> float | None:
    """The least confidence with which patches are answered; None where no share of them shows the risk.

    Args:
        confidence: probability of the predicted class of validation patches, float [N].
        correct: whether it is right, bool [N].
        risk: share of mistakes among the answers, at most.
        groups: int [N], what is right or wrong together; None: patches are independent.
    """
    found = None
    for count in _counts(confidence, start=0.5):
        least = float(np.sort(confidence)[-count])
        answered = confidence >= least
        of_groups = None if groups is None else groups[answered]
        interval = risk_interval(correct[answered], of_groups)
        if interval is None or interval[1] > risk:
            if found is None and not _could_show(count, of_groups, risk):
                continue  # too few yet, whatever they were
            break
        found = least
    return found


def risk_interval(correct: NDArray[np.bool_], groups: NDArray[np.int64] | None) -> Interval | None:
    """95 % interval of the share of mistakes; None of no patches, or of one group."""
    if groups is None:
        return share_interval(int((~correct).sum()), len(correct))
    return grouped_share_interval(~correct, groups)


def answered_figures(
    answered: NDArray[np.bool_], correct: NDArray[np.bool_], groups: NDArray[np.int64] | None = None
) -> dict[str, Any]:
    """The share of patches that are `answered`, and the `risk` of the answers with its 95 % `interval`."""
    right = correct[answered]
    return {
        "n": len(correct),
        "answered": float(answered.mean()),
        "answered_interval": risk_interval(~answered, groups),
        "risk": float(1 - right.mean()) if len(right) else None,
        "interval": risk_interval(right, None if groups is None else groups[answered]) if len(right) else None,
    }


def risk_curve(
    confidence: NDArray[Any], correct: NDArray[np.bool_], groups: NDArray[np.int64] | None = None
) -> list[dict[str, Any]]:
    """The risk–coverage curve: for growing shares of answered patches `answered`, `risk` and its 95 % `interval`."""
    curve = []
    for count in _counts(confidence, start=0.0, steps=STEPS // 2):
        answered = confidence >= np.sort(confidence)[-count]
        right = correct[answered]
        interval = risk_interval(right, None if groups is None else groups[answered])
        curve.append({"answered": float(answered.mean()), "risk": float(1 - right.mean()), "interval": interval})
    return curve


def _counts(confidence: NDArray[Any], start: float, steps: int = STEPS) -> list[int]:
    """Numbers of the surest patches, from a share of them to all; patches that are as sure come together."""
    N = len(confidence)
    wanted = np.unique(np.ceil(np.linspace(start, 1, steps + 1) * N).astype(int).clip(1, N))
    order = np.sort(confidence)[::-1]
    return sorted({int((confidence >= order[count - 1]).sum()) for count in wanted})


def _could_show(count: int, groups: NDArray[np.int64] | None, risk: float) -> bool:
    """Whether so many patches without a mistake would show the risk."""
    interval = risk_interval(np.ones(count, bool), groups)
    return interval is not None and interval[1] <= risk
