"""The statistics of a comparison: rows (strategies, with or without a model variant) x label budgets x seeds.

Every interval and every test covers the variation between seeds and between test patches, or their groups (`two_way`).
With one seed they cover the patches only, and say so. Pairs are tested at each budget and corrected for their number
(Holm 1979). `recommendation` selects among the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.errors import DataError
from landsift.evaluation.conclusions import findings, recommendation_sentence
from landsift.evaluation.criteria import WORDS, figure_of, per_class_of, values_of, worth
from landsift.evaluation.intervals import effective_interval
from landsift.evaluation.recommendation import WITHIN, Rule, recommend
from landsift.evaluation.two_way import (
    Difference,
    differences,
    folds_factor,
    groups_df,
    holm,
    mcnemar,
    over_groups,
    own_estimate,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROBE = "linear_probe"
"""The row that others are compared with by default."""


@dataclass(frozen=True, eq=False)
class Cell:
    """A trial: one training, tested.

    Attributes:
        row: a strategy, or a strategy and a model variant.
        budget: number of training labels.
        seed: of the training labels and the random numbers.
        labels: int [N], the test patches' classes; the same patches in the same order in all cells.
        predicted: int [N], the classes the training predicts.
        validation: int [K, K], confusion matrix of the validation patches, of the epoch that was tested.
        classes: K names.
        work: floating-point operations of the training, without validation and test.
        train_seconds: wall time of the same.
        trainable: parameters that train, in the phase that trains most.
        parameters: all parameters.
    """

    row: str
    budget: int
    seed: int
    labels: NDArray[Any]
    predicted: NDArray[Any]
    validation: NDArray[Any]
    classes: tuple[str, ...]
    work: float
    train_seconds: float
    trainable: int
    parameters: int


Table = dict[int, dict[str, dict[int, Cell]]]
"""Cells by budget, row and seed."""
Numbers = Mapping[int, Mapping[str, Mapping[int, "NDArray[np.float64]"]]]
"""Values of the criterion, of a patch or a group each, by budget, row and seed."""


@dataclass(frozen=True, eq=False)
class _Test:
    """The test that all cells share: the number of patches, and their groups or None.

    In a cross-validation, folds are in place of groups (`folded`).
    """

    patches: int
    groups: NDArray[np.int64] | None
    folded: bool = False

    @property
    def units(self) -> str:
        """What intervals and tests cover in addition to the seeds."""
        return "patches" if self.groups is None else "folds" if self.folded else "groups"

    @property
    def units_df(self) -> float | None:
        return None if self.groups is None else groups_df(self.groups)

    @property
    def factor(self) -> float:
        return 1.0 if self.groups is None or not self.folded else folds_factor(int(self.groups.max()) + 1)

    def values(self, criterion: str, cell: Cell) -> NDArray[np.float64]:
        """Values of a cell, a patch or a group each."""
        values = values_of(criterion, cell.labels, cell.predicted, len(cell.classes))
        return values if self.groups is None else over_groups(values[None], self.groups)[0]

    def covers(self, seeds: bool) -> str:
        return f"seeds and {self.units}" if seeds else self.units


def compare_cells(
    cells: Iterable[Cell],
    reference: Callable[[str], str | None] = lambda _: PROBE,
    rule: Rule | None = None,
    groups: NDArray[Any] | None = None,
    folds: NDArray[Any] | None = None,
) -> dict[str, Any]:
    """Compare trials; failed ones may be missing, and their order does not matter.

    Args:
        cells: the trials, at most one per row, budget and seed.
        reference: which row a row is compared with in relative compute and in the findings, None for none. A row may be
            its own reference, and a reference that was not trained counts as none.
        rule: how rows are selected and compared; None: accuracy, a margin of one point, tests at 5 %.
        groups: [N], the test patches' groups, such as names of scenes; None, or a single group: patches are taken to be
            independent.
        folds: [N], the fold of each test patch in a cross-validation; a cell's predictions are then those of the trials
            of all folds together, and intervals and tests are over folds in place of groups.

    Returns:
        Plain numbers, ready for JSON; `covers` is "seeds and patches", or "patches" where one seed is all there is, and
        the same with "groups".

        `rule`, `patches` (N), `groups` (how many, or None).
        `results`, one per budget and row: budget, row, seeds, accuracy, macro_f1, balanced_accuracy (means over seeds),
        accuracy_interval, macro_f1_interval, balanced_accuracy_interval, accuracy_per_seed, validation {accuracy,
        macro_f1, balanced_accuracy: mean over seeds}, f1 {class: mean over seeds}, covers, trainable, parameters, share
        (of the parameters that train), work and train_seconds (medians over seeds), relative_work (against the
        reference at the same budget, or None).
        `pairs`, one per budget and two rows that share a seed: budget, a, b, seeds (those they share), difference
        (the criterion's figure of a minus that of b), interval (of this pair alone, not corrected), p, p_corrected
        (over the budget's pairs), verdict ("better", "worse" or "not distinguishable": a against b, corrected), test
        ("two-way"; with one seed "mcnemar", or "t" with groups or a criterion other than accuracy), covers.
        `trends`, one per row with a reference, from the smallest to the largest budget: row, reference, from, to,
        seeds, difference (how much more the row gains than its reference), interval, p, p_corrected (over all trends),
        verdict ("gains", "loses" or "not distinguishable"), covers.
        `recommendations`, one per budget: budget, row, best (the highest figure on validation), within_margin (the best
        and the rows shown to be within the margin of it), standings (as `recommendation.Standing`), sentence.
        `findings`: sentences on the rows against their references, and on how that changes with the budget.

    Raises:
        DataError: there are no cells, one is there twice, or they were not tested on the same patches and classes.
    """
    rule = rule or Rule()
    cells = sorted(cells, key=lambda cell: (cell.budget, cell.row, cell.seed))
    _check(cells, groups)
    number = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    known = 0 if number is None else int(number.max()) + 1
    test = _Test(len(cells[0].labels), number if known > 1 else None)
    if folds is not None:
        test = _Test(test.patches, np.unique(np.asarray(folds), return_inverse=True)[1], folded=True)
    table: Table = {}
    for cell in cells:
        table.setdefault(cell.budget, {}).setdefault(cell.row, {})[cell.seed] = cell
    values: Numbers = {
        budget: {
            row: {seed: test.values(rule.criterion, cell) for seed, cell in seeds.items()}
            for row, seeds in rows.items()
        }
        for budget, rows in table.items()
    }
    results = [
        {"budget": budget, "row": row, **_result(list(seeds.values()), test, rule.alpha)}
        for budget, rows in table.items()
        for row, seeds in rows.items()
    ]
    _add_relative_work(results, reference)
    pairs = [pair for budget in table for pair in _pairs(budget, table[budget], values[budget], test, rule)]
    trends = _trends(values, reference, test, rule.alpha)
    patches = worth(rule.criterion, cells[0].labels)
    return {
        "rule": rule.to_dict(),
        "patches": test.patches,
        "groups": known or None,
        "results": results,
        "pairs": pairs,
        "trends": trends,
        "recommendations": [
            _recommendation(budget, [r for r in results if r["budget"] == budget], values[budget], patches, test, rule)
            for budget in table
        ],
        "findings": findings(results, pairs, trends, reference, rule),
    }


def _check(cells: Sequence[Cell], groups: NDArray[Any] | None) -> None:
    if not cells:
        raise DataError("there are no trainings to compare", "look at why they failed")
    for (budget, row, seed), same in groupby(cells, key=lambda cell: (cell.budget, cell.row, cell.seed)):
        if len(list(same)) > 1:
            raise DataError(f"{row} with {budget} labels and seed {seed} is there twice")
    first = cells[0]
    for cell in cells:
        name = f"{cell.row} with {cell.budget} labels and seed {cell.seed}"
        other = f"{first.row} with {first.budget} labels and seed {first.seed}"
        if cell.classes != first.classes:
            raise DataError(f"{name} knows other classes than {other}", "compare trainings of one set of patches")
        if not np.array_equal(cell.labels, first.labels):
            raise DataError(
                f"{name} was tested on other patches than {other}",
                "compare trainings that share one test split, its patches in one order",
            )
        if cell.predicted.shape != cell.labels.shape:
            raise DataError(f"{name} has {len(cell.predicted)} predictions for {len(cell.labels)} patches")
        for kind, numbers in (("label", cell.labels), ("prediction", cell.predicted)):
            if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(cell.classes):
                raise DataError(f"a {kind} of {name} lies outside the {len(cell.classes)} classes")
        if cell.validation.shape != (len(cell.classes),) * 2 or cell.validation.sum() < 1:
            raise DataError(f"{name} has no figures of validation patches in these {len(cell.classes)} classes")
    if groups is not None and len(groups) != len(first.labels):
        raise DataError(f"{len(groups)} groups were given for {len(first.labels)} test patches")
    if len(first.labels) < 2:
        raise DataError(
            f"{len(first.labels)} test patches cannot tell trainings apart",
            "give the test a larger share of the patches",
        )


def _result(cells: Sequence[Cell], test: _Test, alpha: float) -> dict[str, Any]:
    """Results of one row at one budget."""
    figures: dict[str, Any] = {}
    for name in WORDS:
        values = np.stack([test.values(name, cell) for cell in cells])
        figures[name], figures[f"{name}_interval"] = _mean(values, worth(name, cells[0].labels), test, alpha)
    accuracy = [float(np.mean(cell.predicted == cell.labels)) for cell in cells]
    f1 = np.mean([_f1(cell) for cell in cells], axis=0)
    trainable, parameters = max(cell.trainable for cell in cells), max(cell.parameters for cell in cells)
    return {
        "seeds": [cell.seed for cell in cells],
        **figures,
        "accuracy_per_seed": accuracy,
        "validation": {name: fmean(figure_of(name, cell.validation) for cell in cells) for name in WORDS},
        "f1": dict(zip(cells[0].classes, f1.tolist(), strict=True)),
        "covers": test.covers(len(cells) > 1),
        "trainable": trainable,
        "parameters": parameters,
        "share": trainable / parameters if parameters else 0.0,
        "work": float(median(cell.work for cell in cells)),
        "train_seconds": float(median(cell.train_seconds for cell in cells)),
    }


def _mean(values: NDArray[Any], patches: float, test: _Test, alpha: float) -> tuple[float, list[float]]:
    """Mean of values [S, N] and its interval; the seeds' variance is this row's own, `patches` is of `worth`."""
    found = own_estimate(values, test.units_df, test.factor)
    figure = float(np.clip(found.mean, 0.0, 1.0))
    extreme = patches if test.units_df is None or test.folded else test.units_df + 1
    most = len(values) * patches
    return figure, effective_interval(figure, found.error**2, found.df, most, extreme, 1 - alpha)


def _f1(cell: Cell) -> NDArray[np.float64]:
    """F1 of each class, [K]; 0 where it is undefined."""
    K, right = len(cell.classes), cell.labels == cell.predicted
    hits, guessed, true = (np.bincount(n, minlength=K) for n in (cell.labels[right], cell.predicted, cell.labels))
    return np.asarray(np.nan_to_num(per_class_of(hits, guessed, true)[2]))


def _add_relative_work(results: Sequence[dict[str, Any]], reference: Callable[[str], str | None]) -> None:
    work = {(result["budget"], result["row"]): result["work"] for result in results}
    for result in results:
        base = work.get((result["budget"], reference(result["row"])))
        result["relative_work"] = result["work"] / base if base else None


def _pairs(
    budget: int,
    cells: Mapping[str, Mapping[int, Cell]],
    values: Mapping[str, Mapping[int, NDArray[Any]]],
    test: _Test,
    rule: Rule,
) -> list[dict[str, Any]]:
    """Every pair of rows at one budget."""
    pairs = []
    for pair in differences(values, test.units_df, factor=test.factor):
        p, name = pair.estimate.p, "folds" if test.folded else "two-way" if pair.covers_seeds else "t"
        if not pair.covers_seeds and rule.criterion == "accuracy" and test.groups is None:
            a, b = (cells[row][pair.seeds[0]] for row in (pair.a, pair.b))
            p, name = mcnemar(a.predicted == a.labels, b.predicted == b.labels), "mcnemar"
        named = {"budget": budget, "a": pair.a, "b": pair.b}
        pairs.append(named | _plain(pair, test, rule.alpha) | {"p": p, "test": name})
    return _judged(pairs, rule.alpha, ("better", "worse"))


def _trends(values: Numbers, reference: Callable[[str], str | None], test: _Test, alpha: float) -> list[dict[str, Any]]:
    """How much more the rows improve than their references, from the smallest budget to the largest.

    A row's gain on a patch is a value like any other, so that the test is the one of the pairs.
    """
    first, last = min(values), max(values)
    if first == last:
        return []
    gains = {
        row: {
            seed: values[last][row][seed] - values[first][row][seed]
            for seed in values[first][row].keys() & values[last][row].keys()
        }
        for row in values[first].keys() & values[last].keys()
    }
    found = {(pair.a, pair.b): (pair, 1) for pair in differences(gains, test.units_df, factor=test.factor)}
    found |= {(b, a): (pair, -1) for (a, b), (pair, _) in found.items()}
    trends = []
    for row in sorted(gains):
        base = reference(row)
        if (pair_and_sign := found.get((row, base or ""))) is None:
            continue
        pair, sign = pair_and_sign
        named = {"row": row, "reference": base, "from": first, "to": last}
        trends.append(named | _plain(pair, test, alpha, sign))
    return _judged(trends, alpha, ("gains", "loses"))


def _plain(pair: Difference, test: _Test, alpha: float, sign: int = 1) -> dict[str, Any]:
    """A difference as plain numbers; with -1 it is b's minus a's."""
    return {
        "seeds": list(pair.seeds),
        "difference": sign * pair.estimate.mean,
        "interval": sorted(sign * end for end in pair.estimate.interval(alpha)),
        "p": pair.estimate.p,
        "covers": test.covers(pair.covers_seeds),
    }


def _judged(tests: list[dict[str, Any]], alpha: float, words: tuple[str, str]) -> list[dict[str, Any]]:
    """Tests with Holm's correction over all of them, and the verdict in words for above and below zero."""
    for test, corrected in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test["p_corrected"] = corrected
        distinct = corrected <= alpha and test["difference"] != 0
        test["verdict"] = words[test["difference"] < 0] if distinct else "not distinguishable"
    return tests


def _recommendation(
    budget: int,
    results: Sequence[Mapping[str, Any]],
    values: Mapping[str, Mapping[int, NDArray[Any]]],
    patches: float,
    test: _Test,
    rule: Rule,
) -> dict[str, Any]:
    """The choice at one budget, with the reasons; `patches` is of `worth`."""
    validation = {result["row"]: result["validation"][rule.criterion] for result in results}
    work = {result["row"]: result["work"] for result in results}
    found = recommend(validation, work, values, patches, rule, test.units_df, test.units, test.factor)
    within = sorted((s for s in found.standings if s.verdict == WITHIN), key=lambda s: (work[s.row], s.row))
    return {
        "budget": budget,
        "row": found.row,
        "best": found.best,
        "within_margin": [found.best, *(s.row for s in within)],
        "standings": [asdict(s) for s in found.standings],
        "sentence": recommendation_sentence(budget, found, results, rule),
    }
