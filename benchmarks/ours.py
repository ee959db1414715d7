"""landsift on a table of patches, timed stage by stage; the counterpart of reference.py.

    python benchmarks/ours.py --table TABLE.csv --weights FILE [--config FILE] [--set key=value]... [--json FILE]

TABLE has the columns path, label and split. The network is the configuration's, and reference.py's without one. What is
timed is what a user runs: `build_store` decodes the files, `train` does the rest up to the tested model. t-SNE frames,
which the reference has none of, are off.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import common
from landsift.runtime.threads import spin_briefly
from reference import BACKBONE, BACKBONE_ARGS, MEAN, STD


def train(table: Path, weights: Path, config: Path | None, overrides: list[str]) -> dict[str, Any]:
    """Decode, train, test: seconds of each stage and epoch, and the accuracies."""
    begin = time.perf_counter()
    common.import_timm()
    from landsift.config import RunConfig
    from landsift.data.store.patch_store import build_store
    from landsift.evaluation.complete_run import complete_run
    from landsift.training.start import train as fit

    network = [f"model.weights={weights.absolute()}"]
    if config is None:
        network += [
            f"model.backbone={BACKBONE}",
            f"model.backbone_args={BACKBONE_ARGS}",
            f"model.normalization={{mean: {list(MEAN)}, std: {list(STD)}}}",
        ]
    source = [f"data.source={table.absolute()}", "data.split.kind=column", "tracking.tsne_every=0"]
    settings = RunConfig.load(config, [*source, *network, *overrides])
    with tempfile.TemporaryDirectory(prefix="landsift-bench-") as scratch:
        start = time.perf_counter()
        store = build_store(settings.data, Path(scratch) / "store")
        decoded = time.perf_counter()
        fit(settings, store, Path(scratch) / "run")
        run = complete_run(settings, store, Path(scratch) / "run")
        end = time.perf_counter()
        rows, manifest, evaluation = run.metrics, run.manifest, run.evaluation
    return {
        "config": settings.to_dict(),
        "images": manifest["data"]["split"],
        "precision": manifest["hardware"]["precision"],
        "epochs": [row | {"train_seconds": round(row["seconds"] - row["val_seconds"], 3)} for row in rows],
        "feature_seconds": [phase.get("feature_seconds") for phase in manifest["phases"]],
        "best": manifest["best"],
        "test_acc": evaluation["test"]["accuracy"],
        "decode_seconds": round(decoded - start, 2),
        "total_seconds": round(end - begin, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, metavar="FILE")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
    parser.add_argument("--config", type=Path, metavar="FILE")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    spin_briefly()  # as the command line does, before torch is loaded
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    result = train(arguments.table, arguments.weights, arguments.config, arguments.set)
    rows = [("decoding", common.number(result["decode_seconds"]))]
    rows += [
        ("features, in the first epoch of the phase", common.number(seconds, 2))
        for seconds in result["feature_seconds"]
        if seconds
    ]
    for row in result["epochs"]:
        rows.append((f"epoch {row['epoch'] + 1}, {row['phase_name']}", common.number(row["train_seconds"], 2)))
        rows.append((f"epoch {row['epoch'] + 1}, validation", common.number(row["val_seconds"], 2)))
    rest = result["total_seconds"] - result["decode_seconds"] - sum(row["seconds"] for row in result["epochs"])
    rows.append(("imports, set-up, test", common.number(rest)))
    rows.append(("in all", common.number(result["total_seconds"])))
    print(common.table(("stage", "seconds"), rows))
    print(f"test accuracy {100 * result['test_acc']:.2f} % on {result['images']['test']:,} patches")
    common.write_json(arguments.json, result)


if __name__ == "__main__":
    main()
