"""Backbones from timm: made by name, filled with weights, and what their weights expect of an input.

A backbone maps images, float [B, C, S, S], to pooled features, float [B, D].
"""

from __future__ import annotations

import copy
import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift.bands import RGB_NAMES, BandSpec
from landsift.config import ModelConfig, Normalization
from landsift.errors import ModelError, nearest
from landsift.models import hub, own_networks
from landsift.models.first_layer import IN_ORDER, RGB, UNKNOWN, Positions, adapted, input_bands, say_adapted
from landsift.models.model_json import DESCRIPTION_FILE, WEIGHTS_FILE, ModelDescription, read_description
from landsift.models.timm_networks import network_arguments
from landsift.models.weights import OTHER_WEIGHTS, left_by_timm, load_weights
from landsift.models.weights_file import ENDINGS, one_line
from landsift.runs import MODEL

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger("landsift")

_NOT_ARGUMENTS = frozenset(
    {"cache_dir", "checkpoint_path", "features_only", "num_classes", "pretrained", "pretrained_cfg"}
    | {"pretrained_cfg_overlay", "pretrained_strict"}
)
"""What timm.create_model takes that leads to other files, which may carry code, or to another kind of network."""


@dataclass(frozen=True)
class Backbone:
    """A timm network without its classifier, and the statistics its weights expect.

    Attributes:
        network: maps float [B, C, S, S] to pooled features float [B, D].
        features: D. timm's `num_features` is another number for networks with a layer after the pooling.
        normalization: per-band mean and std for inputs in [0, 1], or None where the weights say nothing.
        source: who says so.
        bands: what the weights were trained on; of random ones, and where nothing says it, 8-bit RGB.
        is_pretrained: the weights are of `landsift pretrain`.
    """

    network: nn.Module
    features: int
    normalization: Normalization | None
    source: str = ""
    bands: BandSpec = field(default_factory=BandSpec.pictures)
    is_pretrained: bool = False


def create_backbone(config: ModelConfig, image_size: int, rgb: Positions = UNKNOWN) -> Backbone:
    """Make the configured backbone and fill it with its weights.

    Args:
        config: names the backbone, its arguments and its weights.
        image_size: height and width of the input in pixels, for the networks that must know it (ViT).
        rgb: which of the bands are red, green and blue, with which the kernels of RGB weights stay.

    Raises:
        ModelError: the name is unknown, the arguments do not fit, or the weights cannot be had or do not fit.
            Random weights are never used in their place.
    """
    source = weights_source(config.weights)
    others = config.backbone_args.get("in_chans", RGB) != RGB or rgb not in (IN_ORDER, UNKNOWN)
    network = _create(config, image_size, pretrained=source == "imagenet" and not others)
    count = input_bands(config, network)
    features = _features(network, config.backbone, image_size, count)
    if source == "none":
        return Backbone(network, features, None)
    trained_with, said_by = _trained_with(network)
    bands, is_pretrained = BandSpec.pictures(), False
    if isinstance(source, Path):
        file, description = _weights_file(source)
        _fill(network, file, config, image_size, rgb, description)
        if description is not None:
            _compare_arguments(source, description, config)
            trained_with = Normalization(mean=description.mean, std=description.std)
            said_by, bands = str(file.with_name(DESCRIPTION_FILE)), description.bands
            is_pretrained = not description.classes
    elif others:
        _adapt(network, _create(_for_rgb(config), image_size, pretrained=True), config, count, rgb)
    return Backbone(network, features, trained_with, said_by, bands, is_pretrained)


def _fill(
    network: nn.Module, file: Path, config: ModelConfig, image_size: int, rgb: Positions, own: ModelDescription | None
) -> None:
    """Load a file's weights, which are of as many bands as the network takes, or of RGB."""
    bands = input_bands(config, network)
    others = bands != RGB or rgb not in (IN_ORDER, UNKNOWN)
    try:
        load_weights(network, file, config, image_size, own=own is not None)
        if bands != RGB or not others or (own is not None and own.bands.names != RGB_NAMES):
            return
    except ModelError:
        if own is not None and len(own.bands) not in (bands, RGB):
            named = f"{len(own.bands)} bands ({', '.join(own.bands.names)})"
            raise ModelError(
                f"model.weights: {config.weights} is of patches of {named}, these patches have {bands}",
                "give patches of the same bands, weights of patches like these, or weights of RGB, which are adapted",
            ) from None
        if bands == RGB or (own is not None and len(own.bands) != RGB):
            raise
        of_rgb = _filled_for_rgb(file, config, image_size, own=own is not None)
        if of_rgb is None:
            raise  # what is wrong with them for the bands that are wanted
    else:
        of_rgb = copy.deepcopy(network)  # three bands in another order
    _adapt(network, of_rgb, config, bands, rgb)


