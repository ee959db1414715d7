"""What a predictor is given as patches: arrays, tensors, lists of arrays or of PIL images, checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from landsift.errors import ModelError
from landsift.image_sizes import Size
from landsift.models.weights_file import one_line

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    Patches: TypeAlias = NDArray[np.uint8] | Tensor | Sequence[NDArray[np.uint8] | Tensor | Image]

_PIL_MODES = {1: "L", 3: "RGB"}
"""PIL's mode of images with so many bands, as files are read; others of three bands are no RGB (HSV, LAB, YCbCr)."""
_SCALE = "scale the values to 8 bits first, as those of the training patches were"


class Group(NamedTuple):
    """Patches of one size."""

    rows: NDArray[np.int64]
    """Where they stand among all that were given, int64 [n]."""
    patches: NDArray[np.uint8] | list[NDArray[np.uint8]]
    """uint8 [n, H, W, C], or n times [H, W, C]."""
    size: Size
    """H and W."""


def groups_of(given: Any, bands: int) -> list[Group]:
    """What was given, by size.

    Args:
        given: see `Patches`.
        bands: C, of the patches that the model was trained on.

    Raises:
        ModelError: it is something else, of another type than uint8, or of another shape.
    """
    if isinstance(given, list | tuple):
        images = [_item(item, number, bands) for number, item in enumerate(given)]
        sizes = np.array([image.shape[:2] for image in images], dtype=np.int64).reshape(-1, 2)
        groups = []
        for height, width in dict.fromkeys(map(tuple, sizes.tolist())):
            rows = np.flatnonzero((sizes == (height, width)).all(axis=1))
            groups.append(Group(rows, [images[row] for row in rows], (height, width)))
        return groups
    if _is_pil(given):
        raise ModelError("a predictor takes many patches, not one image", "give a list: [image]")
    array = _array(given, f"uint8 [B, H, W, {bands}]")
    if array is None:
        hint = "`landsift predict` classifies files" if isinstance(given, str | bytes) or _is_path(given) else ""
        raise ModelError(
            f"the model takes uint8 [B, H, W, {bands}], or a list of arrays [H, W, {bands}] or PIL images, not "
            f"{type(given).__name__}",
            hint or "make an array or a list of it",
        )
    _check(array, f"uint8 [B, H, W, {bands}]", bands, ndim=4)
    return [Group(np.arange(len(array)), array, (array.shape[1], array.shape[2]))]


def _item(item: Any, number: int, bands: int) -> NDArray[np.uint8]:
    """One of a list, uint8 [H, W, C]."""
    wanted = f"uint8 [H, W, {bands}] in a list"
    if _is_pil(item):
        mode = _PIL_MODES.get(bands)
        if item.mode != mode:
            way = f"give image.convert('{mode}')" if mode else f"give arrays of {bands} bands"
            if item.mode.startswith(("I", "F")):  # converting would cut values, in silence
                way = _SCALE
            raise ModelError(
                f"the model takes images of {bands} bands; number {number} is a PIL image of mode {item.mode}", way
            )
        try:
            pixels: NDArray[np.uint8] = np.asarray(item)
        except Exception as error:  # decoders raise what they meet
            raise ModelError(
                f"the image of number {number} cannot be decoded: {one_line(error)}", "leave it out"
            ) from error
        return pixels[..., None] if bands == 1 else pixels
    array = _array(item, wanted)
    if array is None:
        raise ModelError(
            f"the model takes {wanted}, or PIL images; number {number} is of type {type(item).__name__}",
            "`landsift predict` classifies files" if isinstance(item, str) or _is_path(item) else "make an array of it",
        )
    _check(array, wanted, bands, ndim=3, who=f"; number {number} is")
    return array


def _array(given: Any, wanted: str) -> NDArray[Any] | None:
    """An array of what is one, or a tensor; None for anything else."""
    import torch

    if isinstance(given, torch.Tensor):
        if given.dtype != torch.uint8:
            raise _other_type(wanted, str(given.dtype).removeprefix("torch."), list(given.shape))
        if given.layout != torch.strided or given.is_meta:
            raise ModelError(
                f"the model takes {wanted}, not a tensor that is sparse or empty of values", "make it dense"
            )
        return given.detach().cpu().numpy()
    if not hasattr(given, "__array__"):
        return None
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise ModelError(
            "some of the pixels are masked, and the model cannot use masks",
            "fill them as in the training patches: images.filled(0)",
        )
    return np.asarray(given)


def _check(array: NDArray[Any], wanted: str, bands: int, *, ndim: int, who: str = ", not") -> None:
    """Raise ModelError for an array of another type or shape."""
    shape = list(array.shape)
    if array.dtype != np.uint8:
        raise _other_type(wanted, str(array.dtype), shape, who)
    if array.ndim == ndim and array.shape[-1] == bands and 0 not in array.shape[-3:]:
        return
    hint = f"it was trained on patches of {bands} bands, which come last"
    if array.ndim == ndim and array.shape[-3] == bands:
        hint = f"bands come last: give images.transpose({'0, 2, 3, 1' if ndim == 4 else '1, 2, 0'})"
    elif ndim == 4 and array.ndim == 3 and array.shape[-1] == bands:
        hint = "of one patch make a batch of one: patch[None]"
    elif ndim == 3 and array.ndim == 4:
        hint = "of batches of one size make one array: numpy.concatenate(images)"
    raise ModelError(f"the model takes {wanted}{who} uint8 {shape}", hint)


def _other_type(wanted: str, kind: str, shape: list[int], who: str = ", not") -> ModelError:
    hint = _SCALE
    if "float" in kind:
        hint = f"of values in [0, 1] give (255 * images).round().astype('uint8'); else {hint}"
    elif kind == "object":
        hint = "of arrays of different sizes make a list: list(images)"
    elif kind in {"int16", "int32", "int64", "uint32", "uint64", "int8"}:
        hint = f"of values from 0 to 255 give images.astype('uint8'); else {hint}"
    return ModelError(f"the model takes {wanted}{who} {kind} {shape}", hint)


def _is_pil(given: Any) -> bool:
    from PIL.Image import Image

    return isinstance(given, Image)


def _is_path(given: Any) -> bool:
    return hasattr(given, "__fspath__")
