"""Sets of classes that hold the true one with a chosen probability (split conformal prediction).

A class is in the set if its probability is at least a threshold: the least ambiguous sets of a coverage (LAC; Sadinle,
Lei & Wasserman 2019). The threshold comes from patches that selected nothing: if n of them and a new patch are
exchangeable, its set holds its class with a probability between c and c + 1 / (n + 1) (Vovk, Gammerman & Shafer 2005).
That is of the thresholds alone. Sets as they are written have the most probable class in any case, and hold the true
one at least as often (`landsift.models.trust.with_predicted`).
Marginal sets have one threshold, and keep c over all patches; sets by class have one for each, and keep c over the
patches of every class.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.evaluation.intervals import LEVEL, Interval, grouped_share_interval, share_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

KINDS = ("marginal", "class")


def least_probability(true: NDArray[Any], coverage: float) -> float:
    """The threshold: a class is in the set if its probability is at least this; 0 where the patches are too few.

    Args:
        true: probabilities of the true classes of the patches for calibration, float [n].
        coverage: 0 to 1.
    """
    left_out = math.floor((len(true) + 1) * (1 - coverage) + 1e-9)
    return float(np.sort(true)[left_out - 1]) if left_out else 0.0


def patches_for(coverage: float) -> int:
    """How many patches a threshold of this coverage needs at least."""
    return math.ceil(1 / (1 - coverage) - 1e-9) - 1


def thresholds(probabilities: NDArray[Any], labels: NDArray[Any], coverage: float, kind: str) -> NDArray[np.float64]:
    """The thresholds of all classes, [K].

    Args:
        probabilities: of the patches for calibration, float [n, K].
        labels: int [n].
        coverage: 0 to 1.
        kind: "marginal" or "class".
    """
    K = probabilities.shape[1]
    true = probabilities[np.arange(len(labels)), labels]
    if kind == "marginal":
        return np.full(K, least_probability(true, coverage))
    return np.array([least_probability(true[labels == k], coverage) for k in range(K)])


def halves(units: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Which patches are for calibration, bool [N]: about half, drawn by unit.

    Args:
        units: int [N], what must be on one side, such as a group or copies of one patch.
        seed: of the draw.
    """
    numbers, counts = np.unique(units, return_inverse=True)[1], np.unique(units, return_counts=True)[1]
    order = np.random.default_rng([seed, 19]).permutation(len(counts))
    before = np.concatenate([[0], np.cumsum(counts[order])[:-1]])
    chosen = np.zeros(len(counts), bool)
    chosen[order[before + counts[order] / 2 <= len(units) / 2]] = True
    return chosen[numbers]


def set_figures(
    sets: NDArray[np.bool_],
    labels: NDArray[Any],
    classes: Sequence[str],
    groups: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Coverage and size of sets, over all patches and per class.

    Args:
        sets: bool [N, K].
        labels: int [N].
        classes: K names.
        groups: int [N], what is right or wrong together; None: patches are independent.

    Returns:
        `n`, `coverage`, `interval` (95 %), `size` (mean), `single` (share of sets of one class), `per_class` {class:
        {n, coverage, interval, size}} of the classes that occur.
    """
    held, size = sets[np.arange(len(labels)), labels], sets.sum(axis=1)

    def row(of: NDArray[np.bool_]) -> dict[str, Any]:
        return {
            "n": int(of.sum()),
            "coverage": float(held[of].mean()),
            "interval": _interval(held[of], None if groups is None else groups[of]),
            "size": float(size[of].mean()),
        }

    return row(np.ones(len(labels), bool)) | {
        "single": float((size == 1).mean()),
        "per_class": {name: row(labels == k) for k, name in enumerate(classes) if (labels == k).any()},
    }


def expected_range(calibrated: int, tested: int, coverage: float) -> Interval:
    """95 % range of the coverage of `tested` patches that are exchangeable with the `calibrated` ones.

    Both draws count: the number that is held has a beta-binomial distribution (Angelopoulos & Bates 2023).
    """
    from scipy.stats import betabinom

    left_out = math.floor((calibrated + 1) * (1 - coverage) + 1e-9)
    if not left_out:
        return [1.0, 1.0]
    found = betabinom(tested, calibrated + 1 - left_out, left_out)
    return [float(found.ppf(end)) / tested for end in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]


def _interval(held: NDArray[np.bool_], groups: NDArray[np.int64] | None) -> Interval | None:
    if groups is None:
        return share_interval(int(held.sum()), len(held))
    return grouped_share_interval(held, groups)
