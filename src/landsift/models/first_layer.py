"""The first layer of a network, which takes an image's bands: how many it has, and what it begins with."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from landsift.config import ModelConfig
from landsift.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

RGB = 3
"""Bands of the images that published weights were trained on, and that a network takes unless it is told otherwise."""

logger = logging.getLogger("landsift")


def for_bands(config: ModelConfig, bands: int) -> ModelConfig:
    """The network's settings for images of so many bands: timm's `in_chans`, which is left alone where it is set."""
    if bands == RGB or "in_chans" in config.backbone_args:
        return config
    return config.model_copy(update={"backbone_args": dict(config.backbone_args) | {"in_chans": bands}})


def input_bands(config: ModelConfig, network: nn.Module, otherwise: int = RGB) -> int:
    """How many bands the images have that a network takes, as far as it or its settings say."""
    return int(config.backbone_args.get("in_chans", getattr(network, "in_chans", otherwise)))


def adapted(network: nn.Module, of_rgb: nn.Module, bands: int) -> list[str]:
    """Fill a network for images of `bands` bands with the weights of the same network for RGB; names what differed.

    Everything but the first layer is taken as it is. The first layer gets what timm gives it (`adapt_input_conv`): the
    kernels of red, green and blue one after the other, as often as the bands need, divided by how much more that adds
    up to. The kernels stand for other bands than they were trained on: which ones to give to which band, and what to
    the others, is to be chosen by measurement, here.

    Args:
        network: takes float [B, C, S, S].
        of_rgb: takes float [B, 3, S, S], and has the weights.
        bands: C.

    Raises:
        ModelError: the two differ in more than timm names as the first layer.
    """
    from timm.models import adapt_input_conv

    named: Any = getattr(network, "pretrained_cfg", {}).get("first_conv") or ()
    first = [f"{name}.weight" for name in ([named] if isinstance(named, str) else named)]
    wanted, filled = network.state_dict(), dict(of_rgb.state_dict())
    changed = [name for name, value in filled.items() if name in wanted and wanted[name].shape != value.shape]
    if set(changed) - set(first) or set(wanted) != set(filled):
        raise ModelError(
            f"weights of RGB cannot begin this network of {bands} bands: timm does not name the layers that differ",
            "set model.weights=none, or give weights that were trained on these bands",
        )
    for name in changed:
        weight: Tensor = adapt_input_conv(bands, filled[name])
        filled[name] = weight.to(wanted[name].dtype)
    network.load_state_dict(filled)
    return changed


def say_adapted(weights: str, bands: int) -> None:
    """Tell that published weights begin a network of other bands."""
    logger.warning(
        "the weights %s are of RGB: the first layer takes %d bands and begins with the kernels of red, green and blue "
        "in turn (timm's adaptation)",
        weights,
        bands,
    )
