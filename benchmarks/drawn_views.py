"""Training a head on cached features of few drawn views: is it as good as running the backbone in every epoch?

    python benchmarks/drawn_views.py --data FOLDER --weights FILE [--labels 500 2000] [--seeds 0 1 2] [--views 1 2 4 8]
                                     [--redraw 2] [--image-size 64] [--set key=value]... [--json FILE]

FOLDER holds one folder per class (EuroSAT's `2750`), FILE ImageNet's weights for timm's mobilenetv2_100. Trained is the
first phase of `two_phase`, 7 epochs of the head, with the tutorial's head and augmentation (colour jitter); `--set`
adds to it, such as training.augment.crop=0.5. Labels are drawn by class with seed 0; a tenth of them validates, and
--test other patches test. Only the training's seed differs.

Each line is one way: without the cache, then --views cached views drawn once, then 2 and 4 views drawn anew every
--redraw epochs. The difference is that of the test accuracies of the same seeds, with its 95 % interval over seeds (t).
Seconds are those of the epochs with their validations, features included.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import patch_lists

PHASE = "strategy=[{name: head, epochs: 7, lr_head: 2.0e-3, warmup_steps: 500}]"
TUTORIAL = (
    PHASE,
    "model.head={hidden: 256, dropout: 0.3}",
    "training.label_smoothing=0.1",
    "training.weight_decay=1.0e-4",
    "training.gradient_clip=null",
    "training.augment.color_jitter=[0.2, 0.2, 0.2, 0.1]",
)


def ways(views: Sequence[int], redraw: Sequence[int]) -> dict[str, list[str]]:
    """Settings by what a line is called."""
    found = {"no cache": ["training.cache_features=false"]}
    found |= {f"{k} drawn once": [f"training.feature_views={k}"] for k in views}
    anew = [(k, every) for every in redraw for k in views if k in {2, 4}]
    for k, every in anew:
        name = f"{k} drawn every {every} epochs"
        found[name] = [f"training.feature_views={k}", f"training.feature_epochs={every}"]
    return found


def difference(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Mean difference in points, and its 95 % interval over the pairs."""
    from scipy.stats import t

    pairs = [100 * (a - b) for a, b in zip(ours, theirs, strict=True)]
    mean = statistics.mean(pairs)
    if len(pairs) < 2:
        return f"{mean:+.2f}"
    half = float(t.ppf(0.975, len(pairs) - 1)) * statistics.stdev(pairs) / len(pairs) ** 0.5
    return f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
    parser.add_argument("--labels", type=int, nargs="+", default=[500, 2000], help="to train and validate on")
    parser.add_argument("--test", type=int, default=2700)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--views", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--redraw", type=int, nargs="*", default=[2], help="epochs; nothing: never")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    result: dict[str, Any] = {}
    for labels in asked.labels:
        with tempfile.TemporaryDirectory(prefix="landsift-bench-") as scratch:
            patches = patch_lists.draw(asked.data, labels, asked.test, 0, Path(scratch))
            runs: dict[str, list[dict[str, Any]]] = {}
            for seed in asked.seeds:
                for name, settings in ways(asked.views, asked.redraw).items():
                    given = (f"training.image_size={asked.image_size}", f"seed={seed}", *settings, *asked.set)
                    options: list[object] = ["--table", patches.table, "--weights", asked.weights]
                    options += [part for setting in (*TUTORIAL, *given) for part in ("--set", setting)]
                    runs.setdefault(name, []).append(common.run_part("ours.py", options))
                    result[str(labels)] = {"patches": patches.counts, "digest": patches.digest, "runs": runs}
                    common.write_json(asked.json, result)  # a long benchmark may be stopped
        print(f"\n{', '.join(f'{count:,} {part}' for part, count in patches.counts.items())} patches")
        show(runs)


def show(runs: dict[str, list[dict[str, Any]]]) -> None:
    """A line for each way."""
    usual = [run["test_acc"] for run in runs["no cache"]]
    rows = []
    for name, found in runs.items():
        tests = [run["test_acc"] for run in found]
        seconds = [sum(row["seconds"] for row in run["epochs"]) for run in found]
        rows.append(
            (
                name,
                f"{100 * statistics.mean(run['best']['val_acc'] for run in found):.2f}",
                f"{100 * statistics.mean(tests):.2f}",
                ", ".join(f"{100 * test:.2f}" for test in tests),
                "–" if name == "no cache" else difference(tests, usual),
                common.number(common.median(seconds)),
            )
        )
    headers = ("views", "validation %", "test %", "by seed %", "against no cache (points)", "s")
    print(common.table(headers, rows), flush=True)


if __name__ == "__main__":
    main()
