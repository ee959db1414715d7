"""Backbones from timm: made by name, filled with weights, divided into blocks.

A backbone maps images, float [B, C, S, S], to pooled features, float [B, D].
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift.config import ModelConfig, Normalization
from landsift.errors import ModelError, nearest

if TYPE_CHECKING:
    from torch import Tensor, nn

logger = logging.getLogger("landsift")

_NOT_ARGUMENTS = frozenset(
    {"cache_dir", "checkpoint_path", "features_only", "num_classes", "pretrained", "pretrained_cfg"}
    | {"pretrained_cfg_overlay", "pretrained_strict"}
)
"""What timm.create_model takes that leads to other files, which may carry code, or to another kind of network."""

OTHER_WEIGHTS = "give model.weights a .safetensors file in timm's layout, a run directory, or 'none' for random weights"


@dataclass(frozen=True)
class Backbone:
    """A timm network without its classifier, and the statistics its weights expect.

    Attributes:
        network: maps float [B, C, S, S] to pooled features float [B, D].
        features: D. timm's `num_features` is another number for networks with a layer after the pooling.
        normalization: per-band mean and std for inputs in [0, 1], or None where the weights say nothing.
    """

    network: nn.Module
    features: int
    normalization: Normalization | None


def create_backbone(config: ModelConfig, image_size: int) -> Backbone:
    """Make the configured backbone and fill it with its weights.

    Args:
        config: names the backbone, its arguments and its weights.
        image_size: height and width of the input in pixels, for the networks that must know it (ViT).

    Raises:
        ModelError: the name is unknown, the arguments do not fit, or the weights cannot be had or do not fit.
            Random weights are never used in their place.
    """
    source = weights_source(config.weights)
    network = _create(config, image_size, pretrained=source == "imagenet")
    features = _features(network, config.backbone, image_size)
    trained_with = _trained_with(network)
    if source == "none":
        return Backbone(network, features, None)
    if isinstance(source, Path):
        file, stored = _weights_file(source)
        _load_file(network, file, config.backbone)
        trained_with = stored or trained_with
    return Backbone(network, features, trained_with)


def weights_source(weights: str) -> str | Path:
    """What `model.weights` means: "imagenet", "none", or the existing file or folder of that name.

    Raises:
        ModelError: it is none of these.
    """
    if weights in {"imagenet", "none"}:
        return weights
    path = Path(weights).expanduser()
    if path.is_dir() or (path.suffix == ".safetensors" and path.is_file()):
        return path
    if path.is_file():
        raise ModelError(f"model.weights: {path} is not a .safetensors file", OTHER_WEIGHTS)
    hint = nearest(weights, ["imagenet", "none"]) or OTHER_WEIGHTS
    raise ModelError(f"model.weights: no such file, folder or name: {weights}", hint)


def check_backbone(config: ModelConfig) -> None:
    """Check the backbone's name, arguments and that its weights can be looked for, unmade; raises ModelError."""
    import timm

    if foreign := sorted(_NOT_ARGUMENTS.intersection(config.backbone_args)):
        raise ModelError(f"model.backbone_args: '{foreign[0]}' says nothing about the network", OTHER_WEIGHTS)
    name = config.backbone.split(".")[0]
    if not timm.is_model(name):
        known = timm.list_models()
        hint = nearest(name, known, count=3) or "`timm.list_models()` names the known ones"
        raise ModelError(f"unknown backbone '{config.backbone}'", hint)
    try:
        timm.get_pretrained_cfg(config.backbone, allow_unregistered=False)
    except (RuntimeError, KeyError):
        tags = timm.list_models(f"{name}.*", pretrained=True)
        raise ModelError(f"unknown weights tag in '{config.backbone}'", f"known: {', '.join(tags)}") from None
    if weights_source(config.weights) == "imagenet" and not timm.is_model_pretrained(config.backbone):
        raise ModelError(f"timm has no pretrained weights for '{config.backbone}'", OTHER_WEIGHTS)


