"""How often do the 95 % intervals of accuracies and areas hold the truth?

    python benchmarks/area_intervals.py [--maps 1000] [--json FILE]

Each line is a kind of map and a design of the sample. Every map has a million cells, and accuracies of its own about
those of its kind, so its truth is counted; one sample is drawn from it, without replacement, and assessed. Columns, in
per cent of the maps whose interval holds the truth:

  overall                  the overall accuracy
  areas, users, producers  the mean over the classes
  rare area, rare producer the same of the rarest class

Each for the four intervals of landsift.mapping.estimation, with the mean width of the interval of the rarest class's
area in per cent of that area. The last lines give the mean over all kinds of maps and the worst, and by how much chance
alone moves a figure of that many maps (95 %, binomial).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from landsift.mapping.estimation import INTERVALS, assess

CELLS = 1_000_000
FIGURES = ("overall", "areas", "users", "producers", "rare area", "rare producer")
KINDS: dict[str, tuple[list[float], list[float]]] = {
    "even": ([0.25, 0.25, 0.25, 0.25], [0.9, 0.85, 0.8, 0.95]),
    "uneven": ([0.45, 0.25, 0.15, 0.1, 0.04, 0.01], [0.95, 0.9, 0.85, 0.85, 0.8, 0.7]),
    "inaccurate": ([0.4, 0.3, 0.2, 0.1], [0.6, 0.55, 0.65, 0.5]),
    "rare change": ([0.02, 0.015, 0.32, 0.645], [0.88, 0.73, 0.93, 0.96]),  # Olofsson et al. 2014
    "very rare": ([0.003, 0.997], [0.7, 0.999]),
}
"""Shares of the map's classes and their user's accuracies."""
DESIGNS = (
    ("proportional", 300),
    ("proportional", 1000),
    ("equal", 400),
    ("simple random", 400),
    ("simple random", 2000),
)
"""Allocation and size; proportional with at least 50 per class."""


def population(rng: np.random.Generator, shares: NDArray[Any], users: NDArray[Any]) -> NDArray[np.int64]:
    """Cells of a map by mapped (rows) and true class, [K, K]."""
    K = len(shares)
    own = 1 / (1 + np.exp(-(np.log(users / (1 - users)) + rng.normal(0, 0.3, K))))
    rows = np.empty((K, K))
    for i in range(K):
        others = np.delete(np.arange(K), i)
        rows[i, others] = (1 - own[i]) * rng.dirichlet(1 + 3 * shares[others] / shares[others].sum())
        rows[i, i] = own[i]
    return np.stack([rng.multinomial(round(CELLS * share), row) for share, row in zip(shares, rows, strict=True)])


def draw(rng: np.random.Generator, cells: NDArray[np.int64], design: str, size: int) -> tuple[list[str], Any, Any]:
    """Strata, mapped and reference classes of a sample, [n] each, by number."""
    K = len(cells)
    if design == "simple random":
        counts = rng.multivariate_hypergeometric(cells.ravel(), size).reshape(K, K)
    else:
        n = np.full(K, size // K)
        if design == "proportional":
            n = np.maximum(50, np.round(size * cells.sum(axis=1) / cells.sum())).astype(int)
        counts = np.stack([rng.multivariate_hypergeometric(row, m) for row, m in zip(cells, n, strict=True)])
    mapped, reference = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices((K, K)))
    strata = ["map"] * len(mapped) if design == "simple random" else [f"class {i}" for i in mapped]
    return strata, [f"class {i}" for i in mapped], [f"class {i}" for i in reference]


def coverage(kind: str, design: str, size: int, maps: int) -> dict[str, dict[str, float]]:
    """Share of maps whose intervals hold the truth, by interval and figure, and the width."""
    rng = np.random.default_rng(0)
    shares, users = map(np.array, KINDS[kind])
    K, rare = len(shares), int(shares.argmin())
    names = [f"class {i}" for i in range(K)]
    held: dict[str, dict[str, list[float]]] = {i: {f: [] for f in (*FIGURES, "width")} for i in INTERVALS}
    for _ in range(maps):
        cells = population(rng, shares, users)
        rows, columns, right = cells.sum(axis=1), cells.sum(axis=0), np.diag(cells)
        strata, mapped, reference = draw(rng, cells, design, size)
        each = {"map": CELLS} if design == "simple random" else dict(zip(names, map(int, rows), strict=True))
        truths = [right.sum() / CELLS, *(columns / CELLS), *(right / rows), *(right / columns)]
        for interval in INTERVALS:
            found = assess(strata, mapped, reference, each, names, cells=each, interval=interval)
            estimates = (found.overall, *found.areas, *found.users, *found.producers)
            hits = np.array([
                e.low <= truth <= e.high if e.value == e.value else np.nan
                for e, truth in zip(estimates, truths, strict=True)
            ], float)  # fmt: skip
            parts = np.split(hits, [1, 1 + K, 1 + 2 * K])
            values = [float(np.nanmean(part)) for part in parts]
            area = found.areas[rare]
            values += [parts[1][rare], parts[3][rare], (area.high - area.low) / truths[1 + rare]]
            for figure, value in zip((*FIGURES, "width"), values, strict=True):
                held[interval][figure].append(value)
    return {i: {figure: float(np.nanmean(values)) for figure, values in by.items()} for i, by in held.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=1000, help="simulated maps per line (default: 1000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    print(f"{options.maps:,} maps a line; per cent\n{'':36}{'':8}" + "".join(f"{f:>14}" for f in (*FIGURES, "width")))

    def line(name: str, interval: str, values: dict[str, float]) -> None:
        print(f"{name:36}{interval:8}" + "".join(f"{100 * value:14.1f}" for value in values.values()), flush=True)

    for kind in KINDS:
        for design, size in DESIGNS:
            name = f"{kind}, {design}, {size:,}"
            figures[name] = coverage(kind, design, size, options.maps)
            for interval, values in figures[name].items():
                line(name, interval, values)
    for what, of in (("mean of all", np.mean), ("worst of all", np.min)):
        for interval in INTERVALS:
            values = {f: float(of([found[interval][f] for found in figures.values()])) for f in (*FIGURES, "width")}
            if what == "worst of all":
                values.pop("width")
            line(what, interval, values)
    low, high = binom.ppf([0.025, 0.975], options.maps, 0.95) / options.maps
    print(
        f"\nan interval of 95 % is seen to hold the truth {100 * low:.1f} to {100 * high:.1f} % of the time by chance"
    )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
