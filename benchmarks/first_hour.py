"""What a new user gets: the README's first command on few patches of one's own, with several seeds.

    python benchmarks/first_hour.py --data FOLDER --weights FILE [--patches 600] [--seeds 0 1 2] [--network NAME]
                                    [--set key=value]... [--out RUNS]

FOLDER holds one folder per class (EuroSAT's `2750`). --patches of them are drawn by class with seed 0 and linked into
class folders; every seed trains on the same ones, and draws its own split of them: `landsift run --data PATCHES --out
RUN` with the network's weights and the seed. Nothing else is set, so that the defaults are what is measured; `--set`
compares with them, such as --set strategy=two_phase.

The README's network is EfficientNet-B0 with weights that timm downloads. Where only files of weights are at hand,
--network says which of them this is.

The interval of a seed is Wilson's over its test patches; the last line's is of the mean over seeds (t).
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common

HALF = "model.normalization={mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}"
NETWORKS = {
    "mobilenetv2_100": ["model.backbone=mobilenetv2_100", "model.backbone_args={pad_type: same}", HALF],
    "tf_efficientnet_lite0": ["model.backbone=tf_efficientnet_lite0", HALF],
    "efficientnet_b0": [],
}


def linked(source: Path, patches: int, out: Path) -> int:
    """Links to the same share of every class; returns how many."""
    count = 0
    folders = sorted(folder for folder in source.iterdir() if folder.is_dir())
    for i, folder in enumerate(folders):
        wanted = patches // len(folders) + (i < patches % len(folders))
        files = sorted(file for file in folder.iterdir() if file.is_file())
        (out / folder.name).mkdir(parents=True)
        for file in random.Random(i).sample(files, wanted):
            (out / folder.name / file.name).symlink_to(file.absolute())
            count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="default: what timm downloads")
    parser.add_argument("--network", choices=NETWORKS, default="mobilenetv2_100")
    parser.add_argument("--patches", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, metavar="RUNS", help="default: a temporary folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="landsift-bench-") as scratch:
        count = linked(asked.data, asked.patches, Path(scratch) / "patches")
        out = asked.out or Path(scratch)
        print(f"{count} patches", flush=True)
        rows, tests = [], []
        for seed in asked.seeds:
            settings = [*NETWORKS[asked.network], f"seed={seed}", f"data.split.seed={seed}", *asked.set]
            if asked.weights is not None:
                settings.append(f"model.weights={asked.weights.absolute()}")
            command = ["run", "--data", str(Path(scratch) / "patches"), "--out", str(out / f"first-hour-{seed}")]
            command += [part for setting in settings for part in ("--set", setting)]
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-m", "landsift", *command], check=True, stdout=sys.stderr)
            seconds = time.perf_counter() - begin
            evaluation = json.loads((out / f"first-hour-{seed}" / "evaluation.json").read_text())
            test = evaluation["test"]
            low, high = test["intervals"]["accuracy"]
            tests.append(test["accuracy"])
            rows.append(
                (
                    str(seed),
                    f"{100 * evaluation['val']['accuracy']:.1f}",
                    f"{100 * test['accuracy']:.1f} ({100 * low:.1f} to {100 * high:.1f})",
                    common.number(seconds, 0),
                )
            )
    print(common.table(("seed", "validation (%)", "test (%)", "s in all"), rows))
    mean = 100 * statistics.mean(tests)
    if len(tests) > 1:
        from scipy.stats import t

        half = 100 * float(t.ppf(0.975, len(tests) - 1)) * statistics.stdev(tests) / len(tests) ** 0.5
        print(f"mean over {len(tests)} seeds: {mean:.1f} % (95 % interval {mean - half:.1f} to {mean + half:.1f})")


if __name__ == "__main__":
    main()
