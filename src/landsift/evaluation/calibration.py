"""The expected calibration error and its 95 % interval.

The error of a sample is larger than the model's own: in every bin, confidence and accuracy differ by chance as well,
and the size of the difference counts. The percentiles of resampled patches lie above the true error for that reason. So
tests make the interval: all gaps between accuracy and confidence are taken as `factor` times those that were seen,
chance is added, and the factors stay for which an error like the one that was seen is neither too rare nor too common.
At factor 0 that is the test of perfect calibration by consistency resampling (Bröcker & Smith 2007).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.evaluation.intervals import LEVEL, Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 15
"""Bins of equal width, as in Guo et al. 2017."""
LARGEST = 16.0
"""Factor on the gaps at which the search for the upper end gives up."""


def calibration_error(confidence: NDArray[Any], correct: NDArray[Any]) -> float:
    """Expected calibration error: the multi-class one is the binary one of 'the predicted class is right'.

    Args:
        confidence: probability of the predicted class, float [N], at most 1.
        correct: whether it is right, bool [N].
    """
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    return binary_calibration_error(
        torch.as_tensor(confidence, dtype=torch.float32),
        torch.as_tensor(correct, dtype=torch.int64),
        n_bins=BINS,
        norm="l1",
        validate_args=False,
    ).item()


def calibration_interval(
    figure: float,
    confidence: NDArray[Any],
    correct: NDArray[Any],
    accuracy: Interval,
    groups: NDArray[np.int64] | None,
    draws: int,
    seed: int,
) -> Interval:
    """Interval of a calibration error, with the error in it.

    Args:
        figure: the error.
        confidence: float [N].
        correct: bool [N].
        accuracy: the interval of accuracy.
        groups: int [N], 0 to G - 1, or None where patches are independent of each other.
        draws: how often chance is drawn.
        seed: of the draws.
    """
    N = len(confidence)
    bins = np.digitize(confidence, np.linspace(0, 1, BINS + 1)).clip(1, BINS) - 1
    n = np.bincount(bins, minlength=BINS)
    summed = np.bincount(bins, weights=confidence, minlength=BINS)
    right = np.bincount(bins, weights=correct, minlength=BINS)
    gaps = right - summed  # [bins], a bin's share of the error is the size of its gap, over N
    noise, least = _noise(bins, confidence, correct, groups, draws, np.random.default_rng(seed))

    def errors(factor: float) -> NDArray[np.float64]:
        """Errors, [R], of samples from a model with `factor` times these gaps."""
        seen = (right + 0.5) / (n + 1)  # a bin in which all are right need not be free of errors
        mean = summed / np.maximum(n, 1)
        chance = np.clip(mean + factor * (seen - mean), 0.0, 1.0)
        scale = np.sqrt(np.maximum(n * chance * (1 - chance), least))
        return np.asarray(np.abs(factor * gaps + scale * noise).sum(axis=1) / N)

    tail = (1 - LEVEL) / 2
    low = figure * _boundary(lambda factor: float(np.mean(errors(factor) >= figure)) <= tail, 0.0, 1.0)
    high = figure * _boundary(lambda factor: float(np.mean(errors(factor) <= figure)) <= tail, LARGEST, 1.0)
    # No error is smaller than the distance of mean confidence and accuracy, which may be as far as accuracy's ends.
    apart = max(abs(float(np.mean(confidence)) - end) for end in accuracy)
    return [float(min(low, figure)), float(min(1.0, max(high, apart, figure)))]


def _noise(
    bins: NDArray[np.int64],
    confidence: NDArray[Any],
    correct: NDArray[Any],
    groups: NDArray[np.int64] | None,
    draws: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What chance adds to the bins, in standard deviations, [draws, bins], and the least variance of each, [bins]."""
    if groups is None:
        return rng.normal(size=(draws, BINS)), np.zeros(BINS)
    from scipy.special import ndtri, stdtrit

    G = int(groups.max()) + 1
    sums = np.bincount(groups * BINS + bins, weights=correct - confidence, minlength=G * BINS).reshape(G, BINS)
    sums -= np.bincount(groups)[:, None] / len(groups) * sums.sum(axis=0)
    variance = G / (G - 1) * np.square(sums).sum(axis=0)
    wider = stdtrit(G - 1, (1 + LEVEL) / 2) / ndtri((1 + LEVEL) / 2)  # G groups say so little of their spread
    drawn = wider * np.sqrt(G / (G - 1)) * rng.normal(size=(draws, G)) @ sums  # bins of a group go together
    return drawn / np.sqrt(np.where(variance > 0, variance, np.inf)), variance


def _boundary(rejected: Callable[[float], bool], out: float, inside: float) -> float:
    """Where factors stop being rejected on the way from `out`; `out` itself if it is not."""
    if not rejected(out):
        return out
    for _ in range(30):
        middle = (out + inside) / 2
        out, inside = (middle, inside) if rejected(middle) else (out, middle)
    return inside
