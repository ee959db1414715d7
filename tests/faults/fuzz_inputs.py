"""Feed damaged inputs to everything of landsift that opens a file, and count what happens.

    python tests/faults/fuzz_inputs.py --cases 1000 [--seed 0] [--only image model] [--json FILE]

A valid input is damaged (bits flipped, cut, spliced, pieces repeated, numbers in it made absurd) and read in a process
of its own that may take 2 GiB more than it starts with and 60 seconds per case. Each case ends in one of

    refused    a LandsiftError of at most two lines, and nothing left behind
    accepted   the damage did not matter, or made another valid input
    traceback  any other error
    hang       no end in time
    crash      the process died
    memory     2 GiB were not enough
    left       something half-written stayed behind, or an error of more lines

and only the first two are fine: the exit status is 1 if there is any other. A case is told by its kind, number and
seed, and comes out the same alone: `--only image --case 17`.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import io
import json
import random
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

KINDS = ("image", "csv", "parquet", "archive", "config", "description", "weights", "checkpoint", "store")
OUTCOMES = ("refused", "accepted", "traceback", "hang", "crash", "memory", "left")
FINE = {"refused", "accepted"}
MEMORY = 2**31  # bytes above the baseline
SECONDS = 60.0

NUMBERS = [0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1]
WORDS = ["0", "-1", "1e999", "nan", "null", "true", "[]", "{}", '""', "9" * 400, "'", "\\", "\0", "\n", "*a", "&a [*a]"]
WORDS += [
    "!!int ''",
    "!!python/name:os.system",
    "..",
    "/",
    "x" * 3000,
    "\x1b[31m",
    "\u202e",
    "\ufeff",
    "[" * 2000,
    ",",
    ";",
]


VALUES: list[Any] = [None, True, False, -1, 0, 1, 3, 8192, 10**9, 2**63, 10**30, -(10**30), 0.5, 1e300, float("nan")]
VALUES += [
    float("inf"),
    "",
    "x",
    "none",
    "\ud800",
    "a\nb\x1b[31m",
    "../..",
    "x" * 5000,
    [],
    [1],
    [[1, 2]],
    {},
    {"a": 1},
]
VALUES += [
    {"checkpoint_path": "x"},
    {"depth": 9000},
    {"drop_rate": "x"},
    {"in_chans": 5},
    "efficientnet_b0",
    [None] * 300,
]


# Damage.


def damaged(raw: bytes, other: bytes, dice: random.Random, *, text: bool) -> bytes:
    """One to three kinds of damage to `raw`; `other` is what is spliced in."""
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        raw = dice.choice([*DAMAGE, _word, _word, _word] if text else DAMAGE)(raw or b"\0", other, dice)
    return raw


def _flip(raw: bytes, other: bytes, dice: random.Random) -> bytes:
    out = bytearray(raw)
    for _ in range(dice.choice([1, 2, 8, 64])):
        out[dice.randrange(len(out))] ^= 1 << dice.randrange(8)
    return bytes(out)


def _cut(raw: bytes, other: bytes, dice: random.Random) -> bytes:
    return raw[: dice.randrange(len(raw))]


def _behead(raw: bytes, other: bytes, dice: random.Random) -> bytes:
    return raw[dice.randrange(len(raw)) :]


def _splice(raw: bytes, other: bytes, dice: random.Random) -> bytes:
    return raw[: dice.randrange(len(raw))] + other[dice.randrange(max(1, len(other))) :]


def _repeat(raw: bytes, other: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(raw))
    piece = raw[start : start + dice.choice([4, 64, 1024])]
    return raw[:start] + piece * dice.choice([2, 10, 300]) + raw[start:]


def _blank(raw: bytes, other: bytes, dice: random.Random) -> bytes:
    start, length = dice.randrange(len(raw)), dice.choice([1, 4, 64, 1024])
    return raw[:start] + dice.choice([b"\0", b"\xff"]) * len(raw[start : start + length]) + raw[start + length :]


def _header(raw: bytes, other: bytes, dice: random.Random) -> bytes:
    out = bytearray(raw)
    for _ in range(dice.choice([1, 4])):
        out[dice.randrange(min(64, len(out)))] = dice.randrange(256)
    return bytes(out)


def _number(raw: bytes, other: bytes, dice: random.Random) -> bytes:
    """An absurd number of two, four or eight bytes, most often near the beginning or the end, where headers are."""
    kind = dice.choice(["<H", ">H", "<I", ">I", "<Q", ">Q"])
    size = struct.calcsize(kind)
    near = dice.choice([dice.randrange(min(len(raw), 200)), dice.randrange(max(0, len(raw) - 200), len(raw))])
    start = dice.choice([near, near, dice.randrange(len(raw))])
    return raw[:start] + struct.pack(kind, dice.choice(NUMBERS) % 256**size) + raw[start + size :]


def _word(raw: bytes, other: bytes, dice: random.Random) -> bytes:
    """A value of a text put in another's place."""
    tokens = raw.decode("utf-8", "replace").split(" ")
    tokens[dice.randrange(len(tokens))] = dice.choice(WORDS)
    return " ".join(tokens).encode("utf-8", "replace")


