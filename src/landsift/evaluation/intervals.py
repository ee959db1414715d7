"""95 % intervals of shares, over patches or over the groups they come in.

A share of n patches has Wilson's score interval (Wilson 1927), which does not shrink to a point where all are right.

Patches of one scene are right or wrong together, so that 40 of them tell less than 40 patches of 40 scenes. Where the
data have groups, Wilson's interval is taken at the effective number of patches (Kish 1965; Korn & Graubard 1998): so
many independent ones would have the variance that the groups show. That variance is the jackknife's, which leaves out
one group at a time. Student's t takes its degrees of freedom from how unequal the groups are in size (Carter, Schnepel
& Steigerwald 2017) or, where that is less, from the fourth moment of what they contribute: a variance that two bad
scenes make is known as badly as one of few scenes. `benchmarks/interval_coverage.py` counts how often the intervals
hold the true figure.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 0.95
"""Coverage of the intervals."""
Interval = list[float]


def share_interval(right: int, of: int) -> Interval | None:
    """Wilson's interval of `right` among `of` independent patches; None of no patches."""
    return _wilson(right / of, of, NormalDist().inv_cdf((1 + LEVEL) / 2)) if of else None


def grouped_share_interval(right: NDArray[Any], groups: NDArray[Any]) -> Interval | None:
    """Interval of a share over groups of patches.

    Args:
        right: bool [n], whether the patch counts.
        groups: int [n], the group of the patch.

    Returns:
        Low and high; None where fewer than two groups tell nothing of others.
    """
    number = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(number).astype(np.float64)
    if len(sizes) < 2:
        return None
    share, n = float(np.mean(right)), len(right)
    left_out = (share * sizes - np.bincount(number, weights=right)) / (n - sizes)
    return figure_interval(share, left_out, sizes / n, most=n)


def figure_interval(figure: float, left_out: NDArray[np.float64], sizes: NDArray[np.float64], most: float) -> Interval:
    """Interval of a figure between 0 and 1 over independent units, by the jackknife.

    Args:
        figure: the figure.
        left_out: float [G], what the figure changes by without each unit.
        sizes: float [G], the units' shares of the patches; they add up to 1.
        most: effective number of patches at most, for units that vary less than chance lets them.
    """
    G = len(sizes)
    if G < 2:
        return _wilson(figure, most, NormalDist().inv_cdf((1 + LEVEL) / 2))
    equal = 1 / float(np.square(sizes).sum())  # so many units of one size would weigh as much, [1, G]
    squares = np.square(left_out - left_out.mean())
    variance = (G - 1) / G * float(squares.sum())
    df = max(equal - 1, 1.0)
    if variance > 0:
        kurtosis = G * float(np.square(squares).sum() / np.square(squares.sum()))
        df = min(df, max(2 * G / max(kurtosis - 1, 1e-9), 1.0))
    return effective_interval(figure, variance, df, most, min(most, equal))


def effective_interval(
    figure: float, variance: float, df: float, most: float, extreme: float, level: float = LEVEL
) -> Interval:
    """Wilson's interval of a figure between 0 and 1 at its effective number of patches, with Student's t.

    Args:
        figure: the figure.
        variance: of the figure.
        df: degrees of freedom of the variance.
        most: effective number of patches at most.
        extreme: the number for a figure of 0 or 1, at which no variance shows.
        level: coverage.
    """
    from scipy.special import stdtrit

    spread, count = figure * (1 - figure), most
    if spread < 1e-12:
        count = extreme
    elif variance > 1e-20:  # rounding leaves traces of a variance where there is none
        count = min(most, max(spread / variance, 1.0))
    return _wilson(figure, count, float(stdtrit(df, (1 + level) / 2)))


def _wilson(share: float, count: float, quantile: float) -> Interval:
    """The shares that a test at `quantile` standard errors does not tell from the one of `count` patches."""
    middle = share + quantile**2 / (2 * count)
    half = quantile * np.sqrt(share * (1 - share) / count + quantile**2 / (4 * count**2))
    low, high = ((middle + side) / (1 + quantile**2 / count) for side in (-half, half))
    return [float(min(max(low, 0.0), share)), float(max(min(high, 1.0), share))]
