"""What splits of located patches are worth: distances from test to train, and the accuracy of location alone.

    python benchmarks/places.py --store STORE [--lists FOLDER] [--block-km 20 50] [--buffer-km 0 5] [--json FILE]

STORE is made by `landsift data build SOURCE --set data.locations=FILE`, which locates all patches.
FOLDER holds train.txt, val.txt and test.txt.
"Location alone" is the most frequent class among the k nearest training patches along great circles; validation
chooses k of 1, 3, 5, 10, 20 and 50. No pixel is looked at.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

import common


def measure(folder: Path, splits: dict[str, Any]) -> list[dict[str, Any]]:
    from landsift.config import SplitConfig
    from landsift.data.checks.place import distances, location_alone
    from landsift.data.splits import make_split
    from landsift.data.store.patch_store import PatchStore

    store = PatchStore.open(folder)
    places, found = store.places(), []
    for name, settings in splits.items():
        start = time.monotonic()
        parts = make_split(store, SplitConfig(**settings))
        seconds = time.monotonic() - start
        labels, K = store.labels, len(store.classes)
        shares = np.bincount(labels[parts.test], minlength=K) / np.bincount(labels[labels >= 0], minlength=K)
        found.append(
            {
                "split": name,
                "train": len(parts.train),
                "val": len(parts.val),
                "test": len(parts.test),
                "least_share": float(shares.min()),
                "largest_share": float(shares.max()),
                "seconds": seconds,
                **distances(places, parts.train, parts.test, 0.64),
                **location_alone(places, labels, parts.train, parts.val, parts.test),
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="of patches with places")
    parser.add_argument("--lists", type=Path, metavar="FOLDER", help="official lists: train.txt, val.txt, test.txt")
    parser.add_argument("--block-km", type=float, nargs="+", default=[20, 50, 100, 200], help="sides of blocks")
    parser.add_argument("--buffer-km", type=float, nargs="+", default=[0, 5], help="buffers between the sides")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    splits: dict[str, Any] = {"random, 60/20/20, seed 0": {"kind": "stratified"}}
    if options.lists:
        splits["official lists"] = {"lists": {part: options.lists / f"{part}.txt" for part in ("train", "val", "test")}}
    for block in options.block_km:
        for buffer in options.buffer_km:
            name = f"blocks of {block:g} km" + (f", buffer {buffer:g} km" if buffer else "")
            splits[name] = {"kind": "spatial", "block_km": block, "buffer_km": buffer}
    figures = measure(options.store, splits)
    rows = [
        (
            f["split"],
            f"{f['train']:,} / {f['val']:,} / {f['test']:,}",
            f"{100 * f['least_share']:.0f} to {100 * f['largest_share']:.0f} %",
            f"{f['median_km']:,.1f}",
            f"{f['q05_km']:,.2f}",
            f"{100 * f['nearer_than_side']:.1f} %",
            f"{100 * f['location_accuracy']:.1f} %",
            f["neighbours"],
            f"{f['seconds']:.2f}",
        )
        for f in figures
    ]
    head = ["split", "train / val / test", "test's share of a class", "median km", "5 % quantile, km",
            "nearer than 640 m", "location alone", "k", "seconds to split"]  # fmt: skip
    print(common.table(head, rows))
    if options.json:
        common.write_json(options.json, {"machine": common.machine(), "splits": figures})


if __name__ == "__main__":
    main()
