"""The usual way: how fast and how good is two-phase fine-tuning in plain PyTorch, written as well as one would?

    python benchmarks/reference.py --data FOLDER --weights FILE [--image-size 224] [--epochs 7 10] [--json FILE]

FOLDER holds `train`, `val` and `test`, each with one folder per class. FILE holds the ImageNet weights of timm's
mobilenetv2_100 with TensorFlow's padding. torchvision decodes, resizes and augments every patch in every epoch in the
workers of a DataLoader, jittering colours at the network's size, as the tutorial does; the network is timm's in its
default memory layout. The recipe is landsift's `two_phase`, with what a careful person does: a frozen backbone runs
without gradients, the warm-up takes a tenth of its phase, weight decay spares biases and norms, the best epoch is the
one tested. The batch norms of the frozen backbone follow the patches, as the tutorial leaves them: they carry the
network from photographs to satellite images before it is fine-tuned, and at rest they end it several points lower.
Of landsift, this uses the description of the machine alone.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import common

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.utils.data import DataLoader

BACKBONE, BACKBONE_ARGS = "mobilenetv2_100", {"pad_type": "same"}
MEAN = STD = (0.5, 0.5, 0.5)
WEIGHT_DECAY, LABEL_SMOOTHING = 1e-4, 0.1
LR_HEAD_1, LR_HEAD_2, LR_BACKBONE, LR_MIN = 2e-3, 1e-4, 1e-5, 1e-6
WARMUP_SHARE = 0.1
PHASES = ("head", "fine-tune")


@dataclass(frozen=True)
class Recipe:
    """What can be chosen: input size in pixels, epochs of the two phases, batch size, workers and the rest."""

    image_size: int = 224
    epochs: tuple[int, int] = (7, 10)
    batch_size: int = 64
    workers: int = 2
    precision: str = "32"
    seed: int = 0


def train(folder: Path, weights: Path, recipe: Recipe) -> dict[str, Any]:
    """Train through both phases, keep the best epoch and test it; seconds of every epoch and its validation."""
    import torch
    from torch.nn import functional as F

    torch.manual_seed(recipe.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    start = time.perf_counter()
    loaders = {part: _loader(folder / part, part == "train", recipe, device) for part in ("train", "val", "test")}
    images = {part: len(loader.dataset) for part, loader in loaders.items()}
    backbone, head = _network(weights, len(loaders["train"].dataset.classes))
    model = torch.nn.Sequential(backbone, head).to(device)

    rows: list[dict[str, Any]] = []
    best: dict[str, Any] = {"val_acc": -1.0}
    for phase, epochs in enumerate(recipe.epochs, start=1):
        if not epochs:
            continue
        backbone.requires_grad_(phase == 2)
        optimizer, schedule = _optimizer(backbone, head, phase, epochs * len(loaders["train"]))
        for _ in range(epochs):
            began = time.perf_counter()
            model.train()
            losses = []
            for pixels, labels in loaders["train"]:
                pixels, labels = pixels.to(device, non_blocking=True), labels.to(device, non_blocking=True)
                with _autocast(device, recipe):
                    with nullcontext() if phase == 2 else torch.no_grad():
                        features = backbone(pixels)
                    loss = F.cross_entropy(head(features), labels, label_smoothing=LABEL_SMOOTHING)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.detach())
            train_loss = float(torch.stack(losses).mean())
            trained = time.perf_counter()
            val_acc = _accuracy(model, loaders["val"], device, recipe)
            row = {
                "epoch": len(rows),
                "phase_name": PHASES[phase - 1],
                "train_loss": round(train_loss, 4),
                "val_acc": round(val_acc, 4),
                "train_seconds": round(trained - began, 3),
                "val_seconds": round(time.perf_counter() - trained, 3),
            }
            rows.append(row)
            print("  ".join(f"{key} {value}" for key, value in row.items()), file=sys.stderr, flush=True)
            if val_acc > best["val_acc"]:
                best = {"epoch": row["epoch"], "val_acc": val_acc, "state": copy.deepcopy(model.state_dict())}
    trained_seconds = time.perf_counter() - start
    model.load_state_dict(best.pop("state"))
    test_acc = _accuracy(model, loaders["test"], device, recipe)
    return {
        "recipe": vars(recipe) | {"epochs": list(recipe.epochs)},
        "images": images,
        "epochs": rows,
        "best": best,
        "test_acc": test_acc,
        "train_seconds": round(trained_seconds, 2),
        "total_seconds": round(time.perf_counter() - start, 2),
    }


def _loader(folder: Path, training: bool, recipe: Recipe, device: torch.device) -> DataLoader[Any]:
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    augmentation = [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(), v2.ColorJitter(0.2, 0.2, 0.2, 0.1)]
    steps = [
        v2.Resize((recipe.image_size, recipe.image_size)),
        *(augmentation if training else []),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ]
    patches = ImageFolder(str(folder), transform=v2.Compose(steps))
    return DataLoader(
        patches,
        batch_size=recipe.batch_size,
        shuffle=training,
        num_workers=recipe.workers,
        persistent_workers=recipe.workers > 0,
        pin_memory=device.type == "cuda",
        drop_last=training and len(patches) % recipe.batch_size == 1,  # batch norm cannot train on one patch
    )


def _network(weights: Path, classes: int) -> tuple[nn.Module, nn.Module]:
    """The pretrained backbone, pooled to features, and the tutorial's head."""
    common.import_timm()
    import timm
    from safetensors.torch import load_file
    from torch import nn

    backbone = timm.create_model(BACKBONE, num_classes=0, **BACKBONE_ARGS)
    backbone.load_state_dict({k: v for k, v in load_file(weights).items() if not k.startswith("classifier.")})
    head = nn.Sequential(
        nn.Dropout(0.3),
        nn.Linear(backbone.num_features, 256),
        nn.BatchNorm1d(256),
        nn.ReLU(inplace=True),
        nn.Dropout(0.15),
        nn.Linear(256, classes),
    )
    return backbone, head


