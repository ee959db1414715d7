"""Where in a patch the class that a model predicts comes from: gradient-weighted class activation maps.

Grad-CAM (Selvaraju et al. 2017) in the form of HiResCAM (Draelos & Carin 2020): activations of a layer times the
gradient of the class's score, cell by cell, summed over channels. After the last convolution, with a linear head on
pooled features, both are the same map. Before it, only this one shows what adds to the score. That matters here: of 64
pixels, the last layer of most networks has 2 × 2 cells, so an earlier one is looked at. A map is the mean over the
views that the model looks at (test-time augmentation), each turned back; of one view alone it is noisier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.errors import ModelError
from landsift.models.input_checks import groups_of
from landsift.models.predictor import Predictor, symmetries

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from landsift.models.input_checks import Patches

CELLS = 7
"""Rows and columns of a map at least, where a layer has them."""
BATCH = 32
HEAT = ((0.0, (20, 11, 52)), (0.35, (132, 32, 107)), (0.65, (229, 92, 48)), (1.0, (252, 255, 164)))
"""Colours of an overlay, from nothing to most: four of the colour map Inferno."""
LEAST_SIDE = 224
"""Pixels of an overlay's shorter side at least; smaller patches are enlarged by whole numbers."""


def explain(predictor: Predictor, images: Patches) -> list[NDArray[np.float32]]:
    """Maps of what speaks for the predicted class of each patch.

    Args:
        predictor: the model.
        images: patches, as the predictor takes them.

    Returns:
        One float32 [h, w] per patch, 0 to 1: 1 where most speaks for the class; all 0 where nothing does.

    Raises:
        ModelError: the patches are of another type or shape, or no layer of the network has cells.
    """
    import torch

    groups = groups_of(images, predictor.bands)
    found: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * sum(len(group.rows) for group in groups)
    for group in groups:
        for start in range(0, len(group.rows), BATCH):
            batch = np.array(group.patches[start : start + BATCH], dtype=predictor.bands.numpy_dtype, order="C")
            with torch.no_grad():
                prepared = predictor.preprocess(torch.from_numpy(batch).to(predictor.device))
            maps = _maps(predictor, prepared.clone())
            for row, one in zip(group.rows[start : start + BATCH], maps, strict=True):
                found[int(row)] = one
    return found


def overlay(picture: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A patch beside the same patch with its map over it.

    Args:
        picture: [H, W, 3] or, grey, [H, W].
        heat: [h, w], 0 to 1.

    Returns:
        uint8 [H', W', 3], the patch on the left and the map on the right.
    """
    from PIL import Image

    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    H, W = picture.shape[:2]
    scale = max(1, -(-LEAST_SIDE // min(H, W)))
    size = (W * scale, H * scale)
    plain = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.NEAREST), dtype=np.float64)
    spread = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
    stops = [stop for stop, _ in HEAT]
    coloured = np.stack([np.interp(spread, stops, [c[band] for _, c in HEAT]) for band in range(3)], axis=-1)
    weight = 0.25 + 0.4 * spread[..., None]
    shown = (1 - weight) * plain + weight * coloured
    gap = np.full((size[1], max(4, scale), 3), 255.0)
    return np.concatenate([plain, gap, shown], axis=1).round().clip(0, 255).astype(np.uint8)


def _maps(predictor: Predictor, prepared: Tensor) -> list[NDArray[np.float32]]:
    """Of preprocessed patches [b, C, S, S]: float32 [h, w] of each."""
    import torch

    views, turns = [prepared], [0]
    if predictor.description.tta == "flips":
        square = len(set(predictor.description.patch_size)) == 1
        views = symmetries(prepared, square=square)
        turns = list(range(0, 4, 1 if square else 2)) * 2
    with torch.no_grad():
        mean = torch.stack([predictor.classifier(view).softmax(dim=1) for view in views]).mean(dim=0)
    predicted = mean.argmax(dim=1)
    total = None
    for number, (view, turn) in enumerate(zip(views, turns, strict=True)):
        found = torch.rot90(_adding(predictor, view.detach().clone(), predicted), -turn, dims=(1, 2))
        found = found.flip(2) if number >= (len(views) + 1) // 2 else found
        total = found if total is None else total + found
    assert total is not None
    shown = total.clamp(min=0).float().cpu().numpy()
    most = shown.max(axis=(1, 2), keepdims=True)
    shares: NDArray[np.float32] = np.divide(shown, most, out=np.zeros_like(shown), where=most > 0)
    return list(shares)


def _adding(predictor: Predictor, view: Tensor, predicted: Tensor) -> Tensor:
    """What each cell of a layer adds to the score of a class: float [b, h, w] of preprocessed patches [b, C, S, S]."""
    import torch

    classifier = predictor.classifier
    backbone: Any = classifier.backbone
    kept: list[Tensor] = []

    def keep(_module: Any, _given: Any, out: Any) -> None:
        if isinstance(out, torch.Tensor) and out.requires_grad:
            kept.append(out)

    handles = [backbone.get_submodule(name).register_forward_hook(keep) for name in _stages(backbone)]
    try:
        with torch.enable_grad():
            scores = classifier(view.requires_grad_()).gather(1, predicted[:, None])
            cells = [grid for out in kept if (grid := _grid(backbone, out)) is not None]
            chosen = next((grid for grid in reversed(cells) if min(grid[1:]) >= CELLS), None)
            chosen = chosen or max(cells, key=lambda grid: min(grid[1:]), default=None)
            if chosen is None:
                name = predictor.description.backbone
                raise ModelError(f"no layer of {name} has cells to explain its classes by", "leave --explain out")
            out, h, w = chosen
            (gradient,) = torch.autograd.grad(scores.sum(), out)
    finally:
        for handle in handles:
            handle.remove()
    return _as_cells(backbone, out.detach() * gradient, h, w).sum(dim=1)


def _stages(backbone: Any) -> list[str]:
    """Names of the modules whose outputs have cells: those that timm names, else all of the network's children."""
    try:
        named = [str(info["module"]) for info in backbone.feature_info]
    except (AttributeError, TypeError, KeyError):
        named = []
    known = dict(backbone.named_modules())
    named = [name for name in named if name in known]
    if any(name.startswith("blocks.") for name in named) and hasattr(backbone, "cls_token"):
        named = named[:-1]  # what only the class token sees has no gradient after the last block
    return named or [name for name in known if name]


def _grid(backbone: Any, out: Tensor) -> tuple[Tensor, int, int] | None:
    """An output with the number of its rows and columns of cells; None where it has none."""
    if out.ndim == 4:
        h, w = out.shape[1:3] if _channels_last(backbone) else out.shape[2:]
        return (out, int(h), int(w)) if min(h, w) > 1 else None
    if out.ndim == 3:
        cells = out.shape[1] - int(getattr(backbone, "num_prefix_tokens", 0))
        side = round(cells**0.5)
        return (out, side, side) if side > 1 and side * side == cells else None
    return None


def _as_cells(backbone: Any, values: Tensor, h: int, w: int) -> Tensor:
    """[b, C, h, w] of an output of either layout, or of tokens."""
    if values.ndim == 3:
        return values[:, -h * w :].transpose(1, 2).reshape(len(values), -1, h, w)
    return values.permute(0, 3, 1, 2) if _channels_last(backbone) else values


def _channels_last(backbone: Any) -> bool:
    return str(getattr(backbone, "output_fmt", "NCHW")).upper().endswith("NHWC")
