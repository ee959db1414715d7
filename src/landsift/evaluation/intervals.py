"""95 % intervals of shares, over patches or over the groups they come in.

A share of n patches has Wilson's score interval (Wilson 1927), which does not shrink to a point where all are right.

Patches of one scene are right or wrong together, so that 40 of them tell less than 40 patches of 40 scenes. Where the
data have groups, Wilson's interval is taken at the effective number of patches (Kish 1965; Korn & Graubard 1998): so
many independent ones would have the variance that the groups show. That variance is the jackknife's, which leaves out
one group at a time. Student's t takes its degrees of freedom from how unequal the groups are in size (Carter, Schnepel
& Steigerwald 2017) or, where that is less, from the fourth moment of what they contribute: a variance that two bad scenes
make is known as badly as one of few scenes. `benchmarks/interval_coverage.py` counts how often the intervals hold the
true figure.
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
    contributions = (np.bincount(number, weights=right) - share * sizes) / n
    return figure_interval(share, contributions, sizes / n, most=n)


def figure_interval(
    figure: float, contributions: NDArray[np.float64], sizes: NDArray[np.float64], most: float
) -> Interval:
    """Interval of a figure between 0 and 1 to which independent units contribute.

    Args:
        figure: the figure.
        contributions: float [G], what each unit adds to or takes from the figure; their sum is 0.
        sizes: float [G], the units' shares of the patches; they add up to 1.
        most: effective number of patches at most, for units that vary less than chance lets them.
    """
    from scipy.special import stdtrit

    G = len(sizes)
    if G < 2:
        return _wilson(figure, most, NormalDist().inv_cdf((1 + LEVEL) / 2))
    equal = 1 / float(np.square(sizes).sum())  # so many units of one size would weigh as much, [1, G]
    left_out = contributions / (1 - sizes)  # what the figure changes by without the unit
    squares = np.square(left_out - left_out.mean())
    variance = (G - 1) / G * float(squares.sum())
    df = max(equal - 1, 1.0)
    # Rounding leaves traces of a variance where every unit has the same share.
    if variance > 1e-20:
        kurtosis = G * float(np.square(squares).sum() / np.square(squares.sum()))
        df = min(df, max(2 * G / max(kurtosis - 1, 1e-9), 1.0))
    spread = figure * (1 - figure)
    if spread > 1e-12:
        count = min(most, max(spread / variance, 1.0)) if variance > 1e-20 else most
    else:  # all or nothing: how much the patches of a unit have in common does not show
        count = min(most, equal)
    return _wilson(figure, count, float(stdtrit(df, (1 + LEVEL) / 2)))


def _wilson(share: float, count: float, quantile: float) -> Interval:
    """The shares that a test at `quantile` standard errors does not tell from the one of `count` patches."""
    middle = share + quantile**2 / (2 * count)
    half = quantile * np.sqrt(share * (1 - share) / count + quantile**2 / (4 * count**2))
    low, high = ((middle + side) / (1 + quantile**2 / count) for side in (-half, half))
    return [float(min(max(low, 0.0), share)), float(max(min(high, 1.0), share))]
