"""Which altered copies `landsift data check` finds, how often it takes different patches for copies, and its time.

    python benchmarks/near_copies.py --store STORE [--copies 1000] [--json FILE]

STORE is made by `landsift data build`. For each alteration, altered copies of the same patches, drawn from the whole
store, stand in the test part and the patches themselves in train: "found" is the share of copies that are named
together with their original, "other pairs" counts all else that is named. Then the whole store is searched once,
divided by three seeds into thirds, so that nearly all pairs of patches stand in different parts once.
"""

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import common


def clipped(pixels: Any) -> Any:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def compressed(pixels: Any, quality: int) -> Any:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def resized(pixels: Any) -> Any:
    from PIL import Image

    height, width = pixels.shape[:2]
    small = Image.fromarray(pixels).resize((width * 3 // 4, height * 3 // 4))
    return np.asarray(small.resize((width, height)))


ALTERATIONS: dict[str, Callable[[Any], Any]] = {
    "a quarter turn": np.rot90,
    "flipped": lambda p: p[:, ::-1],
    "2 levels brighter": lambda p: clipped(p.astype(float) + 2),
    "5 % more contrast and light": lambda p: clipped(p * 1.05),
    "noise of 2 levels": lambda p: clipped(p + np.random.default_rng(1).normal(0, 2, p.shape)),
    "JPEG, quality 95": lambda p: compressed(p, 95),
    "JPEG, quality 85": lambda p: compressed(p, 85),
    "JPEG, quality 50": lambda p: compressed(p, 50),
    "turned, 2 levels brighter, JPEG 85": lambda p: compressed(np.rot90(clipped(p.astype(float) + 2)), 85),
    "resized to 3/4 and back": resized,
    "moved by 1 pixel": lambda p: np.roll(p, 1, axis=1),
    "moved by 2 pixels": lambda p: np.roll(p, 2, axis=1),
}


def measure(folder: Path, copies: int) -> dict[str, Any]:
    from landsift.data.checks.near_duplicates import near_copies
    from landsift.data.store.patch_store import PatchStore

    store = PatchStore.open(folder)
    rows = np.sort(np.random.default_rng(0).permutation(len(store))[:copies])
    originals = np.asarray(store.images[rows])
    part = np.repeat([0, 2], len(rows))
    alterations = []
    for name, alter in ALTERATIONS.items():
        images = np.concatenate([originals, np.stack([alter(pixels) for pixels in originals])])
        pairs = near_copies(images, part, np.arange(len(images)))
        own = pairs.later - len(rows) == pairs.earlier
        found = np.isin(np.arange(len(rows)), pairs.earlier[own])
        by_class = {c: float(found[store.labels[rows] == k].mean()) for k, c in enumerate(store.classes)}
        worst = min(by_class, key=lambda c: by_class[c])
        alterations.append(
            {"name": name, "found": float(found.mean()), "others": int((~own).sum()), "worst": worst,
             "found_of_worst": by_class[worst], "by_class": by_class}
        )  # fmt: skip
    alike: dict[tuple[str, ...], float] = {}
    seconds = []
    for seed in range(3):
        thirds = np.random.default_rng(seed).integers(0, 3, len(store))
        start = time.perf_counter()
        pairs = near_copies(store.images, thirds, store.contents())
        seconds.append(time.perf_counter() - start)
        for a, b, likeness in zip(*pairs, strict=True):
            alike[tuple(store.paths(np.sort([a, b])))] = float(likeness)
    real = [{"paths": list(paths), "likeness": value} for paths, value in sorted(alike.items(), key=lambda i: -i[1])]
    return {"patches": len(store), "copies": copies, "alterations": alterations, "real": real,
            "seconds": common.median(seconds)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="a store of landsift data build")
    parser.add_argument("--copies", type=int, default=1000, help="patches that are altered")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    arguments = parser.parse_args()
    found = measure(arguments.store, arguments.copies)
    rows = [
        [a["name"], f"{100 * a['found']:.1f} %", f"{a['worst']}: {100 * a['found_of_worst']:.1f} %", a["others"]]
        for a in found["alterations"]
    ]
    print(common.table(["alteration", "found", "least in class", "other pairs"], rows))
    print(f"\n{len(found['real'])} near copies in the store itself, {found['seconds']:.1f} s a search")
    for pair in found["real"]:
        print(f"{pair['likeness']:.3f}  {'  '.join(pair['paths'])}")
    common.write_json(arguments.json, found)


if __name__ == "__main__":
    main()
