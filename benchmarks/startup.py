"""How long landsift takes where it has nothing to compute: its help, its version, and a run that is all in the cache.

    python benchmarks/startup.py --data SOURCE [--repeats 5] [--json FILE]

The cache is one of its own, filled by a short training first. The cached run still reads every file of SOURCE: by
their bytes it knows that they have not changed. Prints wall and processor seconds (user and system) from the start of
the command to its end, as medians; the first of all commands, which may have to compile and to read from the disk, is
shown apart. The three are taken in turns, so that other work on the machine meets them alike.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import common

TINY = (
    "model.backbone=test_resnet",
    "model.weights=none",
    "training.image_size=32",
    "training.augment.color_jitter=[0, 0, 0, 0]",
    "strategy=[{name: short, epochs: 1, lr_head: 0.001, blocks: all, lr_backbone: 0.001}]",
    "tracking.tsne_every=0",
    "tracking.wandb=disabled",
)


def timed(arguments: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """Wall seconds, processor seconds and standard output of a `landsift` command."""
    wall, used, done = common.timed([sys.executable, "-m", "landsift", *arguments], environment)
    return wall, used, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="synthetic", help="as in `landsift run --data`; default: generated patches")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    settings = [part for setting in TINY for part in ("--set", setting)]
    walls: dict[str, list[float]] = {}
    processors: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="landsift-startup-") as folder:
        environment = os.environ | {"LANDSIFT_HOME": f"{folder}/home"}
        first, _, _ = timed(["--help"], environment)
        timed(["run", "--data", arguments.data, "--out", f"{folder}/first", *settings], environment)
        for repeat in range(arguments.repeats):
            run = ["run", "--data", arguments.data, "--out", f"{folder}/{repeat}", "--json", *settings]
            for name, command in {"--help": ["--help"], "--version": ["--version"], "cached run": run}.items():
                wall, processor, output = timed(command, environment)
                if command is run:
                    stages = json.loads(output)["stages"]
                    if not (stages["load_dataset"]["cached"] and stages["train_model"]["cached"]):
                        sys.exit("the run did not come from the cache")
                walls.setdefault(name, []).append(wall)
                processors.setdefault(name, []).append(processor)
        patches = sum(json.loads(Path(folder, "first", "manifest.json").read_text())["data"]["classes"].values())
    print(f"{'landsift':<12} {'wall s':>8} {'processor s':>12}   {patches:,} patches, {arguments.repeats} repeats")
    for name, values in walls.items():
        print(f"{name:<12} {statistics.median(values):8.2f} {statistics.median(processors[name]):12.2f}")
    print(f"{'first --help':<12} {first:8.2f}")
    common.write_json(
        arguments.json,
        {
            "wall_seconds": {name: round(statistics.median(values), 3) for name, values in walls.items()},
            "processor_seconds": {name: round(statistics.median(values), 3) for name, values in processors.items()},
            "first_help_seconds": round(first, 3),
            "patches": patches,
            "repeats": arguments.repeats,
            "writes_bytecode": not sys.dont_write_bytecode,
        },
    )


if __name__ == "__main__":
    main()
