"""A whole Sentinel-2 tile mapped: patch by patch, dense with a quarter of a patch as stride, and by a plain loop.

    python benchmarks/maps.py RUN PATCHES --workdir FOLDER [--side 10980] [--sparse 100000] [--json FILE]

RUN is a run with a model of 8-bit RGB, PATCHES a folder of images of its patch size. A Cloud-Optimized GeoTIFF of
`--side` pixels is made of them, in random order and repeated as often as it takes, at 10 m in UTM. Each part runs in a
fresh process; its memory is the peak of that process. All are without test-time augmentation.

- single: `map_scene` with the stride of a patch.
- dense: `map_scene(dense=True)` with a quarter of that.
- deepest: the same with all layers shared, whatever its agreement.
- plain: what one writes first: a window cut with rasterio, resized by Pillow as torchvision's transforms do, classified
  by the network as it was trained, one after the other.
- batches: the same in batches of 64. Both do `--plain` patches; the seconds of a whole tile are extrapolated per patch
  and marked so.
- sparse: a file of `--sparse` pixels a side, of which one block in `_EVERY` holds patches: memory must not grow.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import common

BLOCK = 512
BATCH = 64
"""Of the loop in batches."""
_EVERY = 200
_ANY = 1e-9  # an agreement that every network has
PARTS = ("single", "dense", "deepest", "plain", "batches", "sparse")


def patches_of(folder: Path, side: int, most: int = 2000) -> np.ndarray:
    """Pixels of images in and below a folder, uint8 [N, side, side, 3], in random order."""
    from PIL import Image

    files = sorted(each for each in folder.rglob("*") if each.suffix.lower() in (".jpg", ".jpeg", ".png"))
    order = np.random.default_rng(0).permutation(len(files))[:most]
    found = []
    for i in order:
        with Image.open(files[i]) as image:
            found.append(np.asarray(image.convert("RGB")))
    if not found or {each.shape for each in found} != {(side, side, 3)}:
        sys.exit(f"{folder} has no images of {side} x {side} pixels alone")
    return np.stack(found)


def profile(side: int) -> dict[str, Any]:
    """Of a raster of 10 m in UTM."""
    from rasterio.transform import from_origin

    return {
        "driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8", "crs": "EPSG:32631",
        "transform": from_origin(500_000, 5_500_000, 10, 10), "photometric": "RGB", "tiled": True,
        "blockxsize": BLOCK, "blockysize": BLOCK, "BIGTIFF": "IF_SAFER",
    }  # fmt: skip


def build_tile(path: Path, patches: np.ndarray, side: int) -> None:
    """A COG of patches beside one another."""
    import rasterio
    import rasterio.shutil
    from rasterio.windows import Window

    own, count = patches.shape[1], -(-side // patches.shape[1])
    draw = np.random.default_rng(1)
    plain = path.with_suffix(".plain.tif")
    with rasterio.open(plain, "w", **profile(side)) as file:
        for top in range(0, side, own):
            row = patches[draw.integers(0, len(patches), count)]  # [count, own, own, 3]
            strip = row.transpose(3, 1, 0, 2).reshape(3, own, -1)[:, : side - top, :side]
            file.write(strip, window=Window(0, top, side, strip.shape[1]))
    rasterio.shutil.copy(plain, path, driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", BLOCKSIZE=BLOCK)
    plain.unlink()


def build_sparse(path: Path, patches: np.ndarray, side: int) -> None:
    """A file of which one block in `_EVERY` is there."""
    import rasterio
    from rasterio.windows import Window

    own = patches.shape[1]
    block = np.tile(patches[: (BLOCK // own) ** 2].reshape(BLOCK // own, -1, own, own, 3).transpose(4, 0, 2, 1, 3), 1)
    block = block.reshape(3, BLOCK, BLOCK)
    blocks = side // BLOCK
    with rasterio.open(path, "w", **profile(side), SPARSE_OK=True, compress="deflate") as file:
        for number in range(0, blocks * blocks, _EVERY):
            window = Window(number % blocks * BLOCK, number // blocks * BLOCK, BLOCK, BLOCK)
            file.write(block, window=window)


def mapped(run: Path, scene: Path, out: Path, **options: Any) -> dict[str, Any]:
    """A map, and how long it took with and without loading the model."""
    from landsift.mapping.make import map_scene

    start = time.perf_counter()
    result = map_scene(run, scene, out, tta="none", device="cpu", **options)
    found = {"patches": result.patches, "seconds": result.seconds, "with_loading": time.perf_counter() - start}
    return found | {"agreement": None if result.agreement is None else result.agreement.to_json()}


def plain_loop(run: Path, scene: Path, count: int, size_of_batch: int) -> dict[str, Any]:
    """Cut, resize, classify, in the simplest way."""
    import rasterio
    import torch
    from PIL import Image
    from rasterio.windows import Window

    from landsift.models.predictor import load_model

    predictor = load_model(run, device="cpu")
    description, network = predictor.description, predictor._classifier
    network = network.to(memory_format=torch.contiguous_format).eval()
    side, size = description.patch_size[0], description.image_size
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (description.mean, description.std))
    start = time.perf_counter()
    done = 0
    with rasterio.open(scene) as file, torch.inference_mode():
        places = [
            (top, left)
            for top in range(0, file.height - side + 1, side)
            for left in range(0, file.width - side + 1, side)
        ][:count]
        for first in range(0, len(places), size_of_batch):
            batch = []
            for top, left in places[first : first + size_of_batch]:
                pixels = np.moveaxis(file.read(window=Window(left, top, side, side)), 0, -1)
                image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)
                tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
                batch.append((tensor - mean) / std)
            network(torch.stack(batch)).softmax(dim=1).argmax(dim=1)
            done += len(batch)
    return {"patches": done, "seconds": time.perf_counter() - start}


def part(arguments: argparse.Namespace) -> dict[str, Any]:
    """One part in this process."""
    tile, sparse = arguments.workdir / "tile.tif", arguments.workdir / "sparse.tif"
    out = arguments.workdir / f"map-{arguments.part}.tif"
    if arguments.part in ("plain", "batches"):
        return plain_loop(arguments.run, tile, arguments.plain, BATCH if arguments.part == "batches" else 1)
    if arguments.part in ("dense", "deepest"):
        from landsift.models.model_json import read_description
        from landsift.models.predictor import model_folder

        stride = read_description(model_folder(arguments.run) / "model.json").patch_size[0] // 4
        agreement = arguments.agreement if arguments.part == "dense" else _ANY
        return mapped(arguments.run, tile, out, dense=True, stride=stride, agreement=agreement)
    return mapped(arguments.run, sparse if arguments.part == "sparse" else tile, out)


def main() -> None:
    """Build, run the parts, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("patches", type=Path)
    parser.add_argument("--workdir", type=Path, required=True, help="for the rasters; about 2 GB, which stay")
    parser.add_argument("--side", type=int, default=10_980)
    parser.add_argument("--sparse", type=int, default=100_000)
    parser.add_argument("--plain", type=int, default=2048, help="patches of the plain loops")
    parser.add_argument("--agreement", type=float, default=0.95, help="of dense mode")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.part:
        arguments.json.write_text(json.dumps(part(arguments)), encoding="utf-8")
        return
    from landsift.models.model_json import read_description
    from landsift.models.predictor import model_folder

    description = read_description(model_folder(arguments.run) / "model.json")
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    patches = patches_of(arguments.patches, description.patch_size[0])
    build_tile(arguments.workdir / "tile.tif", patches, arguments.side)
    if "sparse" in arguments.parts:
        build_sparse(arguments.workdir / "sparse.tif", patches, arguments.sparse)
    shared = [arguments.run, arguments.patches, "--workdir", arguments.workdir, "--plain", arguments.plain]
    shared += ["--agreement", arguments.agreement]
    found = {name: common.run_part("maps.py", [*shared, "--part", name]) for name in arguments.parts.split(",") if name}
    print(report(found, arguments.side, description.patch_size[0]))
    common.write_json(arguments.json, {"side": arguments.side, "parts": found})


