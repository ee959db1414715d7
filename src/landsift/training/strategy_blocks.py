"""Whether a backbone has the blocks that a strategy trains one by one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from landsift.config import RunConfig
from landsift.errors import ConfigError
from landsift.training.phases import Phase, Strategy

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger("landsift")


def needs_blocks(phase: Phase) -> bool:
    """Whether the phase tells a backbone's blocks apart."""
    return phase.blocks not in {0, "all"} or (phase.trains_backbone and phase.layer_decay < 1)


def check_blocks(config: RunConfig, strategy: Strategy, network: nn.Module | None = None) -> None:
    """Refuse a strategy that tells blocks apart, for a backbone that cannot be divided.

    Args:
        config: names the backbone.
        strategy: the phases.
        network: the backbone that is to be trained, of which it is said where it has too few blocks. None: it is only
            checked, on one that is made without memory for its weights, if it can be.

    Raises:
        ConfigError: the backbone is one block.
    """
    if not any(map(needs_blocks, strategy)):
        return
    from landsift.models.blocks import backbone_blocks
    from landsift.models.timm_networks import unfilled

    looked_at = network or unfilled(config.model, config.training.image_size)
    if looked_at is None:
        return
    name, count = config.model.backbone, len(backbone_blocks(looked_at))
    for phase in strategy:
        if count == 1 and needs_blocks(phase):
            key = "layer_decay" if phase.blocks == "all" else "blocks"
            raise ConfigError(
                f"strategy, phase '{phase.name}': {key}: what the blocks of {name} are is not known",
                "choose a strategy that trains the head or everything, such as two_phase, or another backbone",
            )
        if network and isinstance(phase.blocks, int) and phase.blocks > count:
            logger.info(
                "phase '%s' asks for the last %d blocks of %s, which has %d: all train",
                phase.name, phase.blocks, name, count,
            )  # fmt: skip