def _create(config: ModelConfig, image_size: int, *, pretrained: bool) -> nn.Module:
    import timm

    check_backbone(config)
    arguments = network_arguments(config, image_size)
    overlay: dict[str, Any] = {}
    if pretrained:
        logger.info("loading timm's pretrained weights of %s (downloaded once)", config.backbone)
        overlay = _fetch_pretrained(config.backbone)
    try:
        network: nn.Module = timm.create_model(
            config.backbone, pretrained=pretrained, num_classes=0, pretrained_cfg_overlay=overlay, **arguments
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"cannot make backbone {config.backbone}: {_one_line(error)}", OTHER_WEIGHTS) from None
    except Exception as error:  # whatever a network's arithmetic makes of its arguments
        given = str(config.backbone_args)[:200]
        message = f"{config.backbone} does not take backbone_args {given}: {_one_line(error)}"
        raise ModelError(message) from error
    return network


def network_arguments(config: ModelConfig, image_size: int) -> dict[str, Any]:
    """What timm is given to make the network: `backbone_args`, and the input size where the network must know it."""
    arguments = dict(config.backbone_args)
    if "img_size" not in arguments and has_fixed_input(config.backbone):
        arguments["img_size"] = image_size
    return arguments


def _fetch_pretrained(name: str) -> dict[str, Any]:
    """Where timm finds the weights: in the hub's cache, downloaded if need be; empty for weights not on the hub.

    timm would do this itself, but asks an unreachable hub twice, half a minute each, and only then gives up.
    """
    import timm
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    cfg = timm.get_pretrained_cfg(name)
    if cfg is None or not cfg.hf_hub_id:
        return {}
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # its retries are one error here, not ten lines
    try:
        file = hf_hub_download(cfg.hf_hub_id, cfg.hf_hub_filename or "model.safetensors")
    except (OSError, ValueError) as error:
        unreachable = isinstance(error, LocalEntryNotFoundError)
        reason = "the hub cannot be reached, and they were not downloaded before" if unreachable else _one_line(error)
        raise ModelError(f"the pretrained weights of {name} cannot be fetched: {reason}", OTHER_WEIGHTS) from None
    # custom_load is for the .npz files that some weights came in before they were on the hub
    return {"file": file, "custom_load": file.endswith(".npz")}


def _features(network: nn.Module, name: str, image_size: int) -> int:
    """D, measured on one blank image in eval mode, which leaves batch norms as they are."""
    import torch

    bands = int(getattr(network, "in_chans", 3))
    try:
        with torch.inference_mode():
            features: int = network.eval()(torch.zeros(1, bands, image_size, image_size)).shape[-1]
    except Exception as error:  # whatever a network's arithmetic makes of its input
        message = f"{name} does not take images of {image_size} pixels: {_one_line(error)}"
        raise ModelError(message, "change training.image_size or model.backbone_args") from error
    network.train()
    return features


def has_fixed_input(name: str) -> bool:
    """Whether timm marks the network's input size as fixed, so that it must be told ours (ViT, Swin)."""
    import timm

    cfg = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return bool(cfg is not None and cfg.fixed_input_size)


def _trained_with(network: nn.Module) -> Normalization | None:
    cfg: dict[str, Any] = getattr(network, "pretrained_cfg", {})
    if "mean" not in cfg or "std" not in cfg:
        return None
    return Normalization(mean=tuple(cfg["mean"]), std=tuple(cfg["std"]))


