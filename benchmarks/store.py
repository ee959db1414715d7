"""What a store saves: building it and reading an epoch from it, against decoding the same files in every epoch.

    python benchmarks/store.py --data FOLDER [--patches 2700] [--batch-size 64] [--repeats 5] [--json FILE]

FOLDER has one folder per class, such as EuroSAT's `2750`; the first files of each class are taken, equally many. The
usual way is torchvision's ImageFolder with a DataLoader, without and with worker processes that stay from epoch to
epoch. All give shuffled batches of uint8 patches in memory, without any augmentation. An epoch of each comes before the
clock starts, so the files are in the system's cache; medians of `--repeats`.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sized
from pathlib import Path
from typing import Any

import common

WORKERS = (0, 2)


def take(data: Path, patches: int, folder: Path) -> int:
    """Link the first files of each class into `folder`; returns how many."""
    classes = sorted(p for p in data.iterdir() if p.is_dir())
    files = [sorted(c.iterdir())[: patches // len(classes)] for c in classes]
    for file in (f for of_class in files for f in of_class):
        link = folder / file.parent.name / file.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.resolve())
    return sum(map(len, files))


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median over repeats."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def epoch(batches: Iterable[Any], first: Callable[[Any], Sized]) -> int:
    """Go through all batches; returns the number of patches."""
    return sum(len(first(batch)) for batch in batches)


def measure(data: Path, patches: int, batch_size: int, repeats: int) -> dict[str, Any]:
    import numpy as np
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms.v2 import PILToTensor

    from landsift.config import DataConfig
    from landsift.data.batches import PatchBatches
    from landsift.data.store.patch_store import PatchStore, build_store

    with tempfile.TemporaryDirectory() as temporary:
        images = Path(temporary) / "images"
        count = take(data, patches, images)
        stores = (Path(temporary) / f"store{i}" for i in range(repeats + 1))
        config = DataConfig(source=str(images))
        first = build_store(config, next(stores)).folder
        ways = {"build the store, once": seconds(lambda: build_store(config, next(stores)), repeats)}

        store = PatchStore.open(first)
        batches = PatchBatches(store.images, store.labels, np.arange(count), batch_size=batch_size, shuffle=True)
        assert epoch(batches, lambda batch: batch.images) == count
        ways["epoch from the store"] = seconds(lambda: epoch(batches, lambda batch: batch.images), repeats)
        for workers in WORKERS:
            loader = DataLoader(
                ImageFolder(str(images), PILToTensor()),
                batch_size=batch_size,
                shuffle=True,
                num_workers=workers,
                persistent_workers=workers > 0,
            )
            assert epoch(loader, lambda batch: batch[0]) == count
            name = f"epoch by ImageFolder, {workers} workers"
            ways[name] = seconds(lambda loader=loader: epoch(loader, lambda batch: batch[0]), repeats)  # type: ignore[misc]
    return {"patches": count, "batch_size": batch_size, "repeats": repeats, "seconds": ways}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--patches", type=int, default=2700)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    result = measure(arguments.data, arguments.patches, arguments.batch_size, arguments.repeats)
    count, ways = result["patches"], result["seconds"]
    base = ways["epoch from the store"]
    print(f"{count:,} patches, batches of {result['batch_size']}, medians of {result['repeats']}\n")
    header = ("", "seconds", "patches/s", "times an epoch from the store")
    print(common.table(header, ((way, f"{s:.3f}", f"{count / s:,.0f}", f"{s / base:.1f}") for way, s in ways.items())))
    common.write_json(arguments.json, result)


if __name__ == "__main__":
    main()