def _adapt(network: nn.Module, of_rgb: nn.Module, config: ModelConfig, bands: int, rgb: Positions) -> None:
    adapted(network, of_rgb, bands, config.first_layer, rgb)
    say_adapted(config.weights, bands, config.first_layer, rgb)


def _for_rgb(config: ModelConfig) -> ModelConfig:
    others = {name: value for name, value in config.backbone_args.items() if name != "in_chans"}
    return config.model_copy(update={"backbone_args": others})


def _filled_for_rgb(file: Path, config: ModelConfig, image_size: int, *, own: bool) -> nn.Module | None:
    """The network for RGB with a file's weights; None where they do not fit that either."""
    rgb = _for_rgb(config)
    network = _create(rgb, image_size, pretrained=False)
    try:
        load_weights(network, file, rgb, image_size, own=own)
    except ModelError:
        return None
    return network


def expected_input(backbone: Backbone, config: ModelConfig, normalization: Normalization) -> str:
    """What weights from a file are taken to expect, in words: nothing in a file says it, and both cost accuracy.

    Args:
        backbone: filled with them.
        config: names the file.
        normalization: that inputs get.
    """
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (normalization.mean, normalization.std))
    others = "as timm names no others" if backbone.normalization is None else "as the weights saw other patches"
    said_by = backbone.source if backbone.normalization == normalization else ""
    if isinstance(config.normalization, Normalization):
        said_by = "model.normalization"
    said_by = said_by or f"the training patches, {others}"
    padding = _padding(backbone.network)
    padded = f", and {padding}" if padding else ""
    return (
        f"weights {config.weights} are taken to expect inputs of mean {mean} and std {std} (by {said_by}){padded}; if "
        f"they were trained otherwise, set model.normalization{' and model.backbone_args' if padding else ''}"
    )


def weights_source(weights: str) -> str | Path:
    """What `model.weights` means: "imagenet", "none", or the existing file or folder of that name.

    Raises:
        ModelError: it is none of these.
    """
    if weights in {"imagenet", "none"}:
        return weights
    path = Path(weights).expanduser()
    if path.is_dir() or (path.suffix.lower() in ENDINGS and path.is_file()):
        return path
    if path.is_file():
        raise ModelError(f"model.weights: {path} is not a file of weights", OTHER_WEIGHTS)
    hint = nearest(weights, ["imagenet", "none"]) or OTHER_WEIGHTS
    raise ModelError(f"model.weights: no such file, folder or name: {weights}", hint)


def check_backbone(config: ModelConfig) -> None:
    """Check the backbone's name, arguments and that its weights can be looked for, unmade; raises ModelError.

    The user's own module is imported for it.
    """
    import timm

    own_networks.load(config)
    if foreign := sorted(_NOT_ARGUMENTS.intersection(config.backbone_args)):
        raise ModelError(f"model.backbone_args: '{foreign[0]}' says nothing about the network", OTHER_WEIGHTS)
    name = _architecture(config.backbone)
    if not timm.is_model(name):
        known = timm.list_models()
        hint = nearest(name, known, count=3) or "`timm.list_models()` names the known ones; for your own: model.module"
        raise ModelError(f"unknown backbone '{config.backbone}'", hint)
    own = own_networks.check_known(config)
    try:
        if not (own and name == config.backbone):  # which need not name any weights
            timm.get_pretrained_cfg(config.backbone, allow_unregistered=False)
    except (RuntimeError, KeyError):
        if name == config.backbone:
            message = f"'{name}' is a name that timm no longer uses"
            raise ModelError(message, nearest(name, timm.list_models(), count=3) or OTHER_WEIGHTS) from None
        tags = timm.list_models(f"{name}.*", pretrained=True)
        raise ModelError(f"unknown weights tag in '{config.backbone}'", f"known: {', '.join(tags)}") from None
    source = weights_source(config.weights)
    if source == "imagenet" and not timm.is_model_pretrained(config.backbone):
        raise ModelError(f"timm has no pretrained weights for '{config.backbone}'", OTHER_WEIGHTS)
    if isinstance(source, Path) and (stored := _weights_file(source)[1]) and _architecture(stored.backbone) != name:
        other = stored.backbone[:80]
        message = f"model.weights: {source} holds a {other}, but model.backbone is {config.backbone}"
        raise ModelError(message, f"set model.backbone={other}, or give weights of {config.backbone}")


