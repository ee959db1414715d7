"""How often does a comparison recommend what it should not, and how often what it could?

    python benchmarks/recommendation_errors.py [--repeats 300] [--json FILE]

Trainings are simulated as in comparison_errors.py, on validation and test patches; the first row computes least and the
last most. "Worse" is a row whose expected accuracy lies more than the margin of one point below that of the best row
(with a thousandth of a point of tolerance). Columns, in percent of the comparisons:

  worse    the recommended row is worse
  cheaper  a row that computes less than the best one on validation is recommended
  wrongly  such a row is recommended although it is worse than that one by more than the margin: tested at 5 %
  open     the sentence says that there are too few test patches, or seeds, to decide
  before   the recommended row is worse, by the rule until now: the cheapest of those that are not distinguishably worse
           than the highest test accuracy

and the mean loss of either rule in points: expected accuracy of the best row less that of the recommended one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from comparison_errors import simulate
from landsift.evaluation.recommendation import OPEN, Rule, cheaper, recommend
from landsift.evaluation.two_way import differences, holm

COLUMNS = ("worse", "cheaper", "wrongly", "open", "before")
RULE = Rule()
Scenario = tuple[list[float], list[float], int, int, int]


def before(values: Mapping[str, Mapping[int, Any]], work: Mapping[str, float]) -> str:
    """The cheapest row that is not distinguishably worse than the one with the highest test accuracy."""
    accuracy = {row: float(np.mean([cell.mean() for cell in cells.values()])) for row, cells in values.items()}
    best = max(accuracy, key=lambda row: (accuracy[row], -work[row]))
    pairs = differences(values)
    beaten = set()
    for pair, p in zip(pairs, holm([pair.estimate.p for pair in pairs]), strict=True):
        if p <= RULE.alpha and best in (pair.a, pair.b):
            beaten.add(pair.b if pair.a == best else pair.a)
    return min(accuracy.keys() - beaten, key=lambda row: work[row])


def study(accuracy: Sequence[float], spread: Sequence[float], seeds: int, val: int, test: int, repeats: int) -> Any:
    """Shares of the columns, and the mean losses in points."""
    rng = np.random.default_rng(0)
    seen: dict[str, list[float]] = {name: [] for name in (*COLUMNS, "loss", "loss_before")}
    best = max(accuracy)
    for _ in range(repeats):
        both = simulate(rng, accuracy, spread, seeds, val + test)
        true = dict(zip(sorted(both), accuracy, strict=True))
        work = {row: 10.0 * 2**k for k, row in enumerate(sorted(both))}
        validation = {
            row: float(np.mean([cell[:val].mean() for cell in cells.values()])) for row, cells in both.items()
        }
        values = {row: {seed: cell[val:] for seed, cell in cells.items()} for row, cells in both.items()}
        found = recommend(validation, work, values, test, RULE)
        old = before(values, work)
        limit = best - RULE.margin - 1e-5
        seen["worse"].append(true[found.row] < limit)
        seen["cheaper"].append(found.row != found.best)
        seen["wrongly"].append(true[found.row] < true[found.best] - RULE.margin - 1e-5)
        seen["open"].append(bool(cheaper(found, work, OPEN)))
        seen["before"].append(true[old] < limit)
        seen["loss"].append(100 * (best - true[found.row]))
        seen["loss_before"].append(100 * (best - true[old]))
    return {name: float(np.mean(values)) for name, values in seen.items()}


def scenarios() -> dict[str, Scenario]:
    """Accuracies and standard deviations over seeds in shares, seeds, validation and test patches."""
    return {
        "75.0 and 91.7 %, 12 patches": ([0.75, 0.917], [0.0] * 2, 1, 12, 12),
        "75.0, 91.7 and 20 %, 12 patches": ([0.75, 0.2, 0.917], [0.0] * 3, 1, 12, 12),
        "75.0, 91.7 and 20 %, 120 patches": ([0.75, 0.2, 0.917], [0.0] * 3, 1, 120, 120),
        "70 and 78.8 %, 80 patches": ([0.7, 0.788], [0.0] * 2, 1, 80, 80),
        "1 point apart, 1 seed, 1,000 patches": ([0.89, 0.9], [0.0] * 2, 1, 1000, 1000),
        "1.1 points apart, 1 seed, 5,000 patches": ([0.889, 0.9], [0.0] * 2, 1, 5000, 5000),
        "1.1 points apart, 3 seeds of 0.3, 5,000": ([0.889, 0.9], [0.003] * 2, 3, 5000, 5000),
        "1.1 points apart, 3 seeds of 1, 5,000": ([0.889, 0.9], [0.01] * 2, 3, 5000, 5000),
        "8 rows, 7 of them 1.1 below, 3 of 0.3, 5,000": ([0.889] * 7 + [0.9], [0.003] * 8, 3, 5000, 5000),
        "the same, the cheapest of 3 points": ([0.889] * 7 + [0.9], [0.03] + [0.003] * 7, 3, 5000, 5000),
        "2 equal rows, 1 seed, 1,000 patches": ([0.9] * 2, [0.0] * 2, 1, 1000, 1000),
        "2 equal rows, 1 seed, 5,000 patches": ([0.9] * 2, [0.0] * 2, 1, 5000, 5000),
        "2 equal rows, 3 seeds of 0.3, 5,000": ([0.9] * 2, [0.003] * 2, 3, 5000, 5000),
        "8 equal rows, 3 seeds of 0.3, 5,000": ([0.9] * 8, [0.003] * 8, 3, 5000, 5000),
        "8 equal rows, 5 seeds of 0.3, 20,000": ([0.9] * 8, [0.003] * 8, 5, 5000, 20000),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=300, help="simulated comparisons per line (default: 300)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    print(f"{options.repeats:,} comparisons a line; percent, and points of loss")
    print(f"{'':48}" + "".join(f"{column:>9}" for column in COLUMNS) + f"{'loss':>8}{'before':>8}")
    figures = {}
    for name, scenario in scenarios().items():
        figures[name] = found = study(*scenario, options.repeats)
        shares = "".join(f"{100 * found[column]:9.1f}" for column in COLUMNS)
        print(f"{name:48}{shares}{found['loss']:8.2f}{found['loss_before']:8.2f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
