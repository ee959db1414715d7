"""How often does a comparison see a difference that is not there, and how often does it miss one that is?

    python benchmarks/comparison_errors.py [--repeats 1000] [--patches 4860] [--json FILE]

Trainings are simulated: patches are hard or easy for all rows, a little more so for one, and a seed moves a row's
accuracy on all patches, by a standard deviation given in points. Rows have an expected accuracy of 90 %, and some of
88 % where a true difference of two points is to be found. Columns, in percent:

  pair      equal rows called different by a test at 5 %, before the correction for the number of pairs
  unsteady  the same, for pairs with a row whose seeds spread more than the others'
  any       comparisons in which any equal pair is called different after Holm's correction
  found     pairs of different rows called different, after Holm's correction
  covered   rows whose 95 % interval holds their expected accuracy

for landsift's test (evaluation/crossed.py), for the pigeonhole bootstrap of seeds and patches with a normal
distribution (its standard error needs no resampling here), and for a test that covers the patches alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from landsift.evaluation.crossed import differences, estimate, holm, spread_of

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
    bootstrap, patches = [], []
    for a, b in combinations(sorted(tables), 2):
        gaps = tables[a] - tables[b]
        S, N = gaps.shape
        mean, over_seeds, over_patches = gaps.mean(), gaps.mean(axis=1), gaps.mean(axis=0)
        rest = gaps - over_seeds[:, None] - over_patches + mean
        # Drawing S of S and N of N: each effect varies as its values here do, without correction for their number.
        error = np.sqrt(over_seeds.var() / S + over_patches.var() / N + rest.var() / (S * N))
        bootstrap.append(float(2 * ndtr(-abs(mean) / error)))
        patches.append(float(2 * ndtr(-abs(mean) / np.sqrt(over_patches.var(ddof=1) / N))))
    ours = [pair.estimate.p for pair in differences(values, ALPHA)]
    return {"landsift": ours, "pigeonhole bootstrap": bootstrap, "patches alone": patches}


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
            own = spread_of(np.stack(list(cells.values())))
            low, high = estimate(own, own.seed_variance, seeds - 1, ALPHA).interval
            covered.append(low <= expected <= high)
    shares = {
        test: {name: float(np.mean(seen)) if seen else None for name, seen in named.items()}
        for test, named in counts.items()
    }
    shares["landsift"]["covered"] = float(np.mean(covered))
    return shares


def scenarios() -> dict[str, tuple[list[float], list[float], int]]:
    """Accuracies, standard deviations over seeds and number of seeds; all in shares."""
    few, many = [0.9, 0.88], [0.9] * 4 + [0.88] * 4
    named: dict[str, tuple[list[float], list[float], int]] = {}
    for points in (0.2, 0.6, 1.5):
        for rows in (2, 4, 8):
            named[f"{rows} equal rows, 3 seeds, {points} points"] = ([0.9] * rows, [points / 100] * rows, 3)
    for seeds in (2, 5):
        named[f"4 equal rows, {seeds} seeds, 0.6 points"] = ([0.9] * 4, [0.006] * 4, seeds)
    named["8 equal rows, 3 seeds, 0.5 points and one of 2"] = ([0.9] * 8, [0.005] * 7 + [0.02], 3)
    named["8 equal rows, 3 seeds, 0.5 points and four of 1.5"] = ([0.9] * 8, [0.005] * 4 + [0.015] * 4, 3)
    for points in (0.2, 0.3, 0.4, 0.6, 1.0):
        named[f"2 rows, two points apart, 3 seeds, {points} points"] = (few, [points / 100] * 2, 3)
        named[f"8 rows, two points apart, 3 seeds, {points} points"] = (many, [points / 100] * 8, 3)
    # Four rows are equal to each other, three two points below them, and one, far below, is unsteady.
    named["the same with one row at 60 %, 0.5 points and 3"] = ([*many[:7], 0.6], [0.005] * 7 + [0.03], 3)
    return named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000, help="simulated comparisons per line (default: 1000)")
    parser.add_argument("--patches", type=int, default=4860, help="test patches (default: 4860)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()

    columns = ("pair", "unsteady", "any", "found", "covered")
    print(f"{options.patches:,} test patches, {options.repeats:,} comparisons a line; percent")
    print(f"{'':52}{'':22}" + "".join(f"{column:>10}" for column in columns))
    figures = {}
    for name, (accuracy, spread, seeds) in scenarios().items():
        figures[name] = study(accuracy, spread, seeds, options.patches, options.repeats)
        for test, shares in figures[name].items():
            cells = (shares.get(column) for column in columns)
            print(f"{name:52}{test:22}" + "".join(f"{'':>10}" if c is None else f"{100 * c:10.1f}" for c in cells))
            name = ""
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