DAMAGE = [_flip, _flip, _cut, _behead, _splice, _repeat, _blank, _header, _number, _number]


def with_other_values(raw: bytes, dice: random.Random) -> bytes:
    """A JSON or YAML text with one or two of its values, or lists and mappings of values, made absurd."""
    import yaml

    values = yaml.safe_load(raw)
    for _ in range(dice.choice([1, 1, 2])):
        places = list(_places(values))
        others = [parent[key] for parent, key in places] if dice.random() < 0.3 else VALUES
        parent, key = dice.choice(places)
        parent[key] = copy.deepcopy(dice.choice(others))
    return json.dumps(values).encode()


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, dict | list):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            yield node, key
            yield from _places(node[key])


def with_checksums(png: bytes) -> bytes:
    """A damaged PNG with the right checksums, so that more than their check is reached."""
    out, at = bytearray(png[:8]), 8
    while at + 8 <= len(png):
        length = min(int.from_bytes(png[at : at + 4], "big"), max(0, len(png) - at - 12))
        body = png[at + 4 : at + 8 + length]
        out += struct.pack(">I", length) + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(out)


# Valid inputs.


class Corpus:
    """Valid inputs by kind, made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = folder / "model"
        self.store = folder / "store"
        self.inputs: dict[str, list[bytes]] = {
            "image": list(_images()),
            "csv": [_csv(","), _csv(";"), _csv(",", quoted=True)],
            "parquet": list(_tables()),
            "archive": [_archive(zipfile.ZIP_DEFLATED), _archive(zipfile.ZIP_STORED), _archive(zipfile.ZIP_LZMA)],
            "config": _configs(),
        }
        _make_model(self.model)
        _make_store(self.store, self.inputs["image"][0])
        self.inputs["description"] = [(self.model / "model.json").read_bytes()]
        self.inputs["weights"] = [(self.model / "model.safetensors").read_bytes()]
        self.inputs["checkpoint"] = list(_checkpoints())
        self.inputs["store"] = [(self.store / name).read_bytes() for name in STORE_FILES]


STORE_FILES = ("store.json", "index.parquet", "images.npy")


def _images() -> Iterator[bytes]:
    import numpy as np
    from PIL import Image

    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode, kind, options in [
        ("RGB", "PNG", {}),
        ("RGB", "JPEG", {"exif": exif, "icc_profile": bytes(200)}),
        ("RGB", "JPEG", {"progressive": True}),
        ("CMYK", "JPEG", {}),
        ("L", "JPEG", {}),
        ("RGBA", "PNG", {"exif": exif}),
        ("P", "PNG", {"transparency": 3}),
        ("LA", "PNG", {}),
        ("I;16", "PNG", {}),
        ("1", "TIFF", {"compression": "group4"}),
        ("RGB", "TIFF", {}),
        ("RGB", "TIFF", {"compression": "tiff_deflate"}),
        ("RGB", "TIFF", {"compression": "tiff_lzw"}),
        ("RGB", "TIFF", {"compression": "jpeg"}),
        ("RGB", "TIFF", {"compression": "packbits", "exif": exif}),
        ("RGB", "GIF", {}),
        ("RGB", "WEBP", {}),
    ]:
        buffer = io.BytesIO()
        rgb.convert("L").convert(mode).save(buffer, kind, **options) if mode == "I;16" else rgb.convert(mode).save(
            buffer, kind, **options
        )
        yield buffer.getvalue()
    for kind in ("PNG", "TIFF"):
        buffer = io.BytesIO()
        rgb.save(buffer, kind, save_all=True, append_images=[rgb, rgb])
        yield buffer.getvalue()


def _csv(separator: str, *, quoted: bool = False) -> bytes:
    quote = '"' if quoted else ""
    rows = [["path", "label", "split", "group"]]
    rows += [[f"images/{i} a.png", f"class {i % 3}", "train", str(i // 4)] for i in range(40)]
    return "\n".join(separator.join(f"{quote}{v}{quote}" for v in row) for row in rows).encode()


def _tables() -> Iterator[bytes]:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {"path": [f"{i}.png" for i in range(50)], "label": [f"class {i % 3}" for i in range(50)]}
    for more, options in [
        ({}, {}),
        ({"split": ["train", None] * 25, "group": list(range(50))}, {"compression": "zstd", "row_group_size": 20}),
        ({"vector": [[1.0, 2.0]] * 50}, {"use_dictionary": False, "compression": "none"}),
    ]:
        buffer = io.BytesIO()
        parquet.write_table(pa.table(columns | more), buffer, **options)
        yield buffer.getvalue()


def _archive(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in ("Forest", "River"):
            for i in range(2):
                archive.writestr(f"2750/{name}/{name}_{i}.jpg", bytes(range(256)) * 2)
    return buffer.getvalue()


def _configs() -> list[bytes]:
    from landsift.config import RunConfig

    own = "strategies: {mine: [{epochs: 1, lr_head: 0.1}, {epochs: 2, lr_head: 0.1, blocks: 1, lr_backbone: 0.1}]}\n"
    own += (
        "strategy: mine\ntraining: &t {image_size: 64, augment: {flips: true}}\ndata: {source: eurosat, budget: 500}\n"
    )
    return [RunConfig().to_yaml().encode(), own.encode()]


def _make_model(folder: Path) -> None:
    import torch

    from landsift.config import HeadConfig, ModelConfig
    from landsift.models.backbone import create_backbone
    from landsift.models.classifier import PatchClassifier
    from landsift.models.model_json import ModelDescription
    from landsift.models.predictor import load_model, save_model

    torch.manual_seed(0)
    head = HeadConfig(hidden=16)
    backbone = create_backbone(ModelConfig(backbone="test_efficientnet", weights="none"), 32)
    classifier = PatchClassifier(backbone.network, backbone.features, 3, head)
    values: dict[str, Any] = {"backbone": "test_efficientnet", "backbone_args": {"drop_rate": 0.1, "act_layer": "relu"}}
    values |= {"head": head.model_dump(), "classes": ("a", "b", "c"), "patch_size": (24, 32), "image_size": 32}
    values |= {"mean": (0.5,) * 3, "std": (0.5,) * 3, "landsift": "0"}
    save_model(classifier, ModelDescription(**values), folder)
    load_model(folder)


def _checkpoints() -> Iterator[bytes]:
    """What torch.save writes, now and before its release 1.6, with what trainers put beside the weights."""
    import timm
    import torch

    torch.manual_seed(0)
    tensors = {f"module.{name}": tensor for name, tensor in timm.create_model("test_resnet").state_dict().items()}
    for zipped in (True, False):
        buffer = io.BytesIO()
        held = {"epoch": 3, "args": argparse.Namespace(lr=0.1), "state_dict": tensors}
        torch.save(held, buffer, _use_new_zipfile_serialization=zipped)
        yield buffer.getvalue()


def _make_store(folder: Path, image: bytes) -> None:
    from landsift.config import RunConfig
    from landsift.data.store.patch_store import build_store

    source = folder.with_name("source")
    for name in "ab":
        (source / name).mkdir(parents=True)
        for i in range(3):
            (source / name / f"{i}.png").write_bytes(image)
    build_store(RunConfig().replace(f"data.source={source}").data, folder)


# What reads them. Each gets an empty folder and an input, and says what must not be there when it has failed.


def read_image(corpus: Corpus, folder: Path, raw: bytes, dice: random.Random, which: int) -> None:
    from landsift.config import RunConfig
    from landsift.data.store.patch_store import PatchStore, build_store

    for name in "ab":
        (folder / "source" / name).mkdir(parents=True)
        (folder / "source" / name / "good.png").write_bytes(corpus.inputs["image"][0])
        (folder / "source" / name / f"bad.{dice.choice(['png', 'jpg', 'tif'])}").write_bytes(raw)
    data = RunConfig().replace(f"data.source={folder / 'source'}", f"data.max_unreadable={dice.choice([0, 1])}").data
    store = build_store(data, folder / "out" / "store")
    assert len(PatchStore.open(store.folder).images) + len(store.skipped) == 4


def read_csv(corpus: Corpus, folder: Path, raw: bytes, dice: random.Random, which: int) -> None:
    from landsift.data.sources.table import read_table

    (folder / "t.csv").write_bytes(raw)
    assert len(list(read_table(folder / "t.csv").sorted())) > 0


def read_parquet(corpus: Corpus, folder: Path, raw: bytes, dice: random.Random, which: int) -> None:
    from landsift.data.sources.table import read_table

    (folder / "t.parquet").write_bytes(raw)
    assert len(list(read_table(folder / "t.parquet").sorted())) > 0


def read_archive(corpus: Corpus, folder: Path, raw: bytes, dice: random.Random, which: int) -> None:
    from landsift.config import EuroSATConfig
    from landsift.data.sources.eurosat import ensure

    (folder / "out").mkdir()
    (folder / "out" / "EuroSAT.zip").write_bytes(raw)
    # The right checksum, as if the damage had been published.
    sha256 = hashlib.sha256(raw).hexdigest()
    ensure(EuroSATConfig(root=folder / "out", sha256=sha256, base_url="http://127.0.0.1:9"))


def read_config(corpus: Corpus, folder: Path, raw: bytes, dice: random.Random, which: int) -> None:
    from landsift.config import RunConfig
    from landsift.training.strategies import resolve_strategy

    (folder / "c.yaml").write_bytes(raw)
    config = RunConfig.load(folder / "c.yaml")
    resolve_strategy(config.strategy, config.strategies)
    (folder / "again.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert RunConfig.load(folder / "again.yaml") == config


def read_description(corpus: Corpus, folder: Path, raw: bytes, dice: random.Random, which: int) -> None:
    shutil.copytree(corpus.model, folder / "model")
    (folder / "model" / "model.json").write_bytes(raw)
    _predict(folder)


def read_weights(corpus: Corpus, folder: Path, raw: bytes, dice: random.Random, which: int) -> None:
    shutil.copytree(corpus.model, folder / "model")
    (folder / "model" / "model.safetensors").write_bytes(raw)
    _predict(folder)


def _predict(folder: Path) -> None:
    import numpy as np

    from landsift.models.predictor import load_model

    predictor = load_model(folder)
    bands = len(predictor.description.mean)
    predictor(np.zeros((2, *predictor.description.patch_size, bands), dtype=np.uint8))


def read_checkpoint(corpus: Corpus, folder: Path, raw: bytes, dice: random.Random, which: int) -> None:
    from landsift.config import ModelConfig
    from landsift.models.backbone import create_backbone

    file = folder / dice.choice(["weights.pth", "weights.pt", "weights.bin"])
    file.write_bytes(raw)
    create_backbone(ModelConfig(backbone="test_resnet", weights=str(file)), 32)


def read_store(corpus: Corpus, folder: Path, raw: bytes, dice: random.Random, which: int) -> None:
    from landsift.data.store.patch_store import PatchStore

    name = STORE_FILES[which]
    shutil.copytree(corpus.store, folder / "store")
    (folder / "store" / name).write_bytes(raw)
    if name == "index.parquet":  # the right size, so that more than its check is reached
        meta = json.loads((folder / "store" / "store.json").read_text())
        (folder / "store" / "store.json").write_text(json.dumps(meta | {"index_bytes": len(raw)}))
    store = PatchStore.open(folder / "store")
    store.labels, store.contents(), store.index, store.images.sum()


READERS: dict[str, Callable[[Corpus, Path, bytes, random.Random, int], None]] = {
    "image": read_image,
    "csv": read_csv,
    "parquet": read_parquet,
    "archive": read_archive,
    "config": read_config,
    "description": read_description,
    "weights": read_weights,
    "checkpoint": read_checkpoint,
    "store": read_store,
}
TEXTS = {"csv", "config", "description"}


# The process that reads.


def run_case(corpus: Corpus, kind: str, number: int, seed: int) -> dict[str, Any]:
    """Damage an input, read it, and say what happened."""
    from landsift.errors import LandsiftError

    dice = random.Random(f"{seed} {kind} {number}")
    which = dice.randrange(len(corpus.inputs[kind]))
    whole = corpus.inputs[kind][which]
    text = kind in TEXTS or whole.startswith(b"{")
    if (kind == "config" or whole.startswith(b"{")) and dice.random() < 0.6:
        raw = with_other_values(whole, dice)
    else:
        raw = damaged(whole, dice.choice(corpus.inputs[kind]), dice, text=text)
    if raw.startswith(b"\x89PNG") and dice.random() < 0.6:
        raw = with_checksums(raw)
    folder = corpus.folder / "case"
    folder.mkdir()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is this case's
    before, began = _memory("VmRSS"), time.monotonic()
    try:
        READERS[kind](corpus, folder, raw, dice, which)
        outcome, message = "accepted", ""
    except LandsiftError as error:
        message = str(error)
        out = folder / "out"
        stayed = {p.name for p in out.iterdir()} - {"EuroSAT.zip", "eurosat"} if out.is_dir() else ()
        outcome = "left" if stayed or (kind == "archive" and any(folder.rglob("*.jpg"))) else "refused"
        if len(message.splitlines()) > 2 or not message.replace("\n", "").isprintable():
            outcome = "left"
        if re.search(
            r"allocat|out of memory|MemoryError", message
        ):  # not zstd's refusal of a frame that needs too much
            outcome = "memory"
    except MemoryError as error:
        outcome, message = "memory", str(error)
    except BaseException as error:  # noqa: BLE001 (that is what is looked for)
        import traceback

        where = traceback.extract_tb(error.__traceback__)[-1]
        outcome, message = "traceback", f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
    if outcome in FINE and any(".partial" in p.name for p in folder.rglob("*")):
        outcome = "left"
    peak = _memory("VmHWM") - before
    shutil.rmtree(folder)
    if outcome in FINE and peak > MEMORY:
        outcome = "memory"
    return {"outcome": outcome, "message": message[:400], "peak": peak, "seconds": time.monotonic() - began}


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def work() -> None:
    """Read `kind number seed` lines, answer each with a line of JSON."""
    import logging
    import warnings

    logging.getLogger("landsift").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Corpus(Path(folder))
        for kind in KINDS:  # what is loaded and reserved once belongs to the baseline
            run_case(corpus, kind, 0, 0)
        resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + MEMORY, resource.RLIM_INFINITY))
        print("ready", flush=True)
        for line in sys.stdin:
            kind, number, seed = line.split()
            print(json.dumps(run_case(corpus, kind, int(number), int(seed))), flush=True)


# The process that counts.


class Worker:
    """A process that reads case after case; started anew when it hangs or dies."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def ask(self, kind: str, number: int, seed: int, seconds: float) -> dict[str, Any]:
        """What happened in a case."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, __file__, "--work"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert self._process.stdout is not None
            if self._process.stdout.readline() != "ready\n":
                raise RuntimeError("the reading process does not start: run this script with --work to see why")
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        hung = threading.Event()
        timer = threading.Timer(seconds, lambda: (hung.set(), process.kill()))
        timer.start()
        with suppress(BrokenPipeError):  # it may have died, or been ended, before
            print(kind, number, seed, file=process.stdin, flush=True)
        answer = process.stdout.readline()
        timer.cancel()
        if answer:
            return dict(json.loads(answer))
        code = process.wait()
        self._stop()
        outcome = "hang" if hung.is_set() else "crash"
        return {"outcome": outcome, "message": f"exit status {code}", "peak": 0, "seconds": seconds}

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            with suppress(BrokenPipeError):
                self._process.communicate()
            self._process = None


def fuzz(
    cases: int, seed: int = 0, kinds: tuple[str, ...] = KINDS, first: int = 1, seconds: float = SECONDS
) -> dict[str, Any]:
    """Run cases, the kinds in turn; returns counts by kind and outcome, peaks, and all cases that are not fine."""
    counts = {kind: Counter[str]() for kind in kinds}
    peaks, slowest, bad = dict.fromkeys(kinds, 0), dict.fromkeys(kinds, 0.0), []
    with Worker() as worker:
        for i in range(cases):
            kind, number = kinds[i % len(kinds)], first + i // len(kinds)
            result = worker.ask(kind, number, seed, seconds)
            counts[kind][result["outcome"]] += 1
            peaks[kind] = max(peaks[kind], result["peak"])
            slowest[kind] = max(slowest[kind], result["seconds"])
            if result["outcome"] not in FINE:
                bad.append({"kind": kind, "case": number, "seed": seed} | result)
    rows = {k: {o: counts[k][o] for o in OUTCOMES} | {"peak": peaks[k], "slowest": slowest[k]} for k in kinds}
    return {"cases": cases, "seed": seed, "kinds": rows, "bad": bad}


def main() -> int:
    """Run, print a table, and say whether all is fine."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, metavar="KIND")
    parser.add_argument("--case", type=int, help="run this case alone")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        work()
        return 0
    kinds = tuple(asked.only)
    found = fuzz(len(kinds) if asked.case else asked.cases, asked.seed, kinds, asked.case or 1)
    print(f"{'':12}" + "".join(f"{name:>10}" for name in OUTCOMES) + "   peak, MiB  slowest, s")
    for kind, row in found["kinds"].items():
        numbers = "".join(f"{row[name]:>10,}" for name in OUTCOMES)
        print(f"{kind:12}{numbers}{row['peak'] / 2**20:>12,.0f}{row['slowest']:>12.2f}")
    totals = {name: sum(row[name] for row in found["kinds"].values()) for name in OUTCOMES}
    print(f"{'all':12}" + "".join(f"{totals[name]:>10,}" for name in OUTCOMES))
    for case in found["bad"]:
        print(
            f"{case['outcome']}: --only {case['kind']} --case {case['case']} --seed {case['seed']}: {case['message']}"
        )
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if found["bad"] else 0


if __name__ == "__main__":
    sys.exit(main())
