"""How often is a split by group refused although one exists, and how much does it depend on its seed?

    python benchmarks/group_splits.py [--sets 300] [--json FILE]

Sets of patches are drawn in which a split is known to exist: 5 to 9 groups are given to train, val and test, and each
of 2 to 6 classes is put into one or two groups of each part. Then 20 groups with three classes, of equal size or not,
are split with ten seeds, and at last a million patches in ten thousand groups. "Before" is how groups were dealt until
now: largest first, each to where it fits best, in up to 50 orders.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landsift.data.dealing import _deal_once, _has_all
from landsift.data.group_split import NoSplitError, deal_groups, part_sizes

FRACTIONS = (0.6, 0.2, 0.2)
Ints = NDArray[np.int64]


def rows_of(counts: Ints) -> tuple[Ints, Ints, Ints]:
    """Labels, groups and seats of so many patches of each class (columns) in each group (rows)."""
    groups, labels = np.nonzero(counts)
    each = counts[groups, labels]
    seats = np.array([part_sizes(int(n), FRACTIONS) for n in counts.sum(axis=0)])
    return np.repeat(labels, each), np.repeat(groups, each), seats


def feasible(rng: np.random.Generator) -> Ints:
    """Counts of a set in which a split exists."""
    G, K = rng.integers(5, 10), rng.integers(2, 7)
    part = np.r_[0, 1, 2, rng.integers(0, 3, G - 3)]
    counts = np.zeros((G, K), dtype=np.int64)
    for c in range(K):
        for p in range(3):
            members = np.flatnonzero(part == p)
            chosen = rng.choice(members, size=min(len(members), rng.integers(1, 3)), replace=False)
            counts[chosen, c] = rng.integers(1, 30, len(chosen))
    return counts[counts.sum(axis=1) > 0]


def before(labels: Ints, groups: Ints, seats: Ints, seed: int) -> Ints | None:
    rng = np.random.default_rng(seed)
    tries = (_deal_once(labels, groups, seats, rng) for _ in range(50))
    return next((part for part in tries if _has_all(labels, part, seats)), None)


def now(labels: Ints, groups: Ints, seats: Ints, seed: int) -> Ints | None:
    try:
        return deal_groups(labels, groups, seats, np.random.default_rng(seed))
    except NoSplitError:
        return None


def of_seeds(counts: Ints, deal: Any, seeds: int = 10) -> dict[str, Any]:
    """How many splits ten seeds give, where the largest group is, and how far sizes are from those asked for."""
    labels, groups, seats = rows_of(counts)
    parts = [part for seed in range(seeds) if (part := deal(labels, groups, seats, seed)) is not None]
    largest = int(counts.sum(axis=1).argmax())
    places = np.bincount([part[groups == largest][0] for part in parts], minlength=3)
    sizes = np.array([np.bincount(part, minlength=3) / len(part) for part in parts])
    return {
        "splits": len({part.tobytes() for part in parts}),
        "places": places.tolist(),
        "off": float(np.abs(sizes - FRACTIONS).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=300, help="sets in which a split exists (default: 300)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    sets = [rows_of(feasible(rng)) for _ in range(options.sets)]
    figures: dict[str, Any] = {}
    for name, deal in (("before", before), ("landsift", now)):
        refused = [[deal(*found, seed) is None for seed in range(3)] for found in sets]
        figures[name] = {"always": int(np.all(refused, axis=1).sum()), "sometimes": int(np.any(refused, axis=1).sum())}
        print(
            f"{name:10} of {options.sets} sets with a split refused at all of three seeds: {figures[name]['always']}, "
            f"at any: {figures[name]['sometimes']}"
        )
    equal = np.full((20, 3), 10) + rng.integers(0, 2, (20, 3))
    uneven = np.maximum(2, rng.lognormal(3.0, 0.5, (20, 1)) * rng.dirichlet(np.full(3, 3.0), 20)).astype(np.int64)
    for kind, counts in (("of equal size", equal), ("of unequal size", uneven)):
        share = counts.sum(axis=1).max() / counts.sum()
        for name, deal in (("before", before), ("landsift", now)):
            found = figures[f"{kind}, {name}"] = of_seeds(counts, deal)
            places = f"the largest group, {100 * share:.0f} % of all, in train, val, test: {found['places']}"
            off = f"shares off by {100 * found['off']:.1f} points at most"
            print(f"{name:10} 20 groups {kind}, ten seeds: {found['splits']} splits; {places}; {off}")
    groups, labels = rng.integers(0, 10_000, 1_000_000), rng.integers(0, 10, 1_000_000)
    seats = np.array([part_sizes(int(n), FRACTIONS) for n in np.bincount(labels)])
    for name, deal in (("before", before), ("landsift", now)):
        began = time.perf_counter()
        deal(labels, groups, seats, 0)
        figures[f"seconds, {name}"] = time.perf_counter() - began
        print(f"{name:10} a million patches in ten thousand groups: {figures[f'seconds, {name}']:.2f} s")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
