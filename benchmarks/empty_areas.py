"""Which empty areas of patches `landsift data check` finds, and how much of real content it takes for empty.

    python benchmarks/empty_areas.py --store STORE [--patches 500] [--json FILE]

STORE is made by `landsift data build`, from patches without empty areas. Areas of one value are laid over patches drawn
from the whole store, as they lie at a scene's edge; "found" is the share of patches of which the empty share is told to
within a tenth of the patch. Then every patch of the store is looked at as it is, and compressed once more; "taken for
empty" counts patches that would be called half or mostly empty.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import common


def compressed(pixels: Any, quality: int) -> Any:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def resized(pixels: Any) -> Any:
    from PIL import Image

    height, width = pixels.shape[:2]
    return np.asarray(Image.fromarray(pixels).resize((width * 3 // 4, height * 3 // 4)))


VALUES = {"0": (0, 0, 0), "255": (255, 255, 255), "128": (128, 128, 128), "37": (37, 37, 37)}
STORED: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda p: p,
    "JPEG 95": lambda p: compressed(p, 95),
    "JPEG 75": lambda p: compressed(p, 75),
    "resized": resized,
}


def area(height: int, width: int, rng: np.random.Generator) -> Any:
    """A side or a corner of a scene, at any angle, over a third to three quarters of a patch."""
    y, x = np.mgrid[:height, :width]
    angle, share = rng.uniform(0, 2 * np.pi), rng.uniform(1 / 3, 3 / 4)
    place = y * np.cos(angle) + x * np.sin(angle)
    if rng.integers(2):  # the scene's corner, a right angle
        place = np.maximum(place - np.median(place), (x * np.cos(angle) - y * np.sin(angle)) - np.median(x))
    return place > np.quantile(place, 1 - share)


def measure(folder: Path, count: int) -> dict[str, Any]:
    from landsift.data.checks.no_data import empty_areas
    from landsift.data.checks.pixels import HALF
    from landsift.data.store.patch_store import PatchStore

    store = PatchStore.open(folder)
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(len(store))[:count])
    patches = np.asarray(store.images[rows])
    masks = np.stack([area(*patches.shape[1:3], rng) for _ in patches])
    found = {}
    for value, colour in VALUES.items():
        laid = np.where(masks[..., None], np.array(colour, np.uint8), patches)
        for how, change in STORED.items():
            told = empty_areas(np.stack([change(pixels) for pixels in laid])).mean(axis=(1, 2))
            found[f"{value}, {how}"] = float(np.mean(np.abs(told - masks.mean(axis=(1, 2))) < 0.1))
    taken: dict[str, dict[str, int]] = {}
    for how in ("as it is", "JPEG 75"):
        shares = [empty_areas(STORED[how](pixels)[None]).mean() for pixels in store.images]
        wrong = np.asarray(shares) >= HALF
        taken[how] = {name: int(wrong[store.labels == k].sum()) for k, name in enumerate(store.classes)}
    return {"patches": len(store), "altered": len(rows), "found": found, "taken_for_empty": taken}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="a store of landsift data build")
    parser.add_argument("--patches", type=int, default=500, help="patches that areas are laid over")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    arguments = parser.parse_args()
    result = measure(arguments.store, arguments.patches)
    rows = [[v, *(f"{100 * result['found'][f'{v}, {how}']:.1f} %" for how in STORED)] for v in VALUES]
    print(common.table(["value", *STORED], rows))
    for how, classes in result["taken_for_empty"].items():
        named = ", ".join(f"{n} of {name}" for name, n in classes.items() if n)
        print(
            f"taken for empty of {result['patches']:,} patches {how}: {sum(classes.values())}{named and f' ({named})'}"
        )
    common.write_json(arguments.json, result)


if __name__ == "__main__":
    main()
