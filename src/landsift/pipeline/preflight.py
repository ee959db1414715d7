"""What can be refused before any stage runs."""

from __future__ import annotations

from landsift.config import RunConfig
from landsift.errors import ConfigError


def check_training(config: RunConfig, *, local: bool = True) -> None:
    """Refuse a training that cannot start before any data is decoded for it; imports timm and torch.

    Args:
        config: the complete configuration.
        local: whether it will train on this machine; else on a node with `cluster.gpu`.

    Raises:
        ConfigError: the strategy is unknown or does not fit the backbone, the network takes images of other bands, or
            there are too few GPUs.
        ModelError: the backbone is unknown, or its weights cannot be looked for.
    """
    from landsift.data.sources.base import known_bands
    from landsift.models.backbone import check_backbone
    from landsift.training import devices
    from landsift.training.fit import check_image_sizes
    from landsift.training.strategies import check_blocks, settled, strategy_of

    config = settled(config)
    strategy = strategy_of(config)
    check_backbone(config.model)
    bands = len(known_bands(config.data))
    if (taken := config.model.backbone_args.get("in_chans", bands)) != bands:
        raise ConfigError(
            f"model.backbone_args: in_chans is {taken}, but patches have {bands} bands", "leave in_chans out"
        )
    check_image_sizes(config, strategy)
    check_blocks(config, strategy)
    if config.training.num_nodes > 1:
        raise ConfigError(
            f"training.num_nodes is {config.training.num_nodes}, but a pipeline runs on one machine",
            "train on several nodes without the pipeline, as docs/scaling.md shows",
        )
    if local and devices.needed(config.training):
        devices.check_devices(config.training)
    kind, _, number = config.cluster.gpu.partition(":")
    wanted = config.training.devices
    if not local and kind != "none" and number.isdecimal() and wanted > int(number):
        raise ConfigError(
            f"training.devices is {wanted}, but cluster.gpu={config.cluster.gpu} asks for a node with {number}",
            f"ask for more, such as --set cluster.gpu={kind}:{wanted}",
        )


def check_pretraining(config: RunConfig) -> None:
    """Refuse a pretraining that cannot start before any data is decoded for it; imports timm and torch.

    Args:
        config: the complete configuration.

    Raises:
        ConfigError: sizes do not fit the backbone, or there are too few GPUs.
        ModelError: the backbone is unknown, or its weights cannot be looked for.
    """
    from landsift.models.backbone import check_backbone
    from landsift.pretraining.methods import phases_of
    from landsift.pretraining.network import check_sizes, patch_side
    from landsift.training import devices

    check_backbone(config.model)
    check_sizes(config, phases_of(config.pretraining), patch_side(config))
    if devices.needed(config.training):
        devices.check_devices(config.training)


def check_begun_with(config: RunConfig, *, local: bool) -> None:
    """Refuse a run with a pretraining whose training would not use it, or that is sent elsewhere.

    Args:
        config: the complete configuration.
        local: whether it runs on this machine.

    Raises:
        ConfigError: the strategy starts from random weights, or the run is for a cluster.
    """
    from landsift.training.strategies import strategy_of

    if strategy_of(config)[0].from_scratch:
        raise ConfigError(
            f"pretraining.method is {config.pretraining.method}, but the strategy starts from random weights",
            "choose another strategy, or leave pretraining.method out",
        )
    if not local:
        raise ConfigError(
            "pretraining.method: on a cluster a run does not pretrain",
            "pretrain first (landsift pretrain), and give its folder as model.weights",
        )
