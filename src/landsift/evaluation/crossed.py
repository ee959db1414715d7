"""Means over crossed seeds and patches: how far they would move with other seeds and with other patches.

All trainings of a comparison are tested on the same N patches, and S of them differ by their seed alone: the training
labels it draws and its random numbers. What holds for such values X [S, N] (1 where a training is right about a patch,
or the difference of two trainings) must hold for other seeds and other patches:

    X[s, n] = mean + seed[s] + patch[n] + rest[s, n]
    Var(mean of X) = Var(seed) / S + Var(patch) / N + Var(rest) / (S N)

The mean squares of the two-way analysis of variance estimate the three, and Student's t has Satterthwaite's degrees of
freedom. Studies in which several readers read the same cases are analysed so (Obuchowski & Rockette 1995,
Communications in Statistics 24, 285-308; Hillis 2007, Statistics in Medicine 26, 596-619); seeds are our readers.

Two or three seeds know little of their own variance. As in those studies pairs of rows share what they know of the
seeds' effect on a difference: here the median over the pairs, which a row that trains far less steadily than the others
does not move, and a pair's own variance where that is larger. Resampling seeds and patches (the pigeonhole bootstrap,
Owen 2007, Annals of Applied Statistics 1, 386-411) does not serve: three seeds drawn from three vary by two thirds of
what they should, and a normal distribution is too narrow for them. `benchmarks/comparison_errors.py` counts how often
each of them errs.
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


MEDIAN_EFFICIENCY = 2 / math.pi
"""Degrees of freedom of a median, of the mean's: its efficiency in large normal samples."""


@dataclass(frozen=True)
class Spread:
    """Mean of values [S, N] and what it varies with.

    Attributes:
        seeds: S.
        patches: N, at least two.
        mean: over all S N values.
        seed_variance: of the seeds' effect, unbiased and therefore sometimes negative; 0 with one seed.
        ms_patches: mean square of the patches, in expectation Var(rest) + S Var(patch).
        ms_rest: mean square of the rest; with one seed the two cannot be told apart.
    """

    seeds: int
    patches: int
    mean: float
    seed_variance: float
    ms_patches: float
    ms_rest: float


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval, and the p-value of it being zero."""

    mean: float
    interval: tuple[float, float]
    p: float


@dataclass(frozen=True)
class Difference:
    """Row `a` minus row `b` over the seeds they share; `covers_seeds` is false where one seed is all there is."""

    a: str
    b: str
    seeds: tuple[int, ...]
    estimate: Estimate
    covers_seeds: bool


def spread_of(values: NDArray[Any]) -> Spread:
    """Two-way analysis of variance of values [S, N], N at least two."""
    values = np.asarray(values, dtype=np.float64)
    S, N = values.shape
    mean, seeds, patches = values.mean(), values.mean(axis=1), values.mean(axis=0)
    ms_patches = float(S * np.square(patches - mean).sum() / (N - 1))
    if S == 1:
        return Spread(S, N, float(mean), 0.0, ms_patches, ms_patches)
    rest = values - seeds[:, None] - patches + mean
    ms_rest = float(np.square(rest).sum() / ((S - 1) * (N - 1)))
    # A mean square of patches below the rest's is chance: no variance is negative.
    return Spread(S, N, float(mean), float(seeds.var(ddof=1)) - ms_rest / N, max(ms_patches, ms_rest), ms_rest)


def estimate(spread: Spread, seed_variance: float, seed_df: float, alpha: float) -> Estimate:
    """Interval of 1 - alpha and two-sided p-value of a mean.

    Args:
        spread: what the values say.
        seed_variance: of the seeds' effect; what is negative counts as 0.
        seed_df: degrees of freedom of `seed_variance`; infinite where it is not estimated.
        alpha: what the interval leaves out.
    """
    from scipy.special import stdtr, stdtrit

    S, N = spread.seeds, spread.patches
    seeds = N * max(seed_variance, 0.0)
    total = seeds + spread.ms_patches
    # N patches which all agree are no stronger than the sign test on them.
    least = 2.0 ** (1 - N)
    if total == 0:
        return Estimate(spread.mean, (spread.mean, spread.mean), 1.0 if spread.mean == 0 else least)
    df = total**2 / ((seeds + spread.ms_rest) ** 2 / seed_df + spread.ms_patches**2 / (N - 1))
    error = math.sqrt(total / (S * N))
    half = error * float(stdtrit(df, 1 - alpha / 2))
    p = 2 * float(stdtr(df, -abs(spread.mean) / error))
    return Estimate(spread.mean, (spread.mean - half, spread.mean + half), max(p, least))


def differences(values: Mapping[str, Mapping[int, NDArray[Any]]], alpha: float) -> list[Difference]:
    """Every pair of rows that shares a seed, in the order of the names.

    Args:
        values: {row: {seed: values [N]}}; a row may lack seeds.
        alpha: what the intervals leave out.
    """
    spreads: dict[tuple[str, str], tuple[tuple[int, ...], Spread]] = {}
    for a, b in combinations(sorted(values), 2):
        seeds = tuple(sorted(values[a].keys() & values[b].keys()))
        if seeds:
            gaps = np.stack([np.subtract(values[a][seed], values[b][seed], dtype=np.float64) for seed in seeds])
            spreads[a, b] = seeds, spread_of(gaps)
    known = [spread.seed_variance for _, spread in spreads.values() if spread.seeds > 1]
    shared = float(np.median(known)) if known else 0.0
    df = MEDIAN_EFFICIENCY * _degrees_of_freedom(values) if known else math.inf
    return [
        Difference(
            a,
            b,
            seeds,
            # With one seed, a pair's own variance is not known, and what the others know of theirs is all there is.
            estimate(spread, max(shared, spread.seed_variance), max(df, spread.seeds - 1), alpha),
            covers_seeds=bool(known),
        )
        for (a, b), (seeds, spread) in spreads.items()
    ]


def _degrees_of_freedom(values: Mapping[str, Mapping[int, Any]]) -> int:
    """Cells less what rows and seeds explain; (rows - 1) (seeds - 1) where no cell is missing."""
    every = sorted({seed for seeds in values.values() for seed in seeds})
    design = [[r == row for r in values] + [s == seed for s in every] for row in values for seed in values[row]]
    return len(design) - int(np.linalg.matrix_rank(np.asarray(design, dtype=np.float64)))


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
