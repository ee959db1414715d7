"""How often does a comparison see a difference that is not there, and how often does it miss one that is?

    python benchmarks/comparison_errors.py [--repeats 400] [--patches 4860] [--json FILE]

Trainings are simulated: patches are hard or easy for all rows, a little more so for one, and a seed moves a row's
accuracy on all patches, by a standard deviation given in points. Rows have an expected accuracy of 90 %, and some of
less where a true difference is to be found. Columns, in percent:

  pair      equal rows called different by a test at 5 %, before the correction for the number of pairs
  unsteady  the same, for pairs with a row whose seeds spread more than the others'
  any       comparisons in which any equal pair is called different after Holm's correction
  found     pairs of different rows called different, after Holm's correction
  covered   rows whose 95 % interval holds their expected accuracy

for landsift's test (evaluation/two_way.py); for the same with the chance of the seeds pooled over all pairs, as it was
until now; with each pair's own alone; and for a test that covers the patches alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtri, stdtr

from landsift.evaluation.intervals import effective_interval
from landsift.evaluation.two_way import Spread, differences, holm, own_estimate, spread_of

ALPHA = 0.05
PATCH, ROW_AND_PATCH, REST = 3.0, 0.5, 1.0
"""Variances of a patch's margin: two seeds of a row agree on 91 % of the patches, two rows on 89 %."""


def simulate(
    rng: np.random.Generator, accuracy: Sequence[float], spread: Sequence[float], seeds: int, patches: int
) -> dict[str, dict[int, Any]]:
    """{row: {seed: right [patches]}} with these expected accuracies and standard deviations over seeds, in shares."""
    margin = rng.normal(0, np.sqrt(PATCH), patches)
    values: dict[str, dict[int, Any]] = {}
    scale = np.sqrt(PATCH + ROW_AND_PATCH + REST)
    for number, (expected, deviation) in enumerate(zip(accuracy, spread, strict=True)):
        row = margin + rng.normal(0, np.sqrt(ROW_AND_PATCH), patches)
        slope = np.exp(-(ndtri(expected) ** 2) / 2) / np.sqrt(2 * np.pi) / scale
        shift = deviation / slope
        level = ndtri(expected) * np.hypot(scale, shift)
        values[f"{number:02d}"] = {
            seed: (row + rng.normal(0, shift) + rng.normal(0, np.sqrt(REST), patches) + level > 0).astype(np.int8)
            for seed in range(seeds)
        }
    return values


def p_values(values: Mapping[str, Mapping[int, Any]]) -> dict[str, list[float]]:
    """p-values of all pairs, in the order of the names, by each test."""
    tables = {row: np.stack(list(cells.values())).astype(float) for row, cells in values.items()}
    spreads = [spread_of(tables[a] - tables[b]) for a, b in combinations(sorted(tables), 2)]
    own, S = [spread.seed_variance for spread in spreads], spreads[0].seeds
    shared = float(np.median(own))
    df = max(2 / np.pi * (len(tables) - 1) * (S - 1), S - 1)  # of a median of all pairs, were all rows alike
    return {
        "landsift": [pair.estimate.p for pair in differences(values)],
        "pooled over pairs": [p_value(s, max(shared, v), df) for s, v in zip(spreads, own, strict=True)],
        "each pair alone": [p_value(s, v, S - 1) for s, v in zip(spreads, own, strict=True)],
        "patches alone": [p_value(s, 0.0, np.inf) for s in spreads],
    }


def p_value(spread: Spread, seed_variance: float, seed_df: float) -> float:
    """p-value of a difference with Satterthwaite's degrees of freedom as they are."""
    seeds = spread.units * max(seed_variance, 0.0)
    total = seeds + spread.ms_units
    df = total**2 / ((seeds + spread.ms_rest) ** 2 / seed_df + spread.ms_units**2 / spread.units_df)
    return float(2 * stdtr(df, -abs(spread.mean) / np.sqrt(total / (spread.seeds * spread.units))))


