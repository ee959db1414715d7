"""Dense mode beside patch by patch on whole scenes: how often the classes are equal, and what it saves.

    python benchmarks/dense_agreement.py --runs RUN... --scenes SCENE... [--strides 16 32] [--json FILE]

For each run, scene and stride every patch of the scene is classified patch by patch, and dense with each cut that one
of the `--agreements` selects (`landsift.mapping.agreement`: on at most 384 patches). The smallest of them stands for
the deepest cut. Columns:

  asked           share of equal classes in per cent that was asked for; the cut is the first to reach it on the
                  sample, or where none does the one with the largest share
  work            floating-point operations per area, in those of patches side by side
  sample          share of equal classes on the sample, in per cent
  same, mean, most
                  on all patches: share of equal classes in per cent, mean and largest difference of probabilities
  single, dense   CPU seconds for the scene's patches, without loading the model or the choice of the cut
  choice          CPU seconds of that choice

A second table has their ranges over the scenes. All are without test-time augmentation, in one process; with
OMP_NUM_THREADS=1 CPU seconds can be compared. A network that has no dense mode is named with the reason.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import common

HEADERS = ("run", "scene", "stride", "asked", "cut", "work", "sample", "patches", "same", "mean", "most", "single",
           "dense", "speed-up", "choice")  # fmt: skip


class Recorded:
    """A `classify.Model` that keeps what it answers for each patch of a scene."""

    def __init__(self, model: Any, grid: Any) -> None:
        self._model, self.side, self.classes = model, model.side, model.classes
        self.answers = np.zeros((grid.rows.count, grid.cols.count, model.classes), np.float32)
        self.wanted = np.zeros(self.answers.shape[:2], bool)

    def __call__(self, values: Any, wanted: Any, rows: Any, cols: Any) -> Any:
        """As of `classify.Model`."""
        found = self._model(values, wanted, rows, cols)
        self.answers[rows.patches, cols.patches] = found
        self.wanted[rows.patches, cols.patches] = wanted
        return found


def answered(scene: Any, grid: Any, model: Any) -> tuple[NDArray[np.float32], float]:
    """Probabilities of all patches that are classified, [N, K], and the seconds."""
    from landsift.mapping.classify import classify

    recorded = Recorded(model, grid)
    start = time.process_time()
    for _ in classify(scene, recorded, grid):
        pass
    return recorded.answers[recorded.wanted], time.process_time() - start


def chosen(scene: Any, grid: Any, predictor: Any, agreements: list[float]) -> tuple[list[tuple[Any, Any, str]], float]:
    """Dense mode with each cut that is selected, its agreement on the sample, and what was asked for; seconds."""
    from landsift.mapping.agreement import _compared, _sampled, cuts_to_try
    from landsift.mapping.classify import MIN_VALID, PatchByPatch
    from landsift.mapping.dense import Dense

    start = time.process_time()
    pieces = _sampled(scene, grid, PatchByPatch(predictor), MIN_VALID)
    waiting = sorted(agreements)
    best: tuple[Any, Any] | None = None
    found: list[tuple[Any, Any, str]] = []
    for cut, work in cuts_to_try(grid, predictor):
        dense = Dense(predictor, grid, cut)
        seen = _compared(dense, pieces, cut.name, work)
        reached = [each for each in waiting if each <= seen.same]
        if reached:
            found.append((dense, seen, ", ".join(f"{100 * each:g}" for each in reached)))
            waiting = waiting[len(reached) :]
        if best is None or seen.same > best[1].same:
            best = dense, seen
        if not waiting:
            break
    if waiting and best is not None:
        found.append((*best, ", ".join(f"{100 * each:g}" for each in waiting) + " (not reached)"))
    return found, time.process_time() - start


def rows_of(run: Path, path: str, strides: list[int], agreements: list[float], reading: dict[str, Any]) -> list[Any]:
    """Lines of the table."""
    from landsift.errors import ConfigError, ModelError
    from landsift.mapping.classify import PatchByPatch
    from landsift.mapping.gdal import gdal
    from landsift.mapping.patch_grid import PatchGrid
    from landsift.mapping.scenes import open_scene
    from landsift.models.predictor import load_model

    predictor = load_model(run, device="cpu")
    predictor.description = replace(predictor.description, tta="none")
    rows: list[Any] = []
    with gdal(), open_scene([path], predictor.description, reading=reading) as scene:
        for stride in strides:
            grid = PatchGrid.of(scene.name, scene.grid, predictor.description.patch_size, stride)
            begin = (run.name, scene.name, stride)
            try:
                cuts, choice = chosen(scene, grid, predictor, agreements)
            except (ConfigError, ModelError) as error:
                print(f"{run.name}, {scene.name}, stride {stride}: {error}", flush=True)
                continue
            one, single = answered(scene, grid, PatchByPatch(predictor))
            for dense, seen, asked in cuts:
                other, seconds = answered(scene, grid, dense)
                apart = np.abs(one - other)
                same = float((one.argmax(axis=1) == other.argmax(axis=1)).mean())
                rows.append(
                    (*begin, asked, seen.cut, seen.work, seen.same, len(one), same, float(apart.mean()),
                     float(apart.max()), single, seconds, single / seconds, choice)
                )  # fmt: skip
                print(*rows[-1], flush=True)
    return rows


def written(row: tuple[Any, ...]) -> list[str]:
    """A line's figures as text."""
    run, scene, stride, asked, cut, work, sample, patches, same, mean, most, single, dense, speed, choice = row
    return [run, scene, stride, asked, cut, f"{work:.2f}", f"{100 * sample:.1f}", f"{patches:,}", f"{100 * same:.1f}",
            f"{mean:.4f}", f"{most:.3f}", f"{single:.1f}", f"{dense:.1f}", f"{speed:.1f}", f"{choice:.1f}"]  # fmt: skip


def summary(rows: list[Any]) -> str:
    """Ranges over the scenes, by run, stride and what was asked for; "not reached" counts with it."""
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        for asked in row[3].removesuffix(" (not reached)").split(", "):
            groups.setdefault((row[0], row[2], asked), []).append(row)

    def span(found: list[Any], column: str, digits: int, factor: float = 1) -> str:
        values = [factor * each[HEADERS.index(column)] for each in found]
        low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
        return low if low == high else f"{low} to {high}"

    lines = []
    for (run, stride, asked), found in groups.items():
        reached = sum("not reached" not in each[3] for each in found)
        cuts = ", ".join(dict.fromkeys(each[4] for each in found))
        lines.append(
            (run, stride, asked, f"{reached} of {len(found)}", cuts, span(found, "same", 0, 100),
             span(found, "mean", 3), span(found, "most", 2), span(found, "speed-up", 1), span(found, "choice", 1))
        )  # fmt: skip
    headers = ("run", "stride", "asked", "reached", "cuts", "same (%)", "mean", "most", "speed-up", "choice (s)")
    return common.table(headers, lines)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--scenes", nargs="+", required=True, help="each one raster")
    parser.add_argument("--strides", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--agreements", type=float, nargs="+", default=[0.01, 0.9, 0.95])
    parser.add_argument("--sensor", help="of the scenes, as data.sensor")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    reading = {} if options.sensor is None else {"sensor": options.sensor}
    rows = [
        row
        for run in options.runs
        for scene in options.scenes
        for row in rows_of(run, scene, options.strides, options.agreements, reading)
    ]
    print(common.table(HEADERS, map(written, rows)))
    print(summary(rows))
    common.write_json(options.json, {"columns": HEADERS, "rows": rows})


if __name__ == "__main__":
    main()