def _optimizer(
    backbone: nn.Module, head: nn.Module, phase: int, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW for what trains in the phase, and its cosine: phase 1 warms up first, phase 2 ends at 1e-6."""
    import torch

    def groups(module: nn.Module, rate: float) -> list[dict[str, Any]]:
        parameters = list(module.parameters())
        decayed, spared = [p for p in parameters if p.ndim >= 2], [p for p in parameters if p.ndim < 2]
        return [
            {"params": decayed, "lr": rate, "weight_decay": WEIGHT_DECAY},
            {"params": spared, "lr": rate, "weight_decay": 0.0},
        ]

    if phase == 2:
        optimizer = torch.optim.AdamW(groups(head, LR_HEAD_2) + groups(backbone, LR_BACKBONE))
        return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps, eta_min=LR_MIN)
    warmup = int(steps * WARMUP_SHARE)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    optimizer = torch.optim.AdamW(groups(head, LR_HEAD_1))
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _accuracy(model: nn.Module, loader: DataLoader[Any], device: torch.device, recipe: Recipe) -> float:
    import torch

    model.eval()
    right = torch.zeros((), dtype=torch.int64, device=device)
    with torch.inference_mode(), _autocast(device, recipe):
        for pixels, labels in loader:
            predicted = model(pixels.to(device, non_blocking=True)).argmax(dim=1)
            right += (predicted == labels.to(device, non_blocking=True)).sum()
    return int(right) / len(loader.dataset)


def _autocast(device: torch.device, recipe: Recipe) -> Any:
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")


def stage_seconds(result: dict[str, Any]) -> dict[str, float | None]:
    """Seconds of a steady epoch: training in each phase, and validation."""
    rows = result["epochs"]
    return {
        "phase_1_epoch": common.steady([r["train_seconds"] for r in rows if r["phase_name"] == PHASES[0]]),
        "phase_2_epoch": common.steady([r["train_seconds"] for r in rows if r["phase_name"] == PHASES[1]]),
        "validation": common.steady([r["val_seconds"] for r in rows]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, nargs=2, default=(7, 10), metavar=("PHASE_1", "PHASE_2"))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, help="of each loader; the number of cores if not given")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    recipe = Recipe(
        image_size=arguments.image_size,
        epochs=tuple(arguments.epochs),
        batch_size=arguments.batch_size,
        workers=arguments.workers if arguments.workers is not None else len(os.sched_getaffinity(0)),
        precision=arguments.precision,
        seed=arguments.seed,
    )
    result = train(arguments.data, arguments.weights, recipe)
    seconds = result["seconds"] = stage_seconds(result)
    images = {"phase_1_epoch": "train", "phase_2_epoch": "train", "validation": "val"}
    rates = {stage: result["images"][images[stage]] / s for stage, s in seconds.items() if s}
    result["images_per_second"] = {stage: round(rate, 1) for stage, rate in rates.items()}
    rows = [(s.replace("_", " "), common.number(seconds[s], 2), common.number(rates.get(s))) for s in seconds]
    print(common.table(("stage", "seconds", "images/s"), rows))
    print(f"test accuracy {100 * result['test_acc']:.2f} % on {result['images']['test']:,} patches")
    print(f"{result['total_seconds']:,.1f} s in all")
    common.write_json(arguments.json, result)


if __name__ == "__main__":
    main()
