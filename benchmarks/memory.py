"""How memory grows from ten thousand to a million patches: building a store, opening and splitting it, reading it.

    python benchmarks/memory.py --workdir FOLDER [--patches 10000 100000 1000000] [--json FILE]

Each stage runs in a fresh process; its peak is the most resident memory that process ever had. The image files are real
JPEGs of 64 x 64 pixels, as many as there are patches, in ten class folders. To make a million in minutes, the entries
of the quantisation tables of a thousand encoded patches are varied: every file decodes at full cost to pixels of its
own (the column `distinct` counts them). A million patches need about 17 GB below `--workdir`, which are deleted at the
end, and the time to decode them all.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import common

MIB = 2**20
CLASSES = 10
BASES = 1000
STAGES = ("build", "split", "read")


def memory_now() -> dict[str, int]:
    """Bytes of this process by the names in Linux's /proc/self/status, such as VmHWM and RssAnon."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): 1024 * int(value) for name, value, _ in fields}


def measured(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns, with its seconds and this process's peak memory.

    `peak` is all resident memory, `anonymous` the part that is not pages of a mapped file (which the system may take
    back at any time), sampled every 20 ms.
    """
    done = threading.Event()
    anonymous = 0

    def sample() -> None:
        nonlocal anonymous
        while True:
            anonymous = max(anonymous, memory_now()["RssAnon"])
            if done.wait(0.02):
                return

    sampler = threading.Thread(target=sample)
    sampler.start()
    start = time.perf_counter()
    try:
        result = work()
    finally:
        seconds = time.perf_counter() - start
        done.set()
        sampler.join()
    # not getrusage: its peak counts the process this one was started from
    return {"seconds": seconds, "peak": memory_now()["VmHWM"], "anonymous": anonymous} | result


def in_fresh_process(script: str, *arguments: object) -> dict[str, Any]:
    """Run a script in a new interpreter; what it prints last is a JSON object."""
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def encoded_patches() -> Iterator[bytes]:
    """JPEG files of generated patches."""
    from PIL import Image

    from landsift.config import SyntheticConfig
    from landsift.data.sources.synthetic import patch

    for i in range(BASES):
        file = BytesIO()
        Image.fromarray(patch(SyntheticConfig(), i)).save(file, "JPEG", quality=80)
        yield file.getvalue()


def variant(jpeg: bytes, number: int) -> bytes:
    """The same file with three steps of its first quantisation table, for the lowest frequencies, made larger."""
    changed = bytearray(jpeg)
    table = jpeg.index(b"\xff\xdb") + 5  # marker, length (2 bytes), number of the table
    for place in range(3):
        number, digit = divmod(number, 10)
        changed[table + place] += digit
    return bytes(changed)


def write_images(root: Path, count: int) -> None:
    """`count` different JPEG files in class folders."""
    folders = [root / f"class_{c:02d}" for c in range(CLASSES)]
    for folder in folders:
        folder.mkdir(parents=True)
    bases = list(encoded_patches())
    for i in range(count):
        number, base = divmod(i, BASES)
        name = f"{folders[i % CLASSES].name}_{i:07d}.jpg"
        (folders[i % CLASSES] / name).write_bytes(variant(bases[base], number))


def build(images: Path, store: Path) -> dict[str, Any]:
    """Make the store from the files."""
    from landsift.config import DataConfig
    from landsift.data.store.patch_store import build_store

    built = build_store(DataConfig(source=str(images)), store)
    return {"distinct": len(built) - built.info["duplicates"]}


def split(store: Path) -> dict[str, Any]:
    """Open the store and divide it."""
    from landsift.config import SplitConfig
    from landsift.data.splits import make_split
    from landsift.data.store.patch_store import PatchStore

    start = time.perf_counter()
    opened = PatchStore.open(store)
    opening = time.perf_counter() - start
    parts = make_split(opened, SplitConfig())
    return {"opening": opening, "train": len(parts.train)}


def read(store: Path) -> dict[str, Any]:
    """Open the store, divide it, and read all its patches once in shuffled batches, as training does."""
    import numpy as np
    import torch

    from landsift.config import SplitConfig
    from landsift.data.batches import PatchBatches
    from landsift.data.splits import make_split
    from landsift.data.store.patch_store import PatchStore

    opened = PatchStore.open(store)
    parts = make_split(opened, SplitConfig())
    rows = np.concatenate([parts.train, parts.val, parts.test])
    total = torch.zeros((), dtype=torch.int64)
    for batch in PatchBatches(opened.images, opened.labels, rows, batch_size=64, shuffle=True):
        total += batch.images.sum()  # every pixel is touched
    return {"mean": int(total) / opened.images.size}


def measure_stage(stage: str, folder: Path) -> dict[str, Any]:
    """One stage, in this process."""
    if stage == "build":
        return measured(lambda: build(folder / "images", folder / "store"))
    return measured(lambda: {"split": split, "read": read}[stage](folder / "store"))


def measure(count: int, workdir: Path) -> dict[str, Any]:
    """All stages for one number of patches."""
    folder = Path(tempfile.mkdtemp(prefix=f"landsift-{count}-", dir=workdir))
    try:
        start = time.perf_counter()
        write_images(folder / "images", count)
        print(f"{count:,} files written in {time.perf_counter() - start:.0f} s", file=sys.stderr)
        result: dict[str, Any] = {"patches": count}
        for stage in STAGES:
            result[stage] = in_fresh_process(__file__, "--stage", stage, "--workdir", folder)
            print(f"{count:,} {stage}: {result[stage]}", file=sys.stderr)
        return result
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def show(results: list[dict[str, Any]]) -> None:
    """A row per number of patches and stage."""
    header = ("stage", "patches", "peak MiB", "growth MiB", "without mapped files MiB", "growth MiB", "seconds")
    rows = []
    for stage in STAGES:
        first = results[0][stage]
        for result in results:
            now = result[stage]
            memory = (
                f"{value / MIB:.0f}" for key in ("peak", "anonymous") for value in (now[key], now[key] - first[key])
            )
            rows.append((stage, f"{result['patches']:,}", *memory, f"{now['seconds']:.1f}"))
    print(common.table(header, rows))
    print()
    header = ("patches", "distinct", "opening ms")
    rows = [
        (f"{r['patches']:,}", f"{r['build']['distinct']:,}", f"{1000 * r['split']['opening']:.1f}") for r in results
    ]
    print(common.table(header, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="at most 10^6")
    parser.add_argument("--workdir", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        print(json.dumps(measure_stage(arguments.stage, arguments.workdir)))
        return
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    results = [measure(count, arguments.workdir) for count in sorted(arguments.patches)]
    show(results)
    common.write_json(arguments.json, {"results": results})


if __name__ == "__main__":
    main()
