"""Means over crossed seeds and patches: how far they would move with other seeds and with other patches.

All trainings of a comparison are tested on the same N patches, and S of them differ by their seed alone: the training
labels it draws and its random numbers. What holds for such values X [S, N] (1 where a training is right about a patch,
or the difference of two trainings) must hold for other seeds and other patches:

    X[s, n] = mean + seed[s] + patch[n] + rest[s, n]
    Var(mean of X) = Var(seed) / S + Var(patch) / N + Var(rest) / (S N)

The mean squares of the two-way analysis of variance estimate the three, and Student's t has Satterthwaite's degrees of
freedom. Studies in which several readers read the same cases are analysed so (Obuchowski & Rockette 1995,
Communications in Statistics 24, 285-308; Hillis 2007, Statistics in Medicine 26, 596-619); seeds are our readers.
Where patches come in groups, a group takes the place of the patch (`over_groups`).

Two or three seeds know little of their own variance, and one row may be far less steady than the others, while its
three seeds agree by chance. So a pair takes its own variance of the seeds or, if that is larger, the median of all
pairs, as known from few degrees of freedom (`shared_df`). Counted as known from all pairs, that median found a
difference among eight equal rows with an unsteady one in 10 % of all comparisons, at a level of 5 %; the pairs' own
variances alone err as often in other cases, and find less. `benchmarks/comparison_errors.py` counts how often each of
them errs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Mean of values [S, N] and what it varies with.

    Attributes:
        seeds: S.
        units: N, patches or groups, at least two.
        mean: over all S N values.
        seed_variance: of the seeds' effect, unbiased and therefore sometimes negative; 0 with one seed.
        ms_units: mean square of the units, in expectation Var(rest) + S Var(unit).
        ms_rest: mean square of the rest; with one seed the two cannot be told apart.
        units_df: degrees of freedom of `ms_units`: N - 1, or less where the units are of unequal size.
    """

    seeds: int
    units: int
    mean: float
    seed_variance: float
    ms_units: float
    ms_rest: float
    units_df: float


@dataclass(frozen=True)
class Estimate:
    """A mean, its standard error, and the degrees of freedom that this is known from.

    Attributes:
        mean: the mean.
        error: 0 where all values agree.
        df: degrees of freedom of `error`.
        units: how many units the values are of.
        from_seeds: share of the variance that the seeds bring.
    """

    mean: float
    error: float
    df: float
    units: int
    from_seeds: float

    def interval(self, alpha: float) -> tuple[float, float]:
        """Interval of 1 - alpha."""
        from scipy.special import stdtrit

        half = self.error * float(stdtrit(self.df, 1 - alpha / 2))
        return self.mean - half, self.mean + half

    def above(self, value: float) -> float:
        """One-sided p-value of the mean being `value` or less."""
        from scipy.special import stdtr

        if self.error == 0:  # units that all agree say no more than a sign test on them
            return 2.0**-self.units if self.mean > value else 1.0
        return float(stdtr(self.df, (value - self.mean) / self.error))

    @property
    def p(self) -> float:
        """Two-sided p-value of the mean being zero."""
        return 1.0 if self.mean == 0 else 2 * min(self.above(0.0), self.negative.above(0.0))

    @property
    def negative(self) -> Estimate:
        """The estimate of the values with the other sign."""
        return Estimate(-self.mean, self.error, self.df, self.units, self.from_seeds)


@dataclass(frozen=True)
class Difference:
    """Row `a` minus row `b` over the seeds they share; `covers_seeds` is false where one seed is all there is."""

    a: str
    b: str
    seeds: tuple[int, ...]
    estimate: Estimate
    covers_seeds: bool


def over_groups(values: NDArray[Any], groups: NDArray[np.int64]) -> Values:
    """Values [S, N] of patches as values [S, G] of their groups, with the same means.

    A group's value is the mean, and what its patches add to it (the linearised ratio of sums over groups, Cochran
    1977, 6.3): groups of more patches weigh more.

    Args:
        values: float [S, N].
        groups: int [N], 0 to G - 1.
    """
    values = np.asarray(values, dtype=np.float64)
    mean, G = values.mean(axis=1, keepdims=True), int(groups.max()) + 1
    sums = np.stack([np.bincount(groups, weights=row, minlength=G) for row in values - mean])
    return np.asarray(mean + sums * G / values.shape[1])


def groups_df(groups: NDArray[np.int64]) -> float:
    """Degrees of freedom of a variance over groups: so many of one size less one, and one at least."""
    sizes = np.bincount(groups).astype(np.float64)
    return max(1.0, float(sizes.sum() ** 2 / np.square(sizes).sum()) - 1)


def folds_factor(folds: int) -> float:
    """How much more the mean over folds varies than as many independent trainings would: 1 + K / (K - 1).

    Two trainings of a cross-validation share most of their patches, and their figures vary together. No estimate of
    that is without bias (Bengio & Grandvalet 2004); the factor is that of Nadeau & Bengio (2003, Machine Learning 52,
    239-281), 1 + K n_test / n_train, for a fold as test and all the others as training patches.
    """
    return 1 + folds / (folds - 1)


