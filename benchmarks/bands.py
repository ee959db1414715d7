"""Thirteen bands beside three: what they cost, and what the first layer of RGB weights should begin with.

    python benchmarks/bands.py cost [--patches 10000] [--json FILE]
    python benchmarks/bands.py layers --weights FILE [--data FOLDER] [--seeds 0 1 2] [--json FILE]

`cost` builds a store of generated patches and trains one epoch (MobileNetV2 at 64 pixels, random weights) with 3 and
with 13 bands, each in a fresh process. `layers` trains with few labels, from RGB weights whose first layer begins in
each of the ways of `model.first_layer`, and from random weights: on generated patches of 13 bands, or with --data on
those of a folder (EuroSAT's bands). All begin with the same seeds, labels and split. The interval is over test patches
(each patch's share of right answers over the seeds; normal approximation); the difference is of the same patches.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import common
from landsift.runtime.threads import spin_briefly

KINDS = ("rgb", "all")
CHOICES = ("zero", "mean", "timm", "random")
QUANTILE = 1.96
NETWORK = (
    "model.backbone=mobilenetv2_100",
    "model.head={hidden: null, dropout: 0.0}",
    "training.image_size=64",
    "training.augment.color_jitter=[0, 0, 0, 0]",
    "training.label_smoothing=0.1",
    "training.weight_decay=1.0e-4",
    "training.gradient_clip=null",
    "tracking.tsne_every=0",
    "tracking.wandb=disabled",
)


def cost_of(bands: str, patches: int) -> dict[str, Any]:
    """Seconds and bytes of a store, and of an epoch on it."""
    common.import_timm()
    from landsift.config import RunConfig
    from landsift.data.store.patch_store import build_store
    from landsift.training.start import train

    settings = RunConfig.load(
        None,
        [
            *NETWORK,
            f"data.synthetic.patches={patches}",
            f"data.synthetic.bands={bands}",
            "data.split.fractions=[0.8, 0.1, 0.1]",
            "model.weights=none",
            "strategy=[{epochs: 1, blocks: all, lr_head: 1.0e-3, lr_backbone: 1.0e-3}]",
        ],
    )
    with tempfile.TemporaryDirectory(prefix="landsift-bench-") as scratch:
        start, cpu = time.perf_counter(), time.process_time()
        store = build_store(settings.data, Path(scratch) / "store")
        built, cpu_built = time.perf_counter() - start, time.process_time() - cpu
        size = sum(file.stat().st_size for file in (Path(scratch) / "store").iterdir())
        cpu = time.process_time()
        epoch = train(settings, store, Path(scratch) / "run").metrics[0]
        cpu = time.process_time() - cpu
    return {
        "build": built,
        "build_cpu": cpu_built,
        "train_cpu": cpu,
        "bytes": size,
        "epoch": epoch["seconds"] - epoch["val_seconds"],
        "val": epoch["val_seconds"],
    }


def cost(arguments: argparse.Namespace) -> None:
    if arguments.bands:
        common.write_json(arguments.json, cost_of(arguments.bands, arguments.patches))
        return
    found = {
        bands: common.run_part("bands.py", ["cost", "--bands", bands, "--patches", arguments.patches])
        for bands in KINDS
    }
    lines = [
        (
            {"rgb": "3, uint8", "all": "13, uint16"}[bands],
            common.number(each["build"]),
            f"{each['bytes'] / 2**20:,.0f}",
            common.number(each["epoch"]),
            common.number(each["val"]),
            common.number(each["build_cpu"]),
            common.number(each["train_cpu"]),
            f"{each['peak_memory_mib']:,}",
        )
        for bands, each in found.items()
    ]
    print(
        common.table(
            (
                "bands",
                "store (s)",
                "store (MiB)",
                "epoch (s)",
                "validation (s)",
                "store, CPU (s)",
                "training, CPU (s)",
                "peak memory (MiB)",
            ),
            lines,
        )
    )
    common.write_json(arguments.json, {"patches": arguments.patches, "found": found})


def layers(arguments: argparse.Namespace) -> None:
    common.import_timm()
    from landsift.config import RunConfig
    from landsift.data.store.patch_store import build_store
    from landsift.evaluation.complete_run import complete_run
    from landsift.training.start import train

    data = (
        [f"data.source={arguments.data.absolute()}", "data.sensor=eurosat"]
        if arguments.data
        else [
            f"data.synthetic.patches={arguments.patches}",
            "data.synthetic.bands=all",
            f"data.synthetic.difficulty={arguments.difficulty}",
            f"data.budget={arguments.labels}",
        ]
    )
    strategy = f"strategy=[{{epochs: {arguments.epochs}, blocks: all, lr_head: 2.0e-3, lr_backbone: {arguments.lr}}}]"
    common_settings = [*NETWORK, *data, strategy, "model.backbone_args={pad_type: same}", "training.batch_size=16"]
    common_settings.append(
        f"data.split.fractions=[{0.6 if arguments.data else 0.5}, 0.2, {0.2 if arguments.data else 0.3}]"
    )
    right: dict[str, list[np.ndarray]] = {choice: [] for choice in CHOICES}
    val: dict[str, list[float]] = {choice: [] for choice in CHOICES}
    with tempfile.TemporaryDirectory(prefix="landsift-bench-") as scratch:
        store = build_store(RunConfig.load(None, common_settings).data, Path(scratch) / "store")
        for seed in arguments.seeds:
            for choice in CHOICES:
                first = (
                    ["model.weights=none"]
                    if choice == "random"
                    else [f"model.weights={arguments.weights.absolute()}", f"model.first_layer={choice}"]
                )
                seeds = [f"seed={seed}", *([] if arguments.data else [f"data.budget_seed={seed}"])]
                config = RunConfig.load(None, [*common_settings, *first, *seeds])
                folder = Path(scratch) / f"{choice}-{seed}"
                train(config, store, folder)
                run = complete_run(config, store, folder)
                test = run.predictions.query("split == 'test'").sort_values("path")
                right[choice].append((test["label"] == test["predicted"]).to_numpy(dtype=np.float64))
                val[choice].append(max(row["val_acc"] for row in run.metrics))
    patches = {choice: np.mean(each, axis=0) for choice, each in right.items()}
    best = max(("zero", "mean", "timm"), key=lambda choice: float(np.mean(val[choice])))
    lines = []
    for choice in CHOICES:
        each = [float(one.mean()) for one in right[choice]]
        lines.append(
            (
                choice,
                f"{100 * np.mean(val[choice]):.1f}",
                f"{_share(patches[choice])}",
                ", ".join(f"{100 * one:.1f}" for one in each),
                "–" if choice == best else _share(patches[choice] - patches[best]),
            )
        )
    print(common.table(("first layer", "validation (%)", "test (%)", "by seed (%)", f"less {best} (points)"), lines))
    print(f"{len(patches['zero']):,} test patches; validation chooses {best}")
    shares = {choice: {"val": val[choice], "test": [float(one.mean()) for one in right[choice]]} for choice in CHOICES}
    common.write_json(arguments.json, {"found": shares, "chosen": best})


def _share(values: np.ndarray) -> str:
    mean, half = 100 * values.mean(), 100 * QUANTILE * values.std(ddof=1) / np.sqrt(len(values))
    low, high = max(mean - half, -100 if values.min() < 0 else 0), min(mean + half, 100)
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    of_cost = parts.add_parser("cost")
    of_cost.add_argument("--patches", type=int, default=1200)
    of_cost.add_argument("--bands", choices=KINDS, help="this alone, in this process")
    of_cost.set_defaults(run=cost)
    of_layers = parts.add_parser("layers")
    of_layers.add_argument(
        "--weights", type=Path, required=True, metavar="FILE", help="of mobilenetv2_100, pad_type same"
    )
    of_layers.add_argument("--data", type=Path, metavar="FOLDER", help="13-band patches instead of generated ones")
    of_layers.add_argument("--patches", type=int, default=1200)
    of_layers.add_argument("--labels", type=int, default=120)
    of_layers.add_argument("--difficulty", type=float, default=1.0)
    of_layers.add_argument("--epochs", type=int, default=8)
    of_layers.add_argument("--lr", type=float, default=1e-3)
    of_layers.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    of_layers.set_defaults(run=layers)
    for part in (of_cost, of_layers):
        part.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    spin_briefly()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    arguments.run(arguments)


if __name__ == "__main__":
    main()