def report(found: dict[str, dict[str, Any]], side: int, patch: int) -> str:
    """The table, and how many times as fast as the plain loop."""
    rows = []
    for name, each in found.items():
        speed = each["patches"] / each["seconds"]
        rows.append(
            (name, f"{each['patches']:,}", common.number(each["seconds"]), common.number(speed, 0),
             common.number(each["peak_memory_mib"], 0))
        )  # fmt: skip
    lines = [common.table(("part", "patches", "seconds", "patches/s", "peak MiB"), rows)]
    for loop in ("plain", "batches"):
        if loop not in found:
            continue
        per_patch = found[loop]["seconds"] / found[loop]["patches"]
        for name, stride in (("single", patch), ("dense", patch // 4), ("deepest", patch // 4)):
            if name in found:
                count = ((side - patch) // stride + 1 + bool((side - patch) % stride)) ** 2
                times = count * per_patch / found[name]["seconds"]
                lines.append(
                    f"{name}: {times:.1f} times as fast as the loop {loop}, which would take "
                    f"{count * per_patch:,.0f} s "
                    f"for {count:,} patches (extrapolated per patch)"
                )
    for name in ("dense", "deepest"):
        if (agreement := found.get(name, {}).get("agreement")) is not None:
            lines.append(f"{name}: {agreement}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
