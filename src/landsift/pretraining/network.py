"""The network that is pretrained: a backbone that takes views of several sizes, and the head on it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from landsift.config import Normalization, RunConfig
from landsift.errors import ConfigError
from landsift.models.timm_networks import has_fixed_input, unfilled
from landsift.models.weights_file import one_line
from landsift.pretraining.methods import METHODS, local_size

if TYPE_CHECKING:
    from torch import nn

    from landsift.data.store.patch_store import PatchStore
    from landsift.pretraining.module import Projected
    from landsift.pretraining.patches import Rows
    from landsift.training.phases import Strategy

logger = logging.getLogger("landsift")
ANY_SIZE = "dynamic_img_size"
"""timm's argument for ViTs that take images of several sizes: their position embeddings are resampled."""


def for_views(config: RunConfig) -> RunConfig:
    """The configuration with the argument that lets a ViT take images of several sizes, where it has and needs it.

    A network that takes one size only gets local views of that size, which a notice says.

    Raises:
        ConfigError: such a network is to train at progressive sizes.
    """
    model, own = config.model, config.pretraining
    if not has_fixed_input(model.backbone) or ANY_SIZE in model.backbone_args:
        return config
    if unfilled(model, own.image_size, **{ANY_SIZE: True}) is not None:
        arguments = dict(model.backbone_args) | {ANY_SIZE: True}
        return config.model_copy(update={"model": model.model_copy(update={"backbone_args": arguments})})
    if own.progressive:
        raise ConfigError(
            f"pretraining.progressive: {model.backbone} takes images of one size only",
            "leave it out, or choose another backbone",
        )
    if own.views.local and own.views.local_size != own.image_size:
        logger.info("%s takes images of one size only: local views are of %d pixels", model.backbone, own.image_size)
        views = own.views.model_copy(update={"local_size": own.image_size})
        return config.model_copy(update={"pretraining": own.model_copy(update={"views": views})})
    return config


def patch_side(config: RunConfig) -> int:
    """Height and width in pixels of the patches that the backbone cuts images into; 1 where it cuts none."""
    network: Any = unfilled(config.model, config.pretraining.image_size)
    side = getattr(getattr(network, "patch_embed", None), "patch_size", 1)
    return int(max(side) if isinstance(side, tuple | list) else side)


def check_sizes(config: RunConfig, strategy: Strategy, side: int) -> None:
    """Refuse views that a network cannot cut into patches.

    Raises:
        ConfigError: a size is no multiple of `side`.
    """
    own = config.pretraining
    sizes = {phase.image_size or own.image_size for phase in strategy}
    wrong = sorted(size for size in sizes if size % side)
    if wrong:
        raise ConfigError(
            f"pretraining: {config.model.backbone} takes views of multiples of {side} pixels, not {wrong[0]}",
            f"set pretraining.image_size and progressive to multiples of {side}",
        )
    if own.views.local:
        made = local_size(own, own.image_size, side)
        if made != own.views.local_size:
            logger.info(
                "local views are of %d pixels: %s cuts images into patches of %d", made, config.model.backbone, side
            )


def check_views(network: nn.Module, name: str, sizes: Iterable[int], bands: int) -> None:
    """Refuse sizes of views that leave a network nothing: ConvNeXt's last stage takes 32 pixels.

    Raises:
        ConfigError: the network fails on a blank image of a size.
    """
    import torch

    network.eval()
    for size in sorted(set(sizes)):
        try:
            with torch.inference_mode():
                network(torch.zeros(1, bands, size, size))
        except Exception as error:  # whatever a network's arithmetic makes of its input
            raise ConfigError(
                f"pretraining: {name} does not take views of {size} pixels: {one_line(error)}",
                "raise pretraining.views.local_size (or set pretraining.views.local=0) and the sizes of progressive",
            ) from error
    network.train()


def projected(
    config: RunConfig, store: PatchStore, rows: Rows, sizes: Iterable[int]
) -> tuple[Projected, Normalization]:
    """The backbone with the weights it starts from and a head, and the statistics that inputs are normalised with.

    Args:
        config: with complete settings of the pretraining.
        store: the patches.
        rows: those that are learned from.
        sizes: of all views, in pixels.

    Raises:
        ConfigError: a view is too small for the backbone, or as `landsift.training.fit.build_backbone`.
        ModelError: as that.
    """
    from landsift.pretraining.module import Projected
    from landsift.training.fit import build_backbone

    own = config.pretraining
    assert own.method is not None
    backbone, normalization = build_backbone(config, store, rows)
    check_views(backbone.network, config.model.backbone, sizes, len(store.bands))
    head = METHODS[own.method].head(backbone.features, own.head)
    return Projected(backbone.network, head), normalization
