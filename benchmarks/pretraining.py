"""How well the features of different weights tell labelled patches apart, and what a step of pretraining costs.

    python benchmarks/pretraining.py features --data SOURCE --weights NAME=BACKBONE:WEIGHTS ... [--labels 500 1000]
        [--image-size 64] [--set KEY=VALUE ...] [--keep FOLDER] [--json FILE]
    python benchmarks/pretraining.py time --backbone BACKBONE [--method dino] [--set KEY=VALUE ...] [--json FILE]

`features`: WEIGHTS are a value of `model.weights`: none (random), imagenet, a file, or a folder of `landsift pretrain`.
For each weights the backbone, which does not train, is run once over train, val and test of `data.split`; statistics of
pixels stand beside it. Then the test patches are classified by their 5 nearest training patches (kNN-5, cosine), and by
a linear layer (logistic regression) whose regularisation the validation patches choose. The test patches choose
nothing. Intervals are Wilson's, 95 %. With --keep, features are kept in FOLDER and not computed again.

`time`: medians over steps on patches of random numbers: views, teacher, student, loss, and all else.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import common

PIXELS = "pixel statistics"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    features = commands.add_parser("features")
    features.add_argument("--data", required=True)
    features.add_argument("--weights", nargs="+", required=True, metavar="NAME=BACKBONE:WEIGHTS")
    features.add_argument("--labels", nargs="*", type=int, default=[], help="budgets beside all training patches")
    features.add_argument("--image-size", type=int, default=64)
    features.add_argument("--keep", type=Path)
    timing = commands.add_parser("time")
    timing.add_argument("--backbone", default="mobilenetv2_100")
    timing.add_argument("--method", default="dino")
    timing.add_argument("--batch-size", type=int, default=128)
    timing.add_argument("--patch-size", type=int, default=64)
    timing.add_argument("--steps", type=int, default=8)
    for one in (features, timing):
        one.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", dest="settings")
        one.add_argument("--json", type=Path)
    options = parser.parse_args()
    common.import_timm()
    {"features": compare_features, "time": time_steps}[options.command](options)


def compare_features(options: argparse.Namespace) -> None:
    """Print and write the table of weights."""
    from landsift.config import RunConfig
    from landsift.data.splits import make_split
    from landsift.evaluation.intervals import share_interval
    from landsift.evaluation.probes import knn_predict, linear_probe
    from landsift.pipeline.cache.open_store import opened

    base = RunConfig.load(None, [f"training.image_size={options.image_size}", *options.settings])
    base = base.replace(f"data.source={options.data}")
    rows: list[dict[str, Any]] = []
    with opened(base.data) as store, tempfile.TemporaryDirectory() as scratch:
        keep = options.keep or Path(scratch)
        keep.mkdir(parents=True, exist_ok=True)
        split = make_split(store, base.data.split)
        parts = {"train": split.train, "val": split.val, "test": split.test}
        for name, backbone, weights in [(PIXELS, "", ""), *map(_named, options.weights)]:
            found, seconds = features_of(base, store, parts, backbone, weights, keep)
            for budget in [*options.labels, None]:
                train = make_split(store, base.data.split, budget).train
                of = np.searchsorted(split.train, train)
                right = store.labels[split.test]
                near = knn_predict(found["train"][of], store.labels[train], found["test"])
                probed, chosen = linear_probe(
                    found["train"][of], store.labels[train], found["val"], store.labels[split.val], found["test"]
                )
                row: dict[str, Any] = {"weights": name, "backbone": backbone, "labels": len(train), "seconds": seconds}
                for what, answers in (("knn", near), ("linear", probed)):
                    count = int((answers == right).sum())
                    row[what] = {"accuracy": count / len(right), "interval": share_interval(count, len(right))}
                rows.append(row | {"chosen": chosen, "test_patches": len(right)})
                print(_line(rows[-1]), flush=True)
    headers = ["weights", "backbone", "labels", "kNN-5 on test", "linear probe on test", "features, s"]
    print(common.table(headers, [_cells(row) for row in rows]))
    common.write_json(options.json, {"rows": rows, "image_size": options.image_size, "data": options.data})


def features_of(
    base: Any, store: Any, parts: dict[str, Any], backbone: str, weights: str, keep: Path
) -> tuple[dict[str, Any], float]:
    """Features of each part by a backbone's weights, or statistics of pixels; and the seconds that they took."""
    from landsift.config import digest
    from landsift.data.patch_reader import PatchReader
    from landsift.evaluation.probes import pixel_statistics
    from landsift.models.fingerprint import weights_fingerprint
    from landsift.models.preprocess import Preprocess
    from landsift.pretraining.features import features_of as run
    from landsift.training.fit import build_backbone

    config = base.replace(f"model.backbone={backbone}", f"model.weights={weights}") if backbone else base
    split = [digest(rows.tolist()) for rows in parts.values()]
    of = weights_fingerprint(config.model) if backbone else PIXELS
    model = config.model.model_dump(mode="json", exclude={"weights"})
    key = digest([store.fingerprint, split, of, model, config.training.image_size, config.seed])
    file = keep / f"{key[:32]}.npz"
    if file.is_file():
        with np.load(file) as kept:
            return {name: kept[name] for name in parts}, float(kept["seconds"])
    start = time.perf_counter()
    read = PatchReader(store.images)
    if backbone:
        import torch

        torch.manual_seed(config.seed)
        made, normal = build_backbone(config, store, parts["train"])
        size = config.training.image_size
        device = "cuda" if torch.cuda.is_available() else "cpu"
        network = made.network.to(device, memory_format=torch.channels_last).eval()
        prepare = Preprocess(normal.mean, normal.std, size, bands=store.bands).to(device)
        found = {name: run(network, prepare, read, rows, size) for name, rows in parts.items()}
    else:
        found = {name: pixel_statistics(read(rows)) for name, rows in parts.items()}
    seconds = round(time.perf_counter() - start, 1)
    np.savez(file, seconds=seconds, **found)
    return found, seconds


