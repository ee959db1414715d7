"""What a training computes: passes over patches, times what a pass costs in floating-point operations.

Wall times of trainings that ran beside other work, or beside each other, say little of what a strategy costs; what it
computes is the same on every machine. A pass costs the forward pass of the whole network and, for the layers from the
first one that trains on, twice their forward pass for the gradients of their inputs and of their weights (the usual
rule; Kaplan et al. 2020). Where the features of a frozen backbone are kept, each patch and view passes through it once.
Validation and test are left out: their patches are the same for all rows, and a choice of whoever compares. So are
optimizer, augmentation and averages, which are cheap beside them.

All of it follows from what a finished training says of itself: its configuration, manifest and epochs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from landsift.models.first_layer import RGB, for_bands, input_bands

if TYPE_CHECKING:
    from torch import nn

    from landsift.config import RunConfig

BACKWARD = 2.0
"""Cost of a layer's backward pass, in forward passes."""


def work_of(config: RunConfig, manifest: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> float:
    """Floating-point operations of a training, without validation and test.

    Args:
        config: its complete configuration.
        manifest: its manifest.json.
        metrics: its metrics.json, of which the epochs of each phase are counted.

    Raises:
        ModelError: the network cannot be made here.
    """
    patches, classes = manifest["data"]["split"]["train"], len(manifest["data"]["classes"])
    model = for_bands(config.model, (manifest["data"].get("patch_shape") or [RGB])[-1])
    total = 0.0
    for number, phase in enumerate(manifest["phases"], start=1):
        epochs = sum(row["phase"] == number for row in metrics)
        size = phase["image_size"] or config.training.image_size
        cost = _cost(model.model_dump_json(exclude={"weights"}), size, phase["blocks"], classes)
        head = (1 + BACKWARD) * cost.head
        if phase["feature_seconds"] is None:
            total += epochs * patches * (cost.backbone + BACKWARD * cost.trained + head)
        elif epochs:
            total += patches * (_passes(config, epochs) * cost.backbone + epochs * head)
    return total


def train_seconds(config: RunConfig, manifest: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> float:
    """Wall seconds of a training without its validations.

    A phase that keeps features makes those of training and validation patches in one go; its seconds are divided by
    the passes over either.
    """
    split = manifest["data"]["split"]
    seconds = sum(row["seconds"] - row["val_seconds"] for row in metrics)
    for number, phase in enumerate(manifest["phases"], start=1):
        epochs = sum(row["phase"] == number for row in metrics)
        of_train = split["train"] * _passes(config, epochs)
        seconds -= (phase["feature_seconds"] or 0.0) * split["val"] / (of_train + split["val"])
    return round(max(0.0, float(seconds)), 3)


def _passes(config: RunConfig, epochs: int) -> int:
    """How many times the backbone runs on a training patch whose features are kept, in a phase of so many epochs."""
    return config.training.kept_views * (1 + config.training.drawing(max(0, epochs - 1)))


@dataclass(frozen=True)
class _Cost:
    """Operations per patch of the forward pass: backbone, its part from the first layer that trains on, and head."""

    backbone: float
    trained: float
    head: float


@lru_cache(maxsize=256)
def _cost(model_json: str, image_size: int, blocks: int | str, classes: int) -> _Cost:
    """Cost of a pass; `model_json` is the model section without its weights."""
    from landsift.config import ModelConfig

    model = ModelConfig.model_validate_json(model_json)
    weightless, features = _weightless(model_json, image_size)
    try:
        backbone, trained = _operations(weightless, image_size, blocks, input_bands(model, weightless))
    except Exception:  # noqa: BLE001 (what a network computes may depend on values, which this one has none of)
        network = _network(model_json, image_size)[0]
        backbone, trained = _operations(network, image_size, blocks, input_bands(model, network))
    widths = [features, *([model.head.hidden] if model.head.hidden else []), classes]
    return _Cost(backbone, trained, head=float(sum(2 * into * out for into, out in pairwise(widths))))


def _operations(network: nn.Module, image_size: int, blocks: int | str, bands: int) -> tuple[float, float]:
    """Operations of the forward pass of one image, and of its part from the first layer that trains on."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from landsift.models.blocks import backbone_blocks

    names = backbone_blocks(network)
    count = len(names) if blocks == "all" else min(int(blocks), len(names))
    trained = {name for block in names[len(names) - count :] for name in block}
    counter, before, hooks = FlopCounterMode(display=False), [], []

    def reached(*_: object) -> None:
        before.append(counter.get_total_flops())

    for name, module in network.named_modules():
        own = {f"{name}.{parameter}".lstrip(".") for parameter, _ in module.named_parameters(recurse=False)}
        if own & trained:
            hooks.append(module.register_forward_pre_hook(reached))
    image = torch.zeros(1, bands, image_size, image_size)
    try:
        with torch.no_grad(), counter:
            network(image.to(next(network.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    forward = counter.get_total_flops()
    return float(forward), float(forward - min(before, default=0)) if trained else 0.0


@lru_cache(maxsize=8)
def _weightless(model_json: str, image_size: int) -> tuple[nn.Module, int]:
    """The backbone without memory for weights and images, and the width of its features."""
    network, features = _network(model_json, image_size)
    return network.to("meta"), features


def _network(model_json: str, image_size: int) -> tuple[nn.Module, int]:
    """The backbone with random weights, and the width of its features."""
    import torch

    from landsift.config import ModelConfig
    from landsift.models.backbone import create_backbone

    model = ModelConfig.model_validate_json(model_json).model_copy(update={"weights": "none"})
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
        backbone = create_backbone(model, image_size)
    return backbone.network.eval(), backbone.features
