"""Which of several rows to use at a label budget.

The best row is chosen on the validation patches, as the best epoch of each training was, and what it is worth is told
by the test patches, which no choice has seen. A row that computes less is recommended in its place only where the test
shows that it is not worse by more than a margin: non-inferiority, by a one-sided test against the best row, corrected
for the number of the others (Bonferroni). That two rows cannot be told apart is no such evidence: few test patches
tell nothing apart. A loss of the margin needs wrong patches, and so the test's variance is at least that of a loss by
as few of them as can be; patches on which two rows agree by chance then prove nothing.
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
"""Verdicts on a row against the best one: the first and the second are shown, at the level of the tests."""


@dataclass(frozen=True)
class Rule:
    """By what rows are chosen.

    Attributes:
        criterion: accuracy, macro_f1 or balanced_accuracy.
        margin: how much worse than the best a row may be that computes less, as a share (0.01 is one point).
        alpha: error of the tests.

    Raises:
        ConfigError: there is no such criterion, or the margin is none.
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
                f"a margin of {100 * self.margin:g} points is none", "give points between 0 and 100, such as 1"
            )

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Standing:
    """How a row stands against the best one, on the test patches.

    Attributes:
        row: its name.
        difference: its figure less the best one's.
        worst: the lower end of the difference by the corrected one-sided test, -1 at least.
        p: of the row being worse by the margin or more, not corrected.
        verdict: `WITHIN`, `BEYOND` or `OPEN`.
        limited_by: what an open verdict lacks: "test patches" or "test groups", or "seeds" where these bring most of
            the variance.
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
        best: the row with the highest validation figure; of equals the one that computes less.
        row: the one to use: of the best and those shown to be within the margin, the one that computes least.
        standings: the others, without those that share no seed with the best one.
        apart: those that share no seed with it, and cannot be held against it.
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
        validation: figure of each row on the validation patches, mean over its seeds.
        work: what a training of each row computes, in any unit.
        values: {row: {seed: values of the test patches or their groups [N]}}, whose mean is the figure.
        patches: how many patches the figure is a mean of, in effect (`criteria.worth`).
        rule: by what is chosen.
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
    """A row by its difference to the best, tested at `alpha`, which is corrected for the number of rows."""
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
    """The rows of a verdict that compute less than the recommended one, the cheapest first."""
    least = work[recommendation.row]
    found = [s for s in recommendation.standings if s.verdict == verdict and work[s.row] < least]
    return sorted(found, key=lambda s: (work[s.row], s.row))
