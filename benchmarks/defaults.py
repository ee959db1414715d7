"""Which recipe should be the default for patches of one's own: candidates × networks × splits × labels × seeds.

    python benchmarks/defaults.py --data FOLDER --mobilenet FILE --lite FILE [--lists FOLDER] --out GRID \
        [--budgets 500 2000 all] [--candidates NAME...] [--networks NAME...] [--splits NAME...] [--seeds 0 1 2]

FOLDER holds one folder per class (EuroSAT's `2750`); the files are ImageNet's weights for mobilenetv2_100 and
tf_efficientnet_lite0. `--lists` is the folder of a published split by place, `train.txt`, `val.txt` and `test.txt`;
without it there is only the random split. Of the validation and test patches `--val` and `--test` are drawn, with one
seed for all, so that a cell takes a minute and not ten; all candidates have the same.

Each candidate is a `landsift compare` of its own, in GRID/NETWORK-SPLIT-CANDIDATE-BUDGET: what is finished is not
trained again, so that the same command goes on where it was stopped, and with more candidates trains only those. The
choice is by validation; the test is shown beside it.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import common
import landsift
from landsift.runs import COMPARISON, Comparison
from landsift.training.strategies import STRATEGIES

ALL = "all"
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
NETWORKS: dict[str, dict[str, Any]] = {
    "mobilenet": {"backbone": "mobilenetv2_100", "backbone_args": {"pad_type": "same"}, "normalization": HALF},
    "lite": {"backbone": "tf_efficientnet_lite0", "normalization": HALF},
}
CASE_STUDY: dict[str, Any] = {
    "weight_decay": 0.01,
    "gradient_clip": 1.0,
    "label_smoothing": 0.0,
    "augment": {"color_jitter": [0.0, 0.0, 0.0, 0.0]},
}
"""Settings of a comparison, with a linear head."""
MIXING: dict[str, Any] = CASE_STUDY | {"augment": CASE_STUDY["augment"] | {"mixup": 0.2, "cutmix": 0.5}}
"""With mixup and CutMix as in configs/best.yaml."""
TUTORIAL: dict[str, Any] = {
    "weight_decay": 1e-4,
    "gradient_clip": None,
    "label_smoothing": 0.1,
    "augment": {"color_jitter": [0.2, 0.2, 0.2, 0.1]},
}
LINEAR: dict[str, Any] = {"hidden": None, "dropout": 0.0}
HIDDEN: dict[str, Any] = {"hidden": 256, "dropout": 0.3}


def everything(rate: float, **settings: object) -> list[dict[str, Any]]:
    """15 epochs of the whole network at one rate."""
    phase = {"name": "everything", "epochs": 15, "blocks": "all", "lr_head": rate, "lr_backbone": rate}
    return [phase | settings]


def decaying(epochs: int) -> list[dict[str, Any]]:
    """`layer_decay`, longer."""
    [phase] = STRATEGIES["layer_decay"]
    return [asdict(replace(phase, epochs=epochs))]


def unfreezing(rate: float) -> list[dict[str, Any]]:
    """3 epochs of the head, then of one more block each."""
    head = {"name": "head", "epochs": 3, "lr_head": 1e-3, "schedule": "run"}
    blocks = {"epochs": 3, "lr_head": rate, "lr_backbone": rate, "schedule": "run", "batch_norm": "eval"}
    return [
        head,
        *({"name": f"last {n}"} | blocks | {"blocks": n} for n in (1, 2, 4)),
        {"name": "all"} | blocks | {"blocks": ALL},
    ]


Candidate = tuple[str | list[dict[str, Any]], dict[str, Any], dict[str, Any]]
CANDIDATES: dict[str, Candidate] = {
    "tutorial": ("two_phase", TUTORIAL, HIDDEN),
    "two_phase": ("two_phase", CASE_STUDY, LINEAR),
    "layer_decay": ("layer_decay", CASE_STUDY, LINEAR),
    "layer_decay-jitter": ("layer_decay", CASE_STUDY | {"augment": TUTORIAL["augment"]}, LINEAR),
    "layer_decay-30": (decaying(30), CASE_STUDY, LINEAR),
    "layer_decay-mixing": ("layer_decay", MIXING, LINEAR),
    "layer_decay-30-mixing": (decaying(30), MIXING, LINEAR),
    "layer_decay-ema": ("layer_decay", CASE_STUDY | {"ema": 0.998}, LINEAR),
    "layer_decay-hidden": ("layer_decay", TUTORIAL | {"augment": CASE_STUDY["augment"]}, HIDDEN),
    "everything-5e-4": (everything(5e-4, batch_norm="eval"), CASE_STUDY, LINEAR),
    "everything-2e-3-ema": (
        everything(2e-3, warmup_steps=500),
        CASE_STUDY | {"ema": 0.998, "label_smoothing": 0.1, "gradient_clip": None},
        LINEAR,
    ),
    "unfreezing-5e-4": (unfreezing(5e-4), CASE_STUDY, LINEAR),
}


def drawn_lists(folder: Path, lists: Path | None, val: int, test: int, out: Path) -> dict[str, dict[str, str]]:
    """A file for each part of each split; existing ones are taken as they are."""
    names = sorted(file.name for file in folder.glob("*/*") if file.is_file())
    random.Random(0).shuffle(names)
    splits = {"random": {"test": names[:test], "val": names[test : test + val], "train": names[test + val :]}}
    if lists is not None:
        given = {part: (lists / f"{part}.txt").read_text().split() for part in ("train", "val", "test")}
        for part, count in (("val", val), ("test", test)):
            given[part] = random.Random(0).sample(given[part], min(count, len(given[part])))
        splits["place"] = given
        known = {name for part in given.values() for name in part}
        print(f"by place: {', '.join(f'{len(v):,} {k}' for k, v in given.items())}; {len(known):,} patches are listed")
    found: dict[str, dict[str, str]] = {}
    for split, parts in splits.items():
        for part, entries in parts.items():
            file = out / "lists" / split / f"{part}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.is_file():
                file.write_text("\n".join(entries) + "\n")
            found.setdefault(split, {})[part] = str(file.absolute())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--mobilenet", type=Path, metavar="FILE")
    parser.add_argument("--lite", type=Path, metavar="FILE")
    parser.add_argument("--lists", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="GRID")
    parser.add_argument("--budgets", nargs="+", default=["500", "2000"], metavar="N")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--candidates", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--splits", nargs="+", choices=("random", "place"), default=["random", "place"])
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--val", type=int, default=600, help="patches for validation")
    parser.add_argument("--test", type=int, default=2400, help="patches for the test")
    parser.add_argument("--table", action="store_true", help="train nothing, print what is finished")
    asked = parser.parse_args()
    lists = drawn_lists(asked.data, asked.lists, asked.val, asked.test, asked.out)
    for budget in asked.budgets:
        for split in [name for name in asked.splits if name in lists]:
            for network in [name for name in asked.networks if getattr(asked, name) is not None]:
                for name in asked.candidates:
                    folder = asked.out / f"{network}-{split}-{name}-{budget}-{asked.image_size}"
                    if not asked.table and not finished(folder, asked.seeds):
                        train(folder, name, network, lists[split], budget, asked)
                show(asked, network, split, budget)


def finished(folder: Path, seeds: list[int]) -> bool:
    """Whether all seeds are trained."""
    return (folder / COMPARISON).is_file() and {*seeds} <= {cell["seed"] for cell in Comparison(folder).data["cells"]}


def train(folder: Path, name: str, network: str, lists: dict[str, str], budget: str, asked: argparse.Namespace) -> None:
    """Compare one candidate with itself over the seeds."""
    strategy, training, head = CANDIDATES[name]
    config: dict[str, Any] = {
        "data": {"split": {"lists": lists}},
        "model": NETWORKS[network] | {"weights": str(getattr(asked, network)), "head": head},
        "training": training | {"image_size": asked.image_size},
    }
    if not isinstance(strategy, str):
        config["strategies"] = {"own": strategy}
        strategy = "own"
    landsift.compare(
        config,
        folder,
        data=str(asked.data),
        strategies=[strategy],
        budgets=[None if budget == ALL else int(budget)],
        seeds=asked.seeds,
        workers=1,
    )


def show(asked: argparse.Namespace, network: str, split: str, budget: str) -> None:
    """A table of what is finished, best on validation first."""
    rows = []
    for name in CANDIDATES:
        folder = asked.out / f"{network}-{split}-{name}-{budget}-{asked.image_size}"
        if not (folder / COMPARISON).is_file():
            continue
        [result] = Comparison(folder).data["results"]
        low, high = result["accuracy_interval"]
        test = f"{100 * result['accuracy']:.1f} ({100 * low:.1f} to {100 * high:.1f})"
        seconds = common.number(result["train_seconds"], 0)
        rows.append((result["validation"]["accuracy"], name, len(result["accuracy_per_seed"]), test, seconds))
    print(f"\n{network}, {split}, {budget} labels, {asked.image_size} pixels")
    shown = [(name, seeds, f"{100 * val:.1f}", test, s) for val, name, seeds, test, s in sorted(rows, reverse=True)]
    print(common.table(("candidate", "seeds", "validation (%)", "test (%)", "s of training"), shown), flush=True)


if __name__ == "__main__":
    main()
