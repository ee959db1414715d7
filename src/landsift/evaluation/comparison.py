"""The statistics of a comparison: rows (strategies, with or without a model variant) x label budgets x seeds.

Every interval and every test covers the seeds as well as the test patches; `crossed` says how. With one seed they can
cover the patches alone, and say so. Pairs are tested at each budget, and corrected for their number (Holm 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.errors import DataError
from landsift.evaluation.criteria import per_class_of
from landsift.evaluation.crossed import Difference, differences, estimate, holm, mcnemar, spread_of
from landsift.evaluation.reading import findings, recommendations

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROBE = "linear_probe"
"""The row that others are held against, if nothing else is said."""
ALPHA = 0.05
"""Error of the tests and of the intervals."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One training, tested.

    Attributes:
        row: the competitor's name: a strategy, or a strategy and a model variant.
        budget: number of training labels.
        seed: draws the training labels and the random numbers.
        labels: int [N], the test patches' classes; the same patches in the same order in all cells.
        predicted: int [N], the classes the training predicts.
        classes: K names.
        train_seconds: wall time of the training.
        trainable: parameters that train, in the phase that trains most.
        parameters: all parameters.
    """

    row: str
    budget: int
    seed: int
    labels: NDArray[Any]
    predicted: NDArray[Any]
    classes: tuple[str, ...]
    train_seconds: float
    trainable: int
    parameters: int


Table = dict[int, dict[str, dict[int, Cell]]]
"""Cells by budget, row and seed."""


def compare_cells(
    cells: Iterable[Cell],
    reference: Callable[[str], str | None] = lambda _: PROBE,
    alpha: float = ALPHA,
) -> dict[str, Any]:
    """Compare trainings; cells that failed may be missing, and the cells' order does not matter.

    Args:
        cells: the trainings, at most one per row, budget and seed.
        reference: which row a row is held against in relative time and in the findings, None for none; a row may be
            its own, and a reference that was not trained counts as none. A mapping's `get` will do.
        alpha: error of the tests; the intervals cover 1 - alpha.

    Returns:
        Plain numbers, ready for JSON; `covers` is "seeds and patches", or "patches" where one seed is all there is.

        `alpha`, `patches` (N).
        `results`, one per budget and row: budget, row, seeds, accuracy (mean over seeds), accuracy_interval,
        accuracy_per_seed, macro_f1, macro_f1_interval, f1 {class: mean over seeds}, covers, trainable, parameters,
        share (of the parameters that train), train_seconds (median over seeds), relative_time (against the reference
        at the same budget, or None).
        `pairs`, one per budget and two rows that share a seed: budget, a, b, seeds (those they share), difference
        (accuracy of a minus b), interval (of this pair alone, not corrected), p, p_corrected (over the budget's
        pairs), verdict ("better", "worse" or "not distinguishable": a against b, corrected), test ("two-way" or
        "mcnemar"), covers.
        `trends`, one per row with a reference, from the smallest to the largest budget: row, reference, from, to,
        seeds, difference (how much more accuracy the row gains than its reference), interval, p, p_corrected (over all
        trends), verdict ("gains", "loses" or "not distinguishable"), covers.
        `recommendations`, one per budget: budget, row (the least training time among not_worse), best (the highest
        mean accuracy), not_worse (rows that are not distinguishably worse than the best, which comes first), sentence.
        `findings`: sentences on the rows against their references, and on how that changes with the budget.

    Raises:
        DataError: there are no cells, one is there twice, or they were not tested on the same patches and classes.
    """
    cells = sorted(cells, key=lambda cell: (cell.budget, cell.row, cell.seed))
    _check(cells)
    table: Table = {}
    for cell in cells:
        table.setdefault(cell.budget, {}).setdefault(cell.row, {})[cell.seed] = cell
    right: dict[int, dict[str, dict[int, NDArray[np.int8]]]] = {
        budget: {
            row: {seed: (cell.predicted == cell.labels).astype(np.int8) for seed, cell in seeds.items()}
            for row, seeds in rows.items()
        }
        for budget, rows in table.items()
    }
    results = [
        {"budget": budget, "row": row, **_result(list(seeds.values()), alpha)}
        for budget, rows in table.items()
        for row, seeds in rows.items()
    ]
    _add_relative_times(results, reference)
    pairs = [pair for budget in right for pair in _pairs(budget, right[budget], alpha)]
    trends = _trends(right, reference, alpha)
    return {
        "alpha": alpha,
        "patches": len(cells[0].labels),
        "results": results,
        "pairs": pairs,
        "trends": trends,
        "recommendations": recommendations(results, pairs),
        "findings": findings(results, pairs, trends, reference, alpha),
    }


def _check(cells: Sequence[Cell]) -> None:
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
    if len(first.labels) < 2:
        raise DataError(
            f"{len(first.labels)} test patches cannot tell trainings apart",
            "give the test a larger share of the patches",
        )


def _result(cells: Sequence[Cell], alpha: float) -> dict[str, Any]:
    """Figures of one row at one budget."""
    accuracy = np.stack([cell.predicted == cell.labels for cell in cells])
    f1, macro_f1 = map(np.stack, zip(*map(_f1, cells), strict=True))
    figures: dict[str, Any] = {}
    for name, values in (("accuracy", accuracy), ("macro_f1", macro_f1)):
        figures[name], figures[f"{name}_interval"] = _mean(values, alpha)
    trainable, parameters = max(cell.trainable for cell in cells), max(cell.parameters for cell in cells)
    return {
        "seeds": [cell.seed for cell in cells],
        **figures,
        "accuracy_per_seed": accuracy.mean(axis=1).tolist(),
        "f1": dict(zip(cells[0].classes, f1.mean(axis=0).tolist(), strict=True)),
        "covers": _covers(len(cells) > 1),
        "trainable": trainable,
        "parameters": parameters,
        "share": trainable / parameters if parameters else 0.0,
        "train_seconds": float(median(cell.train_seconds for cell in cells)),
    }


def _mean(values: NDArray[Any], alpha: float) -> tuple[float, list[float]]:
    """Mean of values [S, N] and its interval within 0 and 1; the seeds' variance is this row's own."""
    spread = spread_of(values)
    found = estimate(spread, spread.seed_variance, spread.seeds - 1 or np.inf, alpha)
    low, high = found.interval
    return found.mean, [min(max(0.0, low), found.mean), max(min(1.0, high), found.mean)]


def _f1(cell: Cell) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """F1 [K], and values [N] whose mean is macro F1 and whose spread over the patches is that of macro F1.

    The values are macro F1 plus each patch's influence on it: F1 = 2 hits / (true + predicted), and a patch adds to the
    three counts (the infinitesimal jackknife, Efron 1982). Macro F1 is the mean over the classes that occur.
    """
    K, N = len(cell.classes), len(cell.labels)
    labels, predicted = cell.labels.astype(np.int64), cell.predicted.astype(np.int64)
    true, guessed = np.bincount(labels, minlength=K), np.bincount(predicted, minlength=K)
    f1 = np.nan_to_num(per_class_of(np.bincount(labels[labels == predicted], minlength=K), guessed, true)[2])
    occurs = true + guessed > 0
    weight = np.where(occurs, N / np.maximum(true + guessed, 1), 0.0) / occurs.sum()
    influence = 2 * (labels == predicted) * weight[labels] - (f1 * weight)[labels] - (f1 * weight)[predicted]
    return f1, f1.sum() / occurs.sum() + influence


def _add_relative_times(results: Sequence[dict[str, Any]], reference: Callable[[str], str | None]) -> None:
    seconds = {(result["budget"], result["row"]): result["train_seconds"] for result in results}
    for result in results:
        base = seconds.get((result["budget"], reference(result["row"])))
        result["relative_time"] = result["train_seconds"] / base if base else None


def _covers(seeds: bool) -> str:
    return "seeds and patches" if seeds else "patches"


def _pairs(budget: int, right: Mapping[str, Mapping[int, NDArray[Any]]], alpha: float) -> list[dict[str, Any]]:
    """Every pair of rows at one budget."""
    found = differences(right, alpha)
    pairs = []
    for pair in found:
        p = pair.estimate.p
        if not pair.covers_seeds:  # one seed is all there is: the exact test
            p = mcnemar(right[pair.a][pair.seeds[0]], right[pair.b][pair.seeds[0]])
        test = "two-way" if pair.covers_seeds else "mcnemar"
        pairs.append({"budget": budget, "a": pair.a, "b": pair.b, **_plain(pair), "p": p, "test": test})
    return _judged(pairs, alpha, ("better", "worse"))


def _trends(
    right: Mapping[int, Mapping[str, Mapping[int, NDArray[Any]]]],
    reference: Callable[[str], str | None],
    alpha: float,
) -> list[dict[str, Any]]:
    """How much more the rows gain than their references, from the smallest budget to the largest.

    A row's gain on a patch is a value like any other, so that the test is the one of the pairs.
    """
    first, last = min(right), max(right)
    if first == last:
        return []
    gains = {
        row: {
            seed: right[last][row][seed] - right[first][row][seed]
            for seed in right[first][row].keys() & right[last][row].keys()
        }
        for row in right[first].keys() & right[last].keys()
    }
    found = {(pair.a, pair.b): (pair, 1) for pair in differences(gains, alpha)}
    found |= {(b, a): (pair, -1) for (a, b), (pair, _) in found.items()}
    trends = []
    for row in sorted(gains):
        base = reference(row)
        if (pair_and_sign := found.get((row, base or ""))) is None:
            continue
        trends.append({"row": row, "reference": base, "from": first, "to": last, **_plain(*pair_and_sign)})
    return _judged(trends, alpha, ("gains", "loses"))


def _plain(pair: Difference, sign: int = 1) -> dict[str, Any]:
    """A difference as plain numbers; with -1 it is b's minus a's."""
    return {
        "seeds": list(pair.seeds),
        "difference": sign * pair.estimate.mean,
        "interval": sorted(sign * end for end in pair.estimate.interval),
        "p": pair.estimate.p,
        "covers": _covers(pair.covers_seeds),
    }


def _judged(tests: list[dict[str, Any]], alpha: float, words: tuple[str, str]) -> list[dict[str, Any]]:
    """Tests with Holm's correction over all of them, and the verdict in words for above and below zero."""
    for test, corrected in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test["p_corrected"] = corrected
        distinct = corrected <= alpha and test["difference"] != 0
        test["verdict"] = words[test["difference"] < 0] if distinct else "not distinguishable"
    return tests
