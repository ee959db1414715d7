"""Runs side by side: validation and test accuracy with intervals, macro F1, ECE, seconds, and F1 per class.

    python benchmarks/by_place.py RUN...

Runs whose folders differ only by a number at the end (`fast-0`, `fast-1`) are seeds of one setting: a line gives their
mean and range. Nothing is trained; the figures are those of evaluation.json and metrics.json.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from statistics import mean

from landsift.runs import Run, read_json


def figures(folder: Path) -> dict[str, object]:
    """What a run's files say of its best epoch."""
    run = Run.open(folder)
    evaluation = read_json(folder / "evaluation.json")
    test, val = evaluation["test"], evaluation["val"]
    low, high = test["intervals"]["accuracy"]
    return {
        "val": val["accuracy"],
        "test": test["accuracy"],
        "low": low,
        "high": high,
        "f1": test["macro_f1"],
        "ece": test["ece"],
        "epoch": evaluation["epoch"] + 1,
        "seconds": sum(row["seconds"] for row in run.metrics),
        "patches": sum(map(sum, test["confusion"])),
        "classes": evaluation["classes"],
        "per_class": test["per_class"],
    }


def main() -> None:
    """Print both tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    found = {folder.name: figures(folder) for folder in parser.parse_args().runs}
    print("| run | val accuracy | test accuracy (95 % interval) | macro F1 | ECE | epoch | seconds of training |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, run in found.items():
        print(
            f"| {name} | {run['val']:.2%} | {run['test']:.2%} ({100 * run['low']:.2f} to {100 * run['high']:.2f}) "
            f"| {run['f1']:.4f} | {run['ece']:.3f} | {run['epoch']} | {run['seconds']:.0f} |"
        )
    settings: dict[str, list[dict[str, object]]] = {}
    for name, run in found.items():
        settings.setdefault(re.sub(r"-\d+$", "", name), []).append(run)
    print("\n| setting | seeds | val accuracy, mean | test accuracy, mean (range) |")
    print("| --- | --- | --- | --- |")
    for name, runs in settings.items():
        tests = [run["test"] for run in runs]
        print(
            f"| {name} | {len(runs)} | {mean(run['val'] for run in runs):.2%} "
            f"| {mean(tests):.2%} ({min(tests):.2%} to {max(tests):.2%}) |"
        )
    classes = next(iter(found.values()))["classes"]
    print("\n| class | " + " | ".join(f"F1, {name}" for name in settings) + " |")
    print("| --- |" + " --- |" * len(settings))
    for name in classes:
        scores = [mean(run["per_class"][name]["f1"] for run in runs) for runs in settings.values()]
        print(f"| {name} | " + " | ".join(f"{score:.3f}" for score in scores) + " |")


if __name__ == "__main__":
    main()
