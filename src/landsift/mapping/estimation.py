"""Accuracy and areas of a map from a probability sample of its cells, with standard errors and intervals.

One estimator serves every design here: the ratio of two means over strata, with the variance of its linearised
residuals (Cochran, Sampling Techniques, 1977). Where the strata are the map's classes it equals Olofsson et al., "Good
practices for estimating area and assessing accuracy of land change", Remote Sensing of Environment 148, 2014; where
they are not, Stehman, "Estimating area and map accuracy for stratified random sampling when the strata are different
from the map classes", International Journal of Remote Sensing 35, 2014. Simple random sampling is the case of one
stratum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from landsift.errors import DataError

INTERVALS = ("wilson", "normal", "t", "logit")


@dataclass(frozen=True)
class Estimate:
    """A share in 0..1: its value, standard error and interval; NaN where the sample says nothing about it.

    `freedom` is the number of degrees of freedom of the standard error (Satterthwaite).
    """

    value: float
    error: float
    low: float
    high: float
    freedom: float


@dataclass(frozen=True)
class Assessment:
    """What a sample says about a map of K classes.

    Attributes:
        classes: Names, in the order of all that follows.
        counts: Sampled units, [K, K]; rows are the map's classes, columns the reference's.
        proportions: The error matrix in shares of the whole area, [K, K].
        overall, users, producers: Accuracies; the user's of a class the map lacks is NaN.
        areas: Each class's share of the whole area by the reference: the adjusted area.
        total: The area that the shares are of, in the unit of the strata's sizes.
    """

    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    proportions: NDArray[np.float64]
    overall: Estimate
    users: tuple[Estimate, ...]
    producers: tuple[Estimate, ...]
    areas: tuple[Estimate, ...]
    total: float


def assess(
    strata: ArrayLike,
    mapped: ArrayLike,
    reference: ArrayLike,
    sizes: Mapping[str, float],
    classes: Sequence[str],
    *,
    areas: ArrayLike | None = None,
    cells: Mapping[str, int] | None = None,
    interval: str = "wilson",
    confidence: float = 0.95,
) -> Assessment:
    """Accuracies and areas from units that were drawn at random, with equal chance within each stratum.

    Args:
        strata: Name of each sampled unit's stratum, [n].
        mapped: Name of its class in the map, [n].
        reference: Name of its true class, [n].
        sizes: Each stratum's area (or number of cells). Strata of no size are passed over.
        classes: Every class of map and reference.
        areas: Each unit's area where cells differ in it (degrees), [n]; the strata's means are then weighted by it.
        cells: Number of cells per stratum, for the correction of finite populations; none without.
        interval: One of `INTERVALS`. "wilson" combines Wilson's intervals of the strata by the method of variance
            estimates recovery (Zou, Huang & Zhang, Computational Statistics and Data Analysis 53, 2009). The default,
            because it alone stays near its confidence where a large stratum shows few errors or none
            (`benchmarks/area_intervals.py`): the others take a stratum without an error for one without uncertainty.
            "normal" is that of Olofsson et al., value ± 1.96 standard errors, cut at 0 and 1; "t" the same with
            Student's quantile; "logit" symmetric on the logit's scale, so within 0..1 without a cut. There, a share of
            exactly 0 or 1 has Clopper and Pearson's interval of the units it rests on.
        confidence: Of the intervals.

    Raises:
        DataError: A name is unknown, or a stratum has fewer than two units (and more cells than units).
    """
    if interval not in INTERVALS:
        raise DataError(f"interval {interval!r} is not known", f"Choose one of {', '.join(INTERVALS)}.")
    stratum, row, column = (np.asarray(names, dtype=object) for names in (strata, mapped, reference))
    if not len(stratum) == len(row) == len(column):
        raise DataError("strata, mapped and reference classes differ in number", "Give one of each per sampled unit.")
    for what, names, known in (("stratum", stratum, sizes), ("class", row, classes), ("class", column, classes)):
        strangers = sorted({str(name) for name in names} - {str(name) for name in known})
        if strangers:
            raise DataError(f"{what} {strangers[0]!r} of the sample is not known", f"Known: {', '.join(known)}.")
    design = _Design(stratum, sizes, areas, cells, interval, confidence)
    maps = [row == name for name in classes]
    truths = [column == name for name in classes]
    everything = np.ones(len(row), bool)
    correct = row == column
    return Assessment(
        classes=tuple(classes),
        counts=np.array([[np.sum(m & t) for t in truths] for m in maps], dtype=np.int64),
        proportions=np.array([[design.total(m & t) for t in truths] for m in maps]),
        overall=design.ratio(correct, everything),
        users=tuple(design.ratio(m & correct, m) for m in maps),
        producers=tuple(design.ratio(t & correct, t) for t in truths),
        areas=tuple(design.ratio(t, everything) for t in truths),
        total=design.size,
    )


class _Design:
    """Strata with their shares, units and weights, and the ratio estimator over them."""

    def __init__(
        self,
        stratum: NDArray[np.object_],
        sizes: Mapping[str, float],
        areas: ArrayLike | None,
        cells: Mapping[str, int] | None,
        interval: str,
        confidence: float,
    ) -> None:
        self.interval, self.confidence = interval, confidence
        self.size = float(sum(sizes.values()))
        self.strata: list[tuple[float, NDArray[np.intp], NDArray[np.float64], float]] = []
        area = np.ones(len(stratum)) if areas is None else np.asarray(areas, float)
        for name, size in sizes.items():
            units = np.flatnonzero(stratum == name)
            if not size:
                continue
            sampled = len(units) / cells[name] if cells else 0.0
            if len(units) < 2 and sampled < 1:
                raise DataError(
                    f"stratum {name!r} has {len(units) or 'no'} labelled unit{'s' * (len(units) != 1)}, and a variance "
                    "needs two",
                    "label more of its points",
                )
            self.strata.append((size / self.size, units, area[units] / area[units].mean(), 1.0 - sampled))

    def total(self, y: NDArray[np.bool_]) -> float:
        """The share of the whole area where `y` holds."""
        return float(sum(share * np.mean(weight * y[units]) for share, units, weight, _ in self.strata))

    def ratio(self, y: NDArray[np.bool_], x: NDArray[np.bool_]) -> Estimate:
        """The share of `x` where `y` holds too; `y` lies within `x`."""
        whole = self.total(x)
        if not whole:
            return Estimate(*[float("nan")] * 5)
        value = self.total(y) / whole
        parts, freedom = [], []
        for share, units, weight, unseen in self.strata:
            n = len(units)
            residual = y[units] - value * x[units]
            # The weighted mean of a stratum is a ratio itself: its residuals are taken about that mean.
            residual = weight * (residual - np.mean(weight * residual))
            if n > 1:
                parts.append(share**2 * unseen * np.sum(residual**2) / (n - 1) / n / whole**2)
                freedom.append(n - 1)
        variance = float(np.sum(parts))
        spread = float(np.sum(np.square(parts) / freedom)) if parts else 0.0
        df = variance**2 / spread if spread > 0 else float(max(int(np.sum(x)) - 1, 1))
        if self.interval == "wilson":
            low, high = self._recovered(y, x, value)
        else:
            low, high = limits(value, variance**0.5, df, int(np.sum(x)), self.interval, self.confidence)
        return Estimate(value, variance**0.5, low, high, df)

    def _recovered(self, y: NDArray[np.bool_], x: NDArray[np.bool_], value: float) -> tuple[float, float]:
        """Limits of the ratio from Wilson's limits of its parts in each stratum.

        With a the share of a stratum where `y` holds and b that where `x` holds without it, the ratio is the R at which
        d(R) = sum of share ((1 - R) a - R b) is 0. Its limits are the R at which 0 is a limit of d(R). Within a stratum
        a and b vary against each other, as in a multinomial sample.
        """
        z = float(stats.norm.ppf((1 + self.confidence) / 2))
        n = np.array([len(units) for _, units, _, _ in self.strata], float)
        share = np.array([share for share, _, _, _ in self.strata])
        scale = share * np.sqrt([unseen for _, _, _, unseen in self.strata])
        a, b = (
            np.clip([np.mean(weight * part[units]) for _, units, weight, _ in self.strata], 0, 1)
            for part in (y, x & ~y)
        )
        (a_low, a_high), (b_low, b_high) = (_wilson(part, n, z) for part in (a, b))
        odds = a * b / np.maximum((1 - a) * (1 - b), np.finfo(float).tiny)
        against = np.where((a > 0) & (b > 0), np.sqrt(np.minimum(odds, 1)), (a == 1) | (b == 1))

        def reach(ratio: float, of_a: NDArray[np.float64], of_b: NDArray[np.float64]) -> float:
            one, other = (1 - ratio) * scale * of_a, ratio * scale * of_b
            return float(np.sqrt(np.sum(one**2 + other**2 + 2 * against * one * other)))

        def distance(ratio: float) -> float:
            return float(np.sum(share * ((1 - ratio) * a - ratio * b)))

        low = _root(lambda ratio: distance(ratio) - reach(ratio, a - a_low, b_high - b))
        high = _root(lambda ratio: distance(ratio) + reach(ratio, a_high - a, b - b_low))
        return min(low, value), max(high, value)


def _wilson(
    p: NDArray[np.float64], n: NDArray[np.float64], z: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's limits of shares `p` of `n` units."""
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return np.minimum(np.maximum(middle - half, 0), p), np.maximum(np.minimum(middle + half, 1), p)


def _root(falling: Callable[[float], float]) -> float:
    """Where a function that falls from 0 to 1 is 0; the end where it is not."""
    if falling(0.0) <= 0:
        return 0.0
    return 1.0 if falling(1.0) >= 0 else float(optimize.brentq(falling, 0.0, 1.0, xtol=1e-12))


def limits(
    value: float, error: float, freedom: float, units: int, interval: str, confidence: float
) -> tuple[float, float]:
    """The interval of a share in 0..1 from its standard error; see `assess`. `units` are what it rests on."""
    tail = (1 - confidence) / 2
    if interval == "logit":
        if value <= 0 or value >= 1:
            reach = 1 - tail ** (1 / units)
            return (0.0, reach) if value <= 0 else (1 - reach, 1.0)
        if error <= 0:
            return value, value
        middle = np.log(value / (1 - value))
        half = stats.t.ppf(1 - tail, freedom) * error / (value * (1 - value))
        return float(1 / (1 + np.exp(half - middle))), float(1 / (1 + np.exp(-half - middle)))
    quantile = stats.norm.ppf(1 - tail) if interval == "normal" else stats.t.ppf(1 - tail, freedom)
    return max(0.0, float(value - quantile * error)), min(1.0, float(value + quantile * error))
