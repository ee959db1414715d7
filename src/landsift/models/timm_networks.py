"""timm's networks, unfilled: what timm is given to make them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from landsift.config import ModelConfig

if TYPE_CHECKING:
    from torch import nn

AS_PRETRAINED: dict[str, dict[str, Any]] = {"fbnetc_100": {"bn_eps": 1e-3}}
"""Arguments that timm itself gives a network where it loads pretrained weights, and else not; with random weights, or
when a saved model is rebuilt, it would be another network."""


def network_arguments(config: ModelConfig, image_size: int) -> dict[str, Any]:
    """What timm is given to make the network: `backbone_args`, and the input size where the network must know it."""
    arguments = AS_PRETRAINED.get(config.backbone.split(".")[0], {}) | dict(config.backbone_args)
    if "img_size" not in arguments and has_fixed_input(config.backbone):
        arguments["img_size"] = image_size
    return arguments


def has_fixed_input(name: str) -> bool:
    """Whether timm marks the network's input size as fixed, so that it must be told ours (ViT, Swin)."""
    import timm

    cfg = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return bool(cfg is not None and cfg.fixed_input_size)


def unfilled(config: ModelConfig, image_size: int, **arguments: Any) -> nn.Module | None:
    """The network without memory for its weights, on torch's meta device; None where it cannot be made there.

    Args:
        config: names the backbone and its arguments.
        image_size: height and width of the input in pixels.
        arguments: further ones of `timm.create_model`.
    """
    import timm
    import torch

    arguments = {"num_classes": 0} | network_arguments(config, image_size) | arguments
    try:
        with torch.device("meta"):
            network: nn.Module = timm.create_model(config.backbone, **arguments)
    except Exception:  # noqa: BLE001 (create_backbone says what is wrong with it)
        return None
    return network
