"""How often do the 95 % intervals of a test hold the true figure?

    python benchmarks/interval_coverage.py [--repeats 1000] [--json FILE]

Tests are simulated: patches that are independent of each other, and patches of scenes, where a scene has an accuracy of
its own. The intraclass correlation (icc) says how much of a patch's chance to be right lies in its scene: 0.05 is mild,
with 0.3 some scenes fail as a whole. Columns, in percent of the tests whose interval holds the true figure:

  accuracy, recall, f1, macro f1   landsift's intervals (evaluation/metrics.py); recall and F1 are those of one class
  ece                              of a model that is over-confident by some points, and of one that is calibrated
  before                           accuracy, by the percentiles of resampled patches, as it was until now

and the mean width of the interval of accuracy, in points.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import binom

from landsift.evaluation import metrics
from landsift.evaluation.calibration import calibration_error, calibration_interval
from landsift.evaluation.criteria import figure_of
from landsift.evaluation.intervals import grouped_share_interval, share_interval

SHARES = np.array([0.35, 0.25, 0.15, 0.15, 0.07, 0.03])
"""How common six classes are."""
FIGURES = ("accuracy", "recall", "f1", "macro f1")
Test = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64] | None]


def confusion(accuracy: float) -> NDArray[np.float64]:
    """The confusion matrix in expectation: a patch that is not right goes to another class, common ones more often."""
    K = len(SHARES)
    others = np.tile(SHARES, (K, 1)) * (1 - np.eye(K))
    others /= others.sum(axis=1, keepdims=True)
    return SHARES[:, None] * (accuracy * np.eye(K) + (1 - accuracy) * others)


def predict(rng: np.random.Generator, labels: NDArray[np.int64], right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The labels, or another class where the model is not right."""
    others = confusion(0.0) / SHARES[:, None]
    drawn = (rng.random(len(labels))[:, None] > np.cumsum(others, axis=1)[labels]).sum(axis=1)
    return np.where(right, labels, np.minimum(drawn, len(SHARES) - 1))


def patches(rng: np.random.Generator, n: int, accuracy: float) -> Test:
    """Labels and predictions of independent patches."""
    labels = rng.choice(len(SHARES), size=n, p=SHARES)
    return labels, predict(rng, labels, rng.random(n) < accuracy), None


def scenes(rng: np.random.Generator, count: int, size: int, uneven: float, accuracy: float, icc: float) -> Test:
    """The same in scenes, whose sizes spread by a factor of exp(`uneven`) and whose classes differ."""
    sizes = np.maximum(2, np.round(size * np.exp(rng.normal(-(uneven**2) / 2, uneven, count)))).astype(int)
    groups = np.repeat(np.arange(count), sizes)
    own = rng.beta(accuracy * (1 / icc - 1), (1 - accuracy) * (1 / icc - 1), count)[groups]
    mix = np.cumsum(rng.dirichlet(4 * SHARES, count), axis=1)[groups]
    labels = np.minimum((rng.random(len(groups))[:, None] > mix).sum(axis=1), len(SHARES) - 1)
    return labels, predict(rng, labels, rng.random(len(groups)) < own), groups


def coverage(tests: Sequence[Test], accuracy: float) -> dict[str, float]:
    """Shares of tests whose intervals hold the figures of the expected confusion matrix."""
    expected = confusion(accuracy)
    k, K = 2, len(SHARES)  # a class of 15 %
    hits, guessed, true = expected[k, k], expected[:, k].sum(), expected[k].sum()
    truths = accuracy, hits / true, 2 * hits / (true + guessed), figure_of("macro_f1", expected)
    truth = dict(zip(FIGURES, truths, strict=True))
    held: dict[str, list[bool]] = {name: [] for name in (*FIGURES, "before")}
    widths = []
    for labels, predicted, groups in tests:
        right = labels == predicted

        def share(hit: Any, of: Any, groups: Any = groups) -> Any:
            if groups is None:
                return share_interval(int(hit.sum()), int(of.sum()))
            return grouped_share_interval(hit[of], groups[of])

        found = metrics._class_intervals(labels == k, predicted == k, share)
        intervals = {
            "accuracy": share(right, np.ones(len(right), dtype=bool)),
            "recall": found["recall"],
            "f1": found["f1"],
            "macro f1": metrics._macro_f1_interval(labels, predicted, K, groups),
            "before": binom.ppf([0.025, 0.975], len(right), right.mean()) / len(right),
        }
        widths.append(np.ptp(intervals["accuracy"]))
        for name, interval in intervals.items():
            if interval is not None:
                held[name].append(bool(interval[0] <= truth.get(name, accuracy) <= interval[1]))
    return {name: float(np.mean(seen)) for name, seen in held.items()} | {"width": float(np.mean(widths))}


