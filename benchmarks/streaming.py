"""Predicting ten thousand to a million patches: peak memory, patches per second, and the share of the model in it.

    python benchmarks/streaming.py RUN PATCHES --workdir FOLDER [--counts 10000 100000 1000000] [--kinds tar files]
        [--out folder csv] [--json FILE]

RUN is a trained run, PATCHES a folder with image files, such as EuroSAT's. Their bytes stand under as many names as are
asked for: as members of tar archives of 10,000 each, or as hard links in folders of 10,000 each. A million patches of
EuroSAT need 3.6 GB as archives, and hardly any space as links; they are deleted after each row unless --keep is given.

Each row is a process of its own: `landsift.predict_into`, and its most resident memory (VmHWM). The rate of the model
alone is measured before and after all rows, in a process of its own too: patches that lie decoded in memory, in chunks
as a prediction has them, for at least --seconds. `share` is the rate of the row divided by the mean of the two,
`inside` the part of the row's time in which the model computed; the time of listing and loading counts in both. The
machine is to do nothing else meanwhile.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

MIB = 2**20
EACH = 10_000  # patches in an archive or folder
DISTINCT = 27_000  # files whose bytes are read, at most


def sources(patches: Path) -> list[Path]:
    """Image files, in order of their names."""
    found = sorted(path for path in patches.rglob("*") if path.suffix.lower() in {".jpg", ".png", ".tif"})
    if not found:
        sys.exit(f"no images in {patches}")
    return found[:DISTINCT]


def names(count: int, files: list[Path]) -> Iterator[tuple[int, str, Path]]:
    """Number of the shard, name and file of each patch."""
    for number, file in enumerate(islice(cycle(files), count)):
        yield number // EACH, f"{file.parent.name}/{number:08d}{file.suffix}", file


def as_tar(folder: Path, count: int, files: list[Path]) -> str:
    """Write archives; returns what names them."""
    archive = None
    for shard, name, file in names(count, files):
        target = folder / f"{shard:05d}.tar"
        if archive is None or archive.name != str(target):
            if archive is not None:
                archive.close()
            archive = tarfile.open(target, "w")  # noqa: SIM115 (closed with the next)
        content = file.read_bytes()
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
        archive.members = []
    if archive is not None:
        archive.close()
    return str(folder / "*.tar")


def as_files(folder: Path, count: int, files: list[Path]) -> str:
    """Make hard links, to copies on the disk of the folder; returns what names them."""
    first: dict[Path, Path] = {}
    for shard, name, file in names(count, files):
        target = folder / f"{shard:05d}" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if file in first:
            os.link(first[file], target)
        else:
            shutil.copyfile(file, target)
            first[file] = target
    return str(folder)


def as_both(folder: Path, count: int, patches: Path) -> list[str]:
    """One half as members of archives, the other as single files; returns what names them."""
    files, half = sources(patches.absolute()), count // 2
    for name in ("tar", "files"):
        (folder / name).mkdir(parents=True)
    return [as_tar(folder / "tar", half, files), as_files(folder / "files", count - half, files[::-1])]


def child(task: dict[str, Any]) -> dict[str, Any]:
    """What a process of its own measures."""
    from landsift.runtime.threads import settle

    settle()
    if task["what"] == "model":
        return alone(task)
    from landsift.evaluation.stream import predict_into

    begun = time.perf_counter()
    found = predict_into(task["run"], [task["source"]], task["out"])
    seconds = time.perf_counter() - begun
    result = {"patches": found.rows, "seconds": seconds, "peak": peak()}
    manifest = Path(task["out"]) / "_manifest.json"
    if manifest.is_file():
        result["inside"] = json.loads(manifest.read_text())["seconds_of_model"] / seconds
    return result


def alone(task: dict[str, Any]) -> dict[str, Any]:
    """The rate of the model on decoded patches."""
    import numpy as np
    from PIL import Image

    from landsift.evaluation.in_chunks import CHUNK
    from landsift.models.loading import load_model
    from landsift.models.predictor import answers
    from landsift.runtime.memory_allocator import keep_freed_memory

    keep_freed_memory()
    predictor = load_model(task["run"])
    files = sources(Path(task["source"]))
    chosen = files[:: max(1, len(files) // CHUNK)][:CHUNK]
    images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in chosen])
    answers(predictor, images)
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < task["seconds"]:
        answers(predictor, images)
        count += len(images)
    return {"rate": count / (time.perf_counter() - begun), "peak": peak()}


def peak() -> int:
    """Bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def in_child(task: dict[str, Any]) -> dict[str, Any]:
    """The result of `child` in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(task)], stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(json.loads(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("patches", type=Path)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", choices=["tar", "files"], default=["tar", "files"])
    parser.add_argument("--out", nargs="+", choices=["folder", "csv", "parquet"], default=["folder"])
    parser.add_argument("--seconds", type=float, default=60, help="for the model alone")
    parser.add_argument("--keep", action="store_true", help="leave the patches and tables")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    files = sources(given.patches)
    model = {"what": "model", "run": str(given.run), "source": str(given.patches), "seconds": given.seconds}
    rates = [in_child(model)["rate"]]
    rows: list[dict[str, Any]] = []
    for kind in given.kinds:
        for count in given.counts:
            folder = given.workdir / f"{kind}-{count}"
            folder.mkdir(parents=True)
            source = (as_tar if kind == "tar" else as_files)(folder, count, files)
            for out in given.out:
                target = given.workdir / f"out-{kind}-{count}{'' if out == 'folder' else f'.{out}'}"
                task = {"what": "predict", "run": str(given.run), "source": source, "out": str(target)}
                row = {"kind": kind, "count": count, "out": out, **in_child(task)}
                print(json.dumps(row), file=sys.stderr)
                rows.append(row)
                if not given.keep:
                    shutil.rmtree(target) if target.is_dir() else target.unlink()
            if not given.keep:
                shutil.rmtree(folder)
    rates.append(in_child(model)["rate"])
    mean = sum(rates) / len(rates)
    print(f"the model alone: {rates[0]:.0f} and {rates[1]:.0f} patches per second")
    print("| patches | from | into | seconds | patches/s | share | inside | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        rate = row["patches"] / row["seconds"]
        row["share"] = rate / mean
        inside = f"{row['inside']:.0%}" if "inside" in row else ""
        print(
            f"| {row['count']:,} | {row['kind']} | {row['out']} | {row['seconds']:,.0f} | {rate:,.0f} | "
            f"{row['share']:.0%} | {inside} | {row['peak'] / MIB:,.0f} |"
        )
    if given.json:
        given.json.write_text(json.dumps({"model": rates, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
