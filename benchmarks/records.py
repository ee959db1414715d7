"""The shortest times to an accuracy on EuroSAT: configurations in records/, measured on patches that selected nothing.

    python benchmarks/records.py --data FOLDER --weights FILE... [--records FILE...] [--seeds 0 1 2] [--json FILE]

FOLDER holds EuroSAT's `2750`; `--weights` are the files that the records name (`model.weights`), in any folder. Each
file of records/ is the configuration of one record, and its head says what was measured. Test and validation are drawn
from the patches that were in training in the splits of seed 0, 1 and 2 (85/5/10), on which configurations were
selected; all others train. Each run is a fresh process, from the image files to the test accuracy: imports, decoding
and test count. A record stands where the mean accuracy of its seeds exceeds its aim. For a record as a multiple of the
usual way:

    python benchmarks/against_reference.py --data FOLDER/2750 --weights MOBILENETV2 --parts reference fast --seeds 0 1 2
        --fast-config benchmarks/records/as-reference.yaml
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
from pathlib import Path
from typing import Any

import common

FOLDER = common.HERE / "records"
USED = (0, 1, 2)
"""Seeds of the splits whose validation or test has selected something."""
FRACTIONS = (0.85, 0.05, 0.10)


def draw(root: Path, out: Path) -> tuple[Path, dict[str, int]]:
    """A table of all patches with their parts: nothing in val or test was in val or test of an earlier split."""
    from sklearn.model_selection import train_test_split

    from landsift.config import RunConfig
    from landsift.config_data import SplitConfig
    from landsift.data.splits import make_split
    from landsift.data.store.patch_store import build_store

    data = RunConfig.from_dict({"data": {"source": "eurosat", "eurosat": {"root": str(root.absolute())}}}).data
    store = build_store(data, out / "all")
    fresh = set(range(len(store)))
    for seed in USED:
        fresh &= set(make_split(store, SplitConfig(fractions=FRACTIONS, seed=seed)).train.tolist())
    pool = sorted(fresh)
    sizes = [round(share * len(store)) for share in FRACTIONS[1:]]
    unseen, _ = train_test_split(pool, train_size=sum(sizes), random_state=0, stratify=store.labels[pool])
    val, test = train_test_split(
        sorted(unseen), train_size=sizes[0], random_state=0, stratify=store.labels[sorted(unseen)]
    )
    part = dict.fromkeys(range(len(store)), "train") | dict.fromkeys(val, "val") | dict.fromkeys(test, "test")
    paths = store.paths(store.index.index.to_numpy())
    table = out / "patches.csv"
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "split"))
        writer.writerows((path, store.classes[store.labels[row]], part[row]) for row, path in enumerate(paths))
    return table, {name: list(part.values()).count(name) for name in ("train", "val", "test")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--weights", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--records", type=Path, nargs="+", default=sorted(FOLDER.glob("[0-9]*.yaml")), metavar="FILE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    from landsift.config import RunConfig

    named = {record: Path(RunConfig.load(record).model.weights).name for record in arguments.records}
    given = {file.name: file for file in arguments.weights}
    if missing := sorted({*named.values()} - {*given}):
        parser.error(f"the records need --weights {' '.join(missing)} too")
    result: dict[str, Any] = {"runs": []}
    with tempfile.TemporaryDirectory(prefix="landsift-bench-") as scratch:
        table, result["patches"] = draw(arguments.data, Path(scratch))
        for record in arguments.records:
            for seed in arguments.seeds:
                options = [
                    "--table",
                    table,
                    "--weights",
                    given[named[record]],
                    "--config",
                    record,
                    "--set",
                    f"seed={seed}",
                ]
                result["runs"].append({"record": record.name, "seed": seed} | common.run_part("ours.py", options))
                common.write_json(arguments.json, result)
    print(", ".join(f"{count:,} {part}" for part, count in result["patches"].items()) + " patches")
    rows = []
    for record in arguments.records:
        runs = [run for run in result["runs"] if run["record"] == record.name]
        accuracies, seconds = [[run[key] for run in runs] for key in ("test_acc", "process_seconds")]
        shown = ", ".join(f"{100 * accuracy:.2f}" for accuracy in accuracies)
        row = [record.name, f"{100 * statistics.mean(accuracies):.2f}", shown]
        rows.append([*row, ", ".join(f"{each:.1f}" for each in seconds), runs[0]["precision"]])
    print(common.table(("record", "test %", "of each seed", "s, from start to test accuracy", "arithmetic"), rows))
    versions = common.machine()["versions"]
    print(", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "timm") if name in versions))


if __name__ == "__main__":
    main()