def _architecture(name: str) -> str:
    """The network's name without the tag of its weights."""
    return name.split(".")[0]


def _create(config: ModelConfig, image_size: int, *, pretrained: bool) -> nn.Module:
    import timm

    check_backbone(config)
    arguments = network_arguments(config, image_size)
    overlay: dict[str, Any] = {}
    if pretrained:
        logger.info("loading timm's pretrained weights of %s", config.backbone)
        weights = hub.pretrained(config)
        if weights.commit is not None:  # custom_load is for the .npz files that some weights came in before the hub
            overlay = {"file": str(weights.file), "custom_load": weights.file.suffix == ".npz"}
    try:
        loading: AbstractContextManager[list[str]] = left_by_timm() if pretrained else nullcontext([])
        with loading as left:
            network: nn.Module = timm.create_model(
                config.backbone, pretrained=pretrained, num_classes=0, pretrained_cfg_overlay=overlay, **arguments
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"cannot make backbone {config.backbone}: {one_line(error)}", OTHER_WEIGHTS) from None
    except Exception as error:  # whatever a network's arithmetic makes of its arguments
        given = str(config.backbone_args)[:200]
        message = f"{config.backbone} does not take backbone_args {given}: {one_line(error)}"
        raise ModelError(message) from error
    if left:
        message = "%d tensors of %s are not in timm's pretrained weights and start from random values (such as %s)"
        logger.warning(message, len(left), config.backbone, left[0])
    return network


def _features(network: nn.Module, name: str, image_size: int, bands: int) -> int:
    """D, measured on one blank image in eval mode, which leaves batch norms as they are."""
    import torch

    try:
        with torch.inference_mode():
            shape = network.eval()(torch.zeros(1, bands, image_size, image_size)).shape
    except Exception as error:  # whatever a network's arithmetic makes of its input
        message = f"{name} does not take images of {image_size} pixels: {one_line(error)}"
        raise ModelError(message, "change training.image_size or model.backbone_args") from error
    if len(shape) != 2:
        message = f"{name} gives features of shape {list(shape[1:])} for an image, not one number each"
        raise ModelError(
            message, "choose another backbone, or a pooling in model.backbone_args, such as global_pool: avg"
        )
    network.train()
    return int(shape[1])


def _trained_with(network: nn.Module) -> tuple[Normalization | None, str]:
    """The statistics that timm's configuration of the network names, and that configuration's name."""
    cfg: dict[str, Any] = getattr(network, "pretrained_cfg", {})
    if "mean" not in cfg or "std" not in cfg:
        return None, ""
    name = ".".join(part for part in (cfg.get("architecture"), cfg.get("tag")) if part)
    return Normalization(mean=tuple(cfg["mean"]), std=tuple(cfg["std"])), f"timm's configuration of {name}"


def _weights_file(source: Path) -> tuple[Path, ModelDescription | None]:
    """The file with the weights, and what the model.json beside it says if landsift wrote it."""
    if source.is_file():
        description = source.with_name(DESCRIPTION_FILE)
        ours = source.name == WEIGHTS_FILE and description.is_file()
        return source, read_description(description) if ours else None
    for folder in (source, source / MODEL):
        file, description = folder / WEIGHTS_FILE, folder / DESCRIPTION_FILE
        if file.is_file() and description.is_file():
            return file, read_description(description)
    raise ModelError(
        f"model.weights: {source} holds no model/{WEIGHTS_FILE} with its {DESCRIPTION_FILE}", OTHER_WEIGHTS
    )


def _compare_arguments(source: Path, description: ModelDescription, config: ModelConfig) -> None:
    """Say where a run's network was made with other arguments: another padding fits, and costs accuracy."""
    both = (description.backbone_args, config.backbone_args)
    then, now = (
        {name: value for name, value in given.items() if name not in {"img_size", "in_chans", "dynamic_img_size"}}
        for given in both
    )
    if then != now:
        logger.warning("%s was trained with model.backbone_args %s, which are %s here", source, then, now)


def _padding(network: nn.Module) -> str:
    """How convolutions pad where it makes a difference between libraries, at strides above 1; "" where none does."""
    from torch import nn

    strided = [m for m in network.modules() if isinstance(m, nn.Conv2d) and max(m.stride) > 1]
    if any(type(module).__name__.endswith("Same") for module in strided):
        return "padding as in TensorFlow (pad_type: same)"
    if any(not isinstance(module.padding, str) and max(module.padding) > 0 for module in strided):
        return "symmetric padding, as in PyTorch"
    return ""