def _weights_file(source: Path) -> tuple[Path, Normalization | None]:
    """The file with the weights, and the statistics that its folder's model.json names."""
    from landsift.errors import RunError
    from landsift.runs import MODEL, read_json

    if source.is_file():
        return source, None
    for folder in (source, source / MODEL):
        file, description = folder / "model.safetensors", folder / "model.json"
        if file.is_file() and description.is_file():
            try:
                stored = read_json(description)
                return file, Normalization(mean=stored["mean"], std=stored["std"])
            except (RunError, KeyError, TypeError, ValueError, RecursionError) as error:
                raise ModelError(f"{description} is damaged: {type(error).__name__}: {_one_line(error)}") from None
    raise ModelError(f"model.weights: {source} holds no model/model.safetensors with its model.json", OTHER_WEIGHTS)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, which holds nothing that could be executed.

    Raises:
        ValueError: it cannot be read, or holds values that are no finite numbers.
    """
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(file)
        odd = [name for name, t in tensors.items() if t.is_complex() or not bool(t.isfinite().all())]
    except Exception as error:  # SafetensorError, OSError, and KeyError for a type that torch does not have
        raise ValueError(_one_line(error)) from error
    if odd:
        raise ValueError(f"tensor {odd[0]} holds values that are no finite numbers")
    return tensors


def _load_file(network: nn.Module, file: Path, name: str) -> None:
    """Load weights in timm's layout, or the backbone of a landsift model; the classifier is left out."""
    try:
        tensors = read_tensors(file)
    except ValueError as error:
        raise ModelError(f"cannot read weights {file}: {_one_line(error)}", OTHER_WEIGHTS) from None
    if any(key.startswith("backbone.") for key in tensors):
        tensors = {k.removeprefix("backbone."): v for k, v in tensors.items() if k.startswith("backbone.")}
    wanted = network.state_dict()
    _interpolate_positions(network, tensors)
    missing = [k for k in wanted if k not in tensors and not k.endswith("num_batches_tracked")]
    wrong = [k for k, v in tensors.items() if k in wanted and v.shape != wanted[k].shape]
    classifier = tuple(_classifier_names(network))
    foreign = [k for k in tensors if k not in wanted and not k.startswith(classifier)]
    if missing or wrong or foreign:
        what = ", ".join(
            f"{len(keys)} {kind} (such as {keys[0]})"
            for kind, keys in (("missing", missing), ("of another shape", wrong), ("unknown", foreign))
            if keys
        )
        hint = "are they another network's, or does it need model.backbone_args (such as pad_type: same)?"
        raise ModelError(f"weights {file} do not fit {name}: tensors {what}", hint)
    network.load_state_dict({k: v for k, v in tensors.items() if k in wanted}, strict=False)


def _classifier_names(network: nn.Module) -> list[str]:
    cfg: dict[str, Any] = getattr(network, "pretrained_cfg", {})
    names = cfg.get("classifier") or "classifier"
    return [f"{n}." for n in ([names] if isinstance(names, str) else names)]


def _interpolate_positions(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Resample a ViT's position embedding to the input size at hand (Dosovitskiy et al. 2021), as timm does."""
    from timm.layers import resample_abs_pos_embed

    embedding = getattr(network, "pos_embed", None)
    stored = tensors.get("pos_embed")
    if embedding is None or stored is None or stored.shape == embedding.shape or stored.ndim != embedding.ndim:
        return
    grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    if grid is None or stored.ndim != 3:
        return
    prefix = getattr(network, "num_prefix_tokens", 1)
    tensors["pos_embed"] = resample_abs_pos_embed(stored, new_size=grid, num_prefix_tokens=prefix)


def backbone_blocks(network: Any) -> list[list[str]]:
    """Names of the backbone's parameters, block by block from stem to last, by timm's `group_matcher`.

    "Coarse" groups are the stages of a CNN and the transformer blocks of a ViT, so that "the last block" means the
    same for EfficientNet, ResNet, ConvNeXt, MobileNet and ViT. Parameters that the matcher does not name (a norm after
    the last stage) belong to the last block. A network without a matcher is one block.
    """
    from timm.models import group_parameters

    if not hasattr(network, "group_matcher"):
        return [[name for name, _ in network.named_parameters()]]
    matcher = network.group_matcher(coarse=True)
    if isinstance(matcher, dict):
        matcher = matcher | {"rest": [(r"", (99999,))]}  # timm's number for "with the group before"
    groups = group_parameters(network, matcher)
    return [groups[key] for key in sorted(groups)]


def _one_line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()[:200] or type(error).__name__
