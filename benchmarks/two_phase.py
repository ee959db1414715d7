"""The two-phase recipe on few patches: accuracy on patches that selected nothing, and the curve over epochs.

    python benchmarks/two_phase.py --data FOLDER --weights FILE [--seeds 0 1 2] [--set key=value]... [--json FILE]

FOLDER holds one folder per class (EuroSAT's `2750`), FILE ImageNet's weights for timm's mobilenetv2_100. 2,700
patches train and validate, 90/10, and 2,700 others test: those of against_reference.py. The settings are
those of configs/eurosat.yaml, the tutorial's: 224 pixels, 7 epochs of the head, 10 of everything. The seed is that
of the training; the patches are the same for all.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import common
import patch_lists

RECIPE = common.HERE.parent / "configs" / "eurosat.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
    parser.add_argument("--patches", type=int, default=2700, help="to train and validate on")
    parser.add_argument("--test", type=int, default=2700, help="others to test on")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"runs": []}
    with tempfile.TemporaryDirectory(prefix="landsift-bench-") as scratch:
        patches = patch_lists.draw(arguments.data, arguments.patches, arguments.test, 0, Path(scratch))
        result |= {"patches": patches.counts, "digest": patches.digest}
        for seed in arguments.seeds:
            options: list[object] = ["--table", patches.table, "--weights", arguments.weights, "--config", RECIPE]
            for setting in (f"training.image_size={arguments.image_size}", f"seed={seed}", *arguments.set):
                options += ["--set", setting]
            result["runs"].append({"seed": seed} | common.run_part("ours.py", options))
            common.write_json(arguments.json, result)  # a long benchmark may be stopped
    print(", ".join(f"{count:,} {part}" for part, count in result["patches"].items()) + " patches")
    rows = []
    for run in result["runs"]:
        epochs = run["epochs"]
        best, last = run["best"]["epoch"], len(epochs) - 1
        rows.append(
            (
                str(run["seed"]),
                f"{100 * run['test_acc']:.2f}",
                f"{best + 1}",
                *(f"{100 * epochs[i]['val_acc']:.2f}" for i in (best, last)),
                common.number(run["process_seconds"], 0),
            )
        )
    headers = ("seed", "test %", "best epoch", "its validation %", "the last's", "s in all")
    print(common.table(headers, rows))
    mean = sum(run["test_acc"] for run in result["runs"]) / len(result["runs"])
    print(f"mean over {len(rows)} seeds: {100 * mean:.2f} %")
    print("validation % by epoch:")
    for run in result["runs"]:
        print(f"seed {run['seed']}:", *(f"{100 * row['val_acc']:.1f}" for row in run["epochs"]))


if __name__ == "__main__":
    main()