def time_steps(options: argparse.Namespace) -> None:
    """Print and write what the parts of a step take."""
    import torch

    from landsift.bands import BandSpec
    from landsift.config import Normalization, RunConfig
    from landsift.data.batches import Batch
    from landsift.models.backbone import create_backbone
    from landsift.pretraining import methods
    from landsift.pretraining.module import PretrainingModule, Projected
    from landsift.pretraining.network import for_views, patch_side

    given = [f"model.backbone={options.backbone}", "model.weights=none", f"pretraining.method={options.method}"]
    config = RunConfig.load(None, [*given, f"pretraining.batch_size={options.batch_size}", *options.settings])
    config = for_views(config.model_copy(update={"pretraining": methods.complete(config.pretraining)}))
    own = config.pretraining
    backbone = create_backbone(config.model, own.image_size)
    head = methods.METHODS[options.method].head(backbone.features, own.head)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = PretrainingModule(
        Projected(backbone.network, head),
        methods.phases_of(own),
        methods.as_training(config).training,
        own,
        normalization=Normalization(mean=(0.4,) * 3, std=(0.2,) * 3),
        seed=0,
        bands=BandSpec.pictures(),
        multiple=patch_side(config),
    ).to(device, memory_format=torch.channels_last)
    module.set_modes()
    count, side = options.batch_size, options.patch_size
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    batch = Batch(torch.from_numpy(images), torch.full((count,), -1), torch.arange(count)).to(device)
    optimizer = torch.optim.AdamW(module.student.parameters(), lr=1e-4, fused=True)
    taken: dict[str, list[float]] = {}

    def part(name: str, work: Any) -> Any:
        start = time.perf_counter()
        result = work()
        if device == "cuda":
            torch.cuda.synchronize()
        taken.setdefault(name, []).append(1000 * (time.perf_counter() - start))
        return result

    def teach() -> list[Any]:
        return [] if module.teacher is None else [*module.teacher(views[:1]).split(count)]

    def change() -> None:
        optimizer.step()
        optimizer.zero_grad()
        if module.teacher is not None:
            module.teacher.update(module.student)

    for step in range(options.steps + 1):
        generator = torch.Generator().manual_seed(step)
        views = part("views", lambda: module.draw(batch, generator))  # noqa: B023
        wanted = part("teacher", teach)
        outputs = part("student, forward", lambda: [*module.student(views).split(count)])  # noqa: B023
        loss = part("loss", lambda: module.objective(outputs, wanted, 0.1))  # noqa: B023
        part("student, backward", loss.backward)
        part("optimizer, average", change)
    medians = {name: statistics.median(times[1:]) for name, times in taken.items()}
    whole = sum(medians.values())
    rows = [(name, common.number(value), f"{100 * value / whole:.1f} %") for name, value in medians.items()]
    print(common.table(["part of a step", "ms", "share"], [*rows, ("all", common.number(whole), "100 %")]))
    common.write_json(options.json, {"milliseconds": medians, "backbone": options.backbone, "method": options.method})


def _named(text: str) -> tuple[str, str, str]:
    name, _, rest = text.partition("=")
    backbone, _, weights = rest.partition(":")
    if not (name and backbone and weights):
        raise SystemExit(f"--weights {text}: NAME=BACKBONE:WEIGHTS is needed, such as random=resnet18:none")
    return name, backbone, weights


def _share(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{100 * found['accuracy']:.2f} % ({100 * low:.2f} to {100 * high:.2f})"


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["weights"], row["backbone"] or "–", f"{row['labels']:,}", _share(row["knn"]), _share(row["linear"]),
        common.number(row["seconds"]),
    ]  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    return f"{row['weights']}, {row['labels']:,} labels: kNN {_share(row['knn'])}, linear {_share(row['linear'])}"


if __name__ == "__main__":
    main()
