"""What Bayesian smoothing does to the accuracy of a map whose truth is known.

    python benchmarks/smoothing.py RUN [--scenes 100] [--side 48] [--blocks 1 2 3 6 12] [--smooth 3 5] [--json FILE]

Scenes are assembled from the run's test patches, with the probabilities that the run's test gave them: a cell of a map
that one patch covers has the same. A scene is made of square blocks of cells; each block has one class, drawn with the
class's share of the test patches, and each of its cells a patch of that class, drawn with replacement. With blocks of 1
cell patches stand in random order: what smoothing takes from neighbours is then wrong.

Accuracies are means over the scenes, with the 2.5th and the 97.5th percentile: drawing patches with replacement makes
it a bootstrap over patches and arrangements. `change` is the difference of the same scene with and without smoothing.
Seed 0.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import common


def test_patches(run: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities [N, K] and classes [N] of a run's test patches."""
    import pandas as pd

    rows = pd.read_parquet(run / "predictions.parquet")
    rows = rows[rows["split"] == "test"]
    columns = [name for name in rows.columns if name.startswith("p_")]
    labels = rows["label"].map({name[2:]: number for number, name in enumerate(columns)})
    probabilities: NDArray[np.float32] = np.asarray(rows[columns], np.float32)
    classes: NDArray[np.int64] = np.asarray(labels, np.int64)
    return probabilities, classes


def scene(
    draw: np.random.Generator, probabilities: NDArray[np.float32], labels: NDArray[np.int64], side: int, block: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities [side, side, K] and true classes [side, side] of a scene of blocks."""
    count = -(-side // block)
    classes = draw.choice(labels, (count, count))
    truth = classes.repeat(block, axis=0).repeat(block, axis=1)[:side, :side]
    found = np.empty((side, side, probabilities.shape[1]), np.float32)
    for number in np.unique(truth):
        cells = truth == number
        found[cells] = probabilities[draw.choice(np.flatnonzero(labels == number), int(cells.sum()))]
    return found, truth


def smoothed(probabilities: NDArray[np.float32], size: int, variance: float) -> NDArray[np.float32]:
    """As `landsift map --smooth` does it."""
    from landsift.mapping.overlap import Strip
    from landsift.mapping.smoothing import Smoother

    everywhere = np.ones(probabilities.shape[:2], bool)
    strips = iter([Strip(slice(0, len(probabilities)), probabilities, everywhere)])
    return np.concatenate([strip.probabilities for strip in Smoother(size, variance).smooth(strips)])


def interval(values: NDArray[np.float64], digits: int = 1, *, sign: bool = False) -> str:
    """Mean and percentiles, in per cent."""
    low, high = np.percentile(values, [2.5, 97.5])
    show = f"{{:{'+' if sign else ''}.{digits}f}}"
    return f"{show.format(100 * values.mean())} ({show.format(100 * low)} to {show.format(100 * high)})"


def main() -> None:
    """Measure and print the table."""
    from landsift.mapping.smoothing import VARIANCE

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--side", type=int, default=48, help="cells")
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 2, 3, 6, 12])
    parser.add_argument("--smooth", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--variance", type=float, default=VARIANCE)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    probabilities, labels = test_patches(options.run)
    rows: list[list[str]] = []
    figures: dict[str, Any] = {}
    for block in options.blocks:
        draw = np.random.default_rng(0)
        found: dict[int, list[float]] = {size: [] for size in (0, *options.smooth)}
        for _ in range(options.scenes):
            plain, truth = scene(draw, probabilities, labels, options.side, block)
            for size in found:
                answers = plain if size == 0 else smoothed(plain, size, options.variance)
                found[size].append(float((answers.argmax(axis=-1) == truth).mean()))
        accuracies = {size: np.array(values) for size, values in found.items()}
        row = [str(block), interval(accuracies[0])]
        for size in options.smooth:
            row += [interval(accuracies[size]), interval(accuracies[size] - accuracies[0], sign=True)]
        rows.append(row)
        figures[str(block)] = {str(size): list(values) for size, values in found.items()}
    headers = ["block", "plain"]
    for size in options.smooth:
        headers += [f"--smooth {size}", "change"]
    print(common.table(headers, rows))
    print(f"{len(labels):,} test patches; {options.scenes} scenes of {options.side} x {options.side} cells a row")
    common.write_json(options.json, {"accuracies": figures, "variance": options.variance})


if __name__ == "__main__":
    main()