def study(accuracy: Sequence[float], spread: Sequence[float], seeds: int, patches: int, repeats: int) -> dict[str, Any]:
    """Shares of errors, and of differences found, over `repeats` comparisons."""
    rng = np.random.default_rng(0)
    pairs = list(combinations(range(len(accuracy)), 2))
    equal = np.array([accuracy[a] == accuracy[b] for a, b in pairs])
    unsteady = np.array([max(spread[a], spread[b]) > min(spread) for a, b in pairs])
    counts: dict[str, dict[str, list[float]]] = {}
    covered = []
    for _ in range(repeats):
        values = simulate(rng, accuracy, spread, seeds, patches)
        for test, p in p_values(values).items():
            alone, corrected = np.array(p) <= ALPHA, np.array(holm(p)) <= ALPHA
            seen = counts.setdefault(test, {"pair": [], "unsteady": [], "any": [], "found": []})
            seen["pair"] += alone[equal & ~unsteady].tolist()
            seen["unsteady"] += alone[equal & unsteady].tolist()
            seen["any"] += [bool(corrected[equal].any())] if equal.any() else []
            seen["found"] += corrected[~equal].tolist()
        for (_, cells), expected in zip(sorted(values.items()), accuracy, strict=True):
            own = own_estimate(np.stack(list(cells.values())))
            low, high = effective_interval(own.mean, own.error**2, own.df, seeds * patches, patches)
            covered.append(low <= expected <= high)
    shares = {
        test: {name: float(np.mean(seen)) if seen else None for name, seen in named.items()}
        for test, named in counts.items()
    }
    shares["landsift"]["covered"] = float(np.mean(covered))
    return shares


def scenarios() -> dict[str, tuple[list[float], list[float], int]]:
    """Accuracies, standard deviations over seeds and number of seeds; all in shares."""
    many = [0.9] * 4 + [0.88] * 4
    named: dict[str, tuple[list[float], list[float], int]] = {}
    for rows, points in ((2, 0.6), (2, 1.5), (4, 0.6), (8, 0.2), (8, 0.6), (8, 1.5)):
        named[f"{rows} equal rows, 3 seeds, {points} points"] = ([0.9] * rows, [points / 100] * rows, 3)
    for seeds, steady, unsteady in ((2, 0.5, 2.0), (3, 0.5, 2.0), (3, 0.3, 3.0), (3, 0.5, 5.0), (5, 0.3, 3.0)):
        spread = [steady / 100] * 7 + [unsteady / 100]
        named[f"8 equal rows, {seeds} seeds, {steady} points and one of {unsteady:g}"] = ([0.9] * 8, spread, seeds)
    named["3 equal rows, 3 seeds, 0.3 points and one of 3"] = ([0.9] * 3, [0.003] * 2 + [0.03], 3)
    named["8 equal rows, 3 seeds, 0.3 points and two of 3"] = ([0.9] * 8, [0.003] * 6 + [0.03] * 2, 3)
    named["8 equal rows, 3 seeds, 0.5 points and four of 1.5"] = ([0.9] * 8, [0.005] * 4 + [0.015] * 4, 3)
    for points in (0.3, 0.6):
        named[f"2 rows, two points apart, 3 seeds, {points} points"] = ([0.9, 0.88], [points / 100] * 2, 3)
        named[f"8 rows, two points apart, 3 seeds, {points} points"] = (many, [points / 100] * 8, 3)
    named["8 rows, five points apart, 3 seeds, 0.6 points"] = ([0.9] * 4 + [0.85] * 4, [0.006] * 8, 3)
    # Four rows are equal to each other, three two points below them, and one, far below, is unsteady.
    named["8 rows, two points apart, 0.5 points, one at 60 %, 3"] = ([*many[:7], 0.6], [0.005] * 7 + [0.03], 3)
    return named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=400, help="simulated comparisons per line (default: 400)")
    parser.add_argument("--patches", type=int, default=4860, help="test patches (default: 4860)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()

    columns = ("pair", "unsteady", "any", "found", "covered")
    print(f"{options.patches:,} test patches, {options.repeats:,} comparisons a line; percent")
    print(f"{'':54}{'':20}" + "".join(f"{column:>10}" for column in columns))
    figures = {}
    for name, (accuracy, spread, seeds) in scenarios().items():
        figures[name] = study(accuracy, spread, seeds, options.patches, options.repeats)
        for test, shares in figures[name].items():
            cells = (shares.get(column) for column in columns)
            print(f"{name:54}{test:20}" + "".join(f"{'':>10}" if c is None else f"{100 * c:10.1f}" for c in cells))
            name = ""
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
