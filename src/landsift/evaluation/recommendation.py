"""Which of several rows to recommend at a label budget.

The best row is selected on the validation patches, as the best epoch of each trial was. It is reported with its result
on the test patches, on which nothing is selected. A row that needs less compute is recommended instead only if the test
shows that it is at most a margin worse: non-inferiority, by a one-sided test against the best row, corrected for the
number of the others (Bonferroni). That two rows do not differ significantly does not show this, because with few test
patches nothing does. A loss as large as the margin needs a number of wrong patches. So the variance of the test is at
least that of a loss by the smallest such number, and chance agreement on few patches shows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from landsift.errors import ConfigError, nearest
from landsift.evaluation.criteria import WORDS
from landsift.evaluation.two_way import Estimate, differences

if TYPE_CHECKING:
    from numpy.typing import NDArray

WITHIN, BEYOND, OPEN = "within the margin", "beyond the margin", "not decided"
"""Verdicts on a row compared with the best one: the first two are significant, at the level of the tests."""


@dataclass(frozen=True)
class Rule:
    """The rule for recommending a row.

    Attributes:
        criterion: accuracy, macro_f1 or balanced_accuracy.
        margin: how much worse than the best a row with less compute may be, as a share (0.01 is one point).
        alpha: significance level of the tests.

    Raises:
        ConfigError: there is no such criterion, or the margin is not between 0 and 1.
    """

    criterion: str = "accuracy"
    margin: float = 0.01
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if self.criterion not in WORDS:
            hint = nearest(self.criterion, WORDS) or f"known: {', '.join(WORDS)}"
            raise ConfigError(f"unknown criterion '{self.criterion}'", hint)
        if not 0 < self.margin < 1:
            raise ConfigError(
                f"a margin of {100 * self.margin:g} points is not possible", "give points between 0 and 100, such as 1"
            )

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Standing:
    """A row compared with the best one, on the test patches.

    Attributes:
        row: its name.
        difference: its result minus that of the best row.
        worst: the lower end of the difference by the corrected one-sided test, -1 at least.
        p: of the hypothesis that the row is worse by the margin or more, not corrected.
        verdict: `WITHIN`, `BEYOND` or `OPEN`.
        limited_by: what there are too few of for a verdict: "test patches" or "test groups", or "seeds" if these
            contribute most of the variance.
    """

    row: str
    difference: float
    worst: float
    p: float
    verdict: str
    limited_by: str


@dataclass(frozen=True)
class Recommendation:
    """The choice at one budget.

    Attributes:
        best: the row with the highest validation result; if several, the one with the least compute.
        row: the recommended one: of the best and those shown to be within the margin, the one with the least compute.
        standings: the others, without those that have no seed in common with the best one.
        apart: those that have no seed in common with it, and cannot be compared with it.
    """

    best: str
    row: str
    standings: tuple[Standing, ...]
    apart: tuple[str, ...]


def recommend(
    validation: Mapping[str, float],
    work: Mapping[str, float],
    values: Mapping[str, Mapping[int, NDArray[Any]]],
    patches: float,
    rule: Rule,
    units_df: float | None = None,
    units: str = "patches",
    factor: float = 1.0,
) -> Recommendation:
    """Choose among the rows of one budget.

    Args:
        validation: result of each row on the validation patches, mean over its seeds.
        work: compute of a trial of each row, in any unit.
        values: {row: {seed: values of the test patches or their groups [N]}}, whose mean is the result.
        patches: effective number of patches that the result is a mean of (`criteria.worth`).
        rule: the rule for recommending.
        units_df: as in `two_way.spread_of`.
        units: what the values are of: "patches", "groups" or "folds".
        factor: as in `two_way.spread_of`.
    """
    best = min(validation, key=lambda row: (-validation[row], work[row], row))
    margin, alpha = rule.margin, rule.alpha
    against: dict[str, Estimate] = {}
    for pair in differences(values, units_df, least=margin * (1 - margin) / patches, factor=factor):
        if best in (pair.a, pair.b):
            row = pair.b if pair.a == best else pair.a
            against[row] = pair.estimate if pair.b == best else pair.estimate.negative
    units = units if units == "folds" else f"test {units}"
    standings = tuple(_standing(row, against[row], margin, alpha / len(against), units) for row in sorted(against))
    allowed = [best, *(s.row for s in standings if s.verdict == WITHIN)]
    chosen = min(allowed, key=lambda row: (work[row], row != best, row))
    return Recommendation(best, chosen, standings, tuple(sorted(validation.keys() - against.keys() - {best})))


def _standing(row: str, gap: Estimate, margin: float, alpha: float, units: str) -> Standing:
    """A row by its difference from the best, tested at `alpha`, which is corrected for the number of rows."""
    within, beyond = gap.above(-margin), gap.negative.above(margin)
    return Standing(
        row=row,
        difference=gap.mean,
        worst=max(gap.interval(2 * alpha)[0], -1.0),
        p=within,
        verdict=WITHIN if within <= alpha else BEYOND if beyond <= alpha else OPEN,
        limited_by="seeds" if gap.from_seeds > 0.5 else units,
    )


def cheaper(recommendation: Recommendation, work: Mapping[str, float], verdict: str) -> Sequence[Standing]:
    """The rows with a verdict that need less compute than the recommended one, the cheapest first."""
    least = work[recommendation.row]
    found = [s for s in recommendation.standings if s.verdict == verdict and work[s.row] < least]
    return sorted(found, key=lambda s: (work[s.row], s.row))