def spread_of(values: NDArray[Any], units_df: float | None = None, factor: float = 1.0) -> Spread:
    """Two-way analysis of variance of values [S, N], N at least two.

    Args:
        values: float [S, N].
        units_df: degrees of freedom of the units; None: N - 1.
        factor: how much more the units' mean varies than that of independent ones (`folds_factor`).
    """
    values = np.asarray(values, dtype=np.float64)
    S, N = values.shape
    df = N - 1 if units_df is None else units_df
    mean, seeds, units = values.mean(), values.mean(axis=1), values.mean(axis=0)
    ms_units = float(S * np.square(units - mean).sum() / (N - 1))
    if S == 1:
        return Spread(S, N, float(mean), 0.0, ms_units * factor, ms_units, df)
    rest = values - seeds[:, None] - units + mean
    ms_rest = float(np.square(rest).sum() / ((S - 1) * (N - 1)))
    # A mean square of units below the rest's is chance: no variance is negative.
    return Spread(
        S, N, float(mean), float(seeds.var(ddof=1)) - ms_rest / N, max(ms_units, ms_rest) * factor, ms_rest, df
    )


def estimate(spread: Spread, seed_variance: float, seed_df: float, least: float = 0.0) -> Estimate:
    """The mean with its standard error.

    Args:
        spread: what the values say.
        seed_variance: of the seeds' effect; what is negative counts as 0.
        seed_df: degrees of freedom of `seed_variance`; infinite where it is not estimated.
        least: variance that the mean of one seed has at least by the units alone.
    """
    S, N = spread.seeds, spread.units
    seeds, units = N * max(seed_variance, 0.0), max(spread.ms_units, N * least)
    total = seeds + units
    if total == 0:
        return Estimate(spread.mean, 0.0, spread.units_df, N, 0.0)
    # Two or three seeds that agree by chance make the error small and its degrees of freedom many at once: with
    # Satterthwaite's own, tests err too often. The factor is by simulation, and fades with more seeds.
    doubt = 1 + 3 / max(S - 1, 1) ** 2
    doubtful = min(doubt * seeds + spread.ms_rest, total)
    df = total**2 / (doubtful**2 / seed_df + units**2 / spread.units_df)
    return Estimate(spread.mean, math.sqrt(total / (S * N)), df, N, seeds / total)


def own_estimate(values: NDArray[Any], units_df: float | None = None, factor: float = 1.0) -> Estimate:
    """The mean of values [S, N] by what they say alone; the rest as in `spread_of`."""
    spread = spread_of(values, units_df, factor)
    return estimate(spread, spread.seed_variance, spread.seeds - 1 or math.inf)


def differences(
    values: Mapping[str, Mapping[int, NDArray[Any]]],
    units_df: float | None = None,
    least: float = 0.0,
    factor: float = 1.0,
) -> list[Difference]:
    """Every pair of rows that shares a seed, in the order of the names.

    Args:
        values: {row: {seed: values [N]}}; a row may lack seeds.
        units_df: as in `spread_of`.
        least: as in `estimate`.
        factor: as in `spread_of`.
    """
    spreads: dict[tuple[str, str], tuple[tuple[int, ...], Spread]] = {}
    for a, b in combinations(sorted(values), 2):
        seeds = tuple(sorted(values[a].keys() & values[b].keys()))
        if seeds:
            gaps = np.stack([np.subtract(values[a][seed], values[b][seed], dtype=np.float64) for seed in seeds])
            spreads[a, b] = seeds, spread_of(gaps, units_df, factor)
    known = [spread for _, spread in spreads.values() if spread.seeds > 1]
    found = []
    for (a, b), (seeds, spread) in spreads.items():
        variance, df = _seed_variance(spread, known, len(values))
        found.append(Difference(a, b, seeds, estimate(spread, variance, df, least), covers_seeds=bool(known)))
    return found


def shared_df(rows: int, seeds: int) -> float:
    """Degrees of freedom of the seeds' variance that pairs share: those of one pair, times 1.5 (3 rows) to 2.25 (6).

    All pairs together would have some (rows - 1) (seeds - 1), were all rows alike. The factor is the largest at which
    the simulated families of tests with one row in three, or one or two in eight, that spreads ten times as far as the
    others, hold their level.
    """
    return (seeds - 1) * min(2.25, (rows + 3) / 4)


def _seed_variance(spread: Spread, known: Sequence[Spread], rows: int) -> tuple[float, float]:
    """The variance of the seeds' effect on a pair's difference, and its degrees of freedom.

    Args:
        spread: of the pair.
        known: of the pairs with several seeds.
        rows: how many rows there are.
    """
    if not known:
        return 0.0, math.inf
    most = max(other.seeds for other in known)
    if spread.seeds == 1:  # what another draw would change is not known: as much as for the least steady pair
        return max(other.seed_variance for other in known), most - 1
    if len(known) == 1:
        return spread.seed_variance, spread.seeds - 1
    shared = float(np.median([other.seed_variance for other in known])) / _median_of_mean(most - 1)
    return max(shared, spread.seed_variance), shared_df(rows, spread.seeds)


def _median_of_mean(df: int) -> float:
    """Median of an estimated variance, of its mean."""
    from scipy.special import chdtri

    return float(chdtri(df, 0.5)) / df


def mcnemar(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Exact p-value of McNemar's test that two trainings, right or not about [N] patches, are right equally often.

    It covers the patches alone: another seed might give another answer.
    """
    from scipy.stats import binomtest

    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected so that a family of tests errs in any of them with the level of one (Holm 1979)."""
    corrected, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, p[i] * (len(p) - rank)))
        corrected[i] = largest
    return corrected