def calibration(n: int, count: int | None, icc: float, too_sure: float, repeats: int) -> float:
    """Share of tests whose interval holds the expected calibration error of all patches there are."""
    rng = np.random.default_rng(0)

    def draw(size: int, scenes_: int | None) -> Any:
        sure = 0.5 + 0.5 * rng.beta(4, 1, size)
        groups = None if scenes_ is None else np.arange(size) % scenes_
        shift = 0.0 if groups is None else rng.normal(0, np.sqrt(3.3 * icc / (1 - icc)), scenes_)[groups]
        right = rng.random(size) < expit(logit(np.clip(sure - too_sure, 0.01, 0.99)) + shift)
        return sure, right, groups

    sure, right, _ = draw(300_000, None if count is None else 300_000)
    truth = calibration_error(sure, right)
    held = []
    for _ in range(repeats):
        sure, right, groups = draw(n, count)
        accuracy = share_interval(int(right.sum()), n) if groups is None else grouped_share_interval(right, groups)
        low, high = calibration_interval(calibration_error(sure, right), sure, right, accuracy, groups, 200, 0)
        held.append(low <= truth <= high)
    return float(np.mean(held))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000, help="simulated tests per line (default: 1000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    columns = (*FIGURES, "before", "width")
    print(f"{options.repeats:,} tests a line; percent\n{'':44}" + "".join(f"{column:>10}" for column in columns))

    def line(name: str, tests: Sequence[Test], accuracy: float) -> None:
        figures[name] = coverage(tests, accuracy)
        print(f"{name:44}" + "".join(f"{100 * figures[name][column]:10.1f}" for column in columns))

    rng = np.random.default_rng(0)
    for n in (20, 100, 360, 2430):
        for accuracy in (0.8, 0.95):
            tests = [patches(rng, n, accuracy) for _ in range(options.repeats)]
            line(f"{n:,} patches, accuracy {100 * accuracy:.0f} %", tests, accuracy)
    for count, uneven in ((10, 0.0), (25, 0.0), (25, 0.4), (100, 0.4)):
        for accuracy, icc in ((0.8, 0.02), (0.8, 0.15), (0.9, 0.05), (0.9, 0.15), (0.95, 0.3)):
            tests = [scenes(rng, count, 40, uneven, accuracy, icc) for _ in range(options.repeats)]
            sizes = "40" if not uneven else "about 40"
            line(f"{count} scenes of {sizes}, {100 * accuracy:.0f} %, icc {icc}", tests, accuracy)

    print(f"\n{'expected calibration error':44}{'calibrated':>12}{'over-confident':>16}")
    for name, n, count, icc in (
        ("360 patches", 360, None, 0.0),
        ("2,430 patches", 2430, None, 0.0),
        ("25 scenes of 40, icc 0.05", 1000, 25, 0.05),
        ("25 scenes of 40, icc 0.15", 1000, 25, 0.15),
    ):
        found = [calibration(n, count, icc, too_sure, options.repeats // 2) for too_sure in (0.0, 0.08)]
        figures[name] = {"calibrated": found[0], "over-confident": found[1]}
        print(f"{name:44}{100 * found[0]:12.1f}{100 * found[1]:16.1f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
