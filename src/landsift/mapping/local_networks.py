"""Which networks may look at a whole window at once, because what they find at a place depends on its surroundings alone.

Dense mode takes the features of a window from one pass and pools them per patch. A module that looks at the whole image,
such as squeeze-and-excitation, would then look at the whole window, and its answers would be others.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from landsift.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

INSTEAD = "map without --dense, or train a convolutional backbone, such as mobilenetv2_100 or resnet50"
_GLOBAL = (
    (re.compile(r"Attention|Attn|MLA$|Transformer", re.IGNORECASE), "attention"),
    (re.compile(r"^SE|SqueezeExc|EffectiveSE|EffectiveSq|^Eca|Cecca|GatherExcite|^Cbam|^LightCbam"),
     "squeeze-and-excitation"),
    (re.compile(r"GlobalContext|NonLocal|SelectiveKernel|GlobalResponseNorm|SpatialGating|^MixerBlock"),
     "a module that looks at the whole image"),
)  # fmt: skip
"""Names of modules that look at the whole image, and what people call them."""
_ROWS, _CELLS = 2, 32
"""Cells of the features of the strip that shows whether a network is local: beyond the receptive field of most."""
_LOCAL = 1e-3
"""By which features may change, in their standard deviations, where what is changed lies half of that strip away."""
_LIKE = 1e-3
"""Relative difference of features that count as the same."""


def cell_side(name: str, backbone: nn.Module, bands: int, image_size: int) -> int:
    """Pixels of the network's input from one cell of its features to the next.

    Args:
        name: of the backbone.
        backbone: in eval mode, on some device; maps images [B, C, S, S] to features [B, D].
        bands: C.
        image_size: S.

    Raises:
        ModelError: the network is not local, or does not pool by an average over its features.
    """
    import torch

    what = f"dense mode: {name}"
    if not hasattr(backbone, "forward_features") or not hasattr(backbone, "forward_head"):
        raise ModelError(f"{what} does not say what it pools (forward_features and forward_head of timm)", INSTEAD)
    if found := _looks_everywhere(backbone):
        raise ModelError(f"{what} has {found[1]} ({found[0]}), which looks at the whole patch", INSTEAD)
    device = next((each.device for each in backbone.parameters()), torch.device("cpu"))
    draw = torch.Generator().manual_seed(0)

    def noise(height: int, width: int) -> Tensor:
        images = torch.randn(1, bands, height, width, generator=draw)
        return images.to(device).contiguous(memory_format=torch.channels_last)

    with torch.inference_mode():
        images = noise(image_size, image_size)
        features = _map(backbone, images)
        if features is None or features.shape[2] != features.shape[3]:
            raise ModelError(f"{what} has no map of features before its pooling", INSTEAD)
        side, rest = divmod(image_size, features.shape[2])
        strip = noise(_ROWS * side, _CELLS * side)
        whole = None if rest else _map(backbone, strip)
        if whole is None or whole.shape[2:] != (_ROWS, _CELLS):
            raise ModelError(
                f"{what}: its features do not lie at whole multiples of pixels for inputs of {image_size}",
                "map without --dense, or train with a training.image_size that is a multiple of 32",
            )
        pooled = backbone.forward_head(features.mean(dim=(2, 3), keepdim=True))
        if not _alike(pooled, backbone(images)):
            raise ModelError(f"{what} does not pool its features by their average", INSTEAD)
        changed = strip.clone()
        changed[..., _CELLS * side // 2 :] = 3 * noise(_ROWS * side, _CELLS * side // 2)
        difference = (_map(backbone, changed) - whole)[..., 0].abs().max()  # type: ignore[operator]
        if not bool(difference <= _LOCAL * whole.std()):
            raise ModelError(f"{what}: its features depend on the whole image", INSTEAD)
    return side


def _looks_everywhere(backbone: nn.Module) -> tuple[str, str] | None:
    """The first module that looks at the whole image, and what people call it."""
    from torch import nn

    for name, module in backbone.named_modules():
        kind = type(module).__name__
        if isinstance(module, nn.GroupNorm | nn.InstanceNorm2d):
            return f"{kind} {name}", "a norm over the image"
        if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) > 1:
            return f"{kind} {name}", "a norm over the image"
        for pattern, words in _GLOBAL:
            if name and pattern.search(kind):
                return f"{kind} {name}", words
    return None


def _map(backbone: nn.Module, images: Tensor) -> Tensor | None:
    """The features before the pooling, [B, D, h, w]; None where they are no map, or it takes no such images."""
    try:
        features: Tensor = backbone.forward_features(images)  # type: ignore[operator]
    except Exception:  # noqa: BLE001 (whatever a network's arithmetic makes of another size)
        return None
    return features if getattr(features, "ndim", 0) == 4 else None


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= _LIKE * other.abs().max())
