"""The first layer of a network, which takes an image's bands: how many it has, and what it begins with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from landsift.bands import RGB_NAMES
from landsift.config import FirstLayer, ModelConfig
from landsift.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

RGB = 3
"""Bands of the images that published weights were trained on, and that a network takes unless it is told otherwise."""

Positions = tuple[int | None, int | None, int | None]
"""Which bands, counted from 0, are red, green and blue."""
UNKNOWN: Positions = (None, None, None)
IN_ORDER: Positions = (0, 1, 2)

logger = logging.getLogger("landsift")


def for_bands(config: ModelConfig, bands: int) -> ModelConfig:
    """The network's settings for images of so many bands: timm's `in_chans`, which is left alone where it is set."""
    if bands == RGB or "in_chans" in config.backbone_args:
        return config
    return config.model_copy(update={"backbone_args": dict(config.backbone_args) | {"in_chans": bands}})


def input_bands(config: ModelConfig, network: nn.Module, otherwise: int = RGB) -> int:
    """How many bands the images have that a network takes, as far as it or its settings say."""
    return int(config.backbone_args.get("in_chans", getattr(network, "in_chans", otherwise)))


def adapted(
    network: nn.Module, of_rgb: nn.Module, bands: int, how: FirstLayer = "timm", rgb: Positions = UNKNOWN
) -> list[str]:
    """Fill a network with the weights of the same network for RGB, whatever bands it takes; names the layers adapted.

    Everything but the first layer is taken as it is. In the first layer the kernels of red, green and blue stay with
    these bands, and the others begin with

        zero   nothing: on images whose other bands are 0 the network answers as the one for RGB
        mean   the mean of the three kernels × 3 / C: the same, and the other bands count from the beginning
        timm   the three in turn, whatever the bands are, × 3 / C (timm's `adapt_input_conv`), also for red, green, blue

    Where no band is red, green or blue, all begin with the mean; three such bands take the three kernels in turn.

    Args:
        network: takes float [B, C, S, S].
        of_rgb: takes float [B, 3, S, S], and has the weights.
        bands: C.
        how: what the bands that are not red, green or blue begin with.
        rgb: which bands are red, green and blue.

    Raises:
        ModelError: the two differ in more than the number of bands that their first layers take.
    """
    named: Any = getattr(network, "pretrained_cfg", {}).get("first_conv") or ()
    wanted, filled = network.state_dict(), dict(of_rgb.state_dict())
    changed = [name for name, value in filled.items() if name in wanted and wanted[name].shape != value.shape]
    first = changed or [f"{name}.weight" for name in ([named] if isinstance(named, str) else named)]
    if not first:  # three bands in another order, and a network of one's own
        first = [name for name, value in filled.items() if value.ndim > 1 and value.shape[1] == RGB][:1]
    if set(wanted) != set(filled) or not first or not all(_takes(filled, wanted, name, bands) for name in first):
        raise ModelError(
            f"weights of RGB cannot begin this network of {bands} bands: more than the first convolution differs",
            "set model.weights=none, or give weights that were trained on these bands",
        )
    for name in first:
        filled[name] = _kernels(filled[name], bands, how, rgb).to(wanted[name].dtype)
    network.load_state_dict(filled)
    return first


def _takes(filled: Mapping[str, Tensor], wanted: Mapping[str, Tensor], name: str, bands: int) -> bool:
    """Whether a layer differs in nothing but taking `bands` bands for three."""
    if name not in filled or filled[name].ndim < 2 or filled[name].shape[1] != RGB:
        return False
    shape = filled[name].shape
    return bool(wanted[name].shape == (shape[0], bands, *shape[2:]))


def _kernels(weight: Tensor, bands: int, how: FirstLayer, rgb: Positions) -> Tensor:
    """Kernels [O, C, ...] of kernels of red, green and blue, [O, 3, ...]."""
    if how == "timm":
        from timm.models import adapt_input_conv

        adapted_by_timm: Tensor = adapt_input_conv(bands, weight)
        return adapted_by_timm
    if rgb == UNKNOWN and bands == RGB:
        return weight
    mean = weight.mean(dim=1, keepdim=True) * (RGB / bands)
    kernels = mean.repeat_interleave(bands, dim=1)
    if how == "zero" and rgb != UNKNOWN:
        kernels.zero_()
    for colour, band in enumerate(rgb):
        if band is not None:
            kernels[:, band] = weight[:, colour]
    return kernels


def say_adapted(weights: str, bands: int, how: FirstLayer = "timm", rgb: Positions = UNKNOWN) -> None:
    """Tell that published weights begin a network of other bands, and how."""
    found = [f"{colour} (band {band + 1})" for colour, band in zip(RGB_NAMES, rgb, strict=True) if band is not None]
    if how == "timm":
        what = "the kernels of red, green and blue in turn (timm's adaptation)"
    elif not found and bands == RGB:
        what = "the kernels of red, green and blue in turn, as none of the bands is known to be one of these"
    elif not found:
        what = "the mean of their kernels for all of them, as none is known to be red, green or blue"
    else:
        others = "0" if how == "zero" else "the mean of the three"
        what = f"the kernels of {', '.join(found)}" + (f", the others with {others}" if bands > len(found) else "")
    logger.warning("the weights %s are of RGB: the first layer takes %d bands and begins with %s", weights, bands, what)
