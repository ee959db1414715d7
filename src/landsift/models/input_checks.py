"""What a predictor is given as patches: arrays, tensors, lists of arrays or of PIL images, checked before any work.

Numbers must mean what those of the training meant: of the same type, the same bands in the same order.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from landsift.bands import BRIGHTNESS, BandSpec
from landsift.errors import ModelError
from landsift.image_sizes import Size
from landsift.models.weights_file import one_line

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    Patches: TypeAlias = NDArray[Any] | Tensor | Sequence[NDArray[Any] | Tensor | Image]

_PIL_MODES = {1: "L", 3: "RGB"}
"""PIL's mode of images with so many bands, as files are read; others of three bands are no RGB (HSV, LAB, YCbCr)."""
_SCALE = "scale the values to 8 bits first, as those of the training patches were"


class Group(NamedTuple):
    """Patches of one size."""

    rows: NDArray[np.int64]
    """Where they stand among all that were given, int64 [n]."""
    patches: NDArray[Any] | list[NDArray[Any]]
    """[n, H, W, C], or n times [H, W, C], in any byte order."""
    size: Size
    """H and W."""


def check_bands(model: BandSpec, patches: BandSpec, whose: str) -> None:
    """Refuse patches whose numbers mean something else than those of the model's training.

    Raises:
        ModelError: bands, type, scale, offset, nodata or units are other ones.
    """
    if others := model.differences(patches):
        raise ModelError(
            f"{whose} is of other patches than the model was trained on: {'; '.join(others)}",
            f"the model takes {model}",
        )


def groups_of(given: Any, bands: BandSpec) -> list[Group]:
    """What was given, by size.

    Args:
        given: see `Patches`.
        bands: of the patches that the model was trained on.

    Raises:
        ModelError: it is something else, of another type than the bands', or of another shape.
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
    wanted = f"{bands.dtype} [B, H, W, {len(bands)}]"
    array = _array(given, wanted, bands)
    if array is None:
        hint = "`landsift predict` classifies files" if isinstance(given, str | bytes) or _is_path(given) else ""
        raise ModelError(
            f"the model takes {wanted}, or a list of arrays [H, W, {len(bands)}]"
            f"{' or PIL images' if _takes_pil(bands) else ''}, not {type(given).__name__}",
            hint or "make an array or a list of it",
        )
    _check(array, wanted, bands, ndim=4)
    return [Group(np.arange(len(array)), array, (array.shape[1], array.shape[2]))]


def _item(item: Any, number: int, bands: BandSpec) -> NDArray[Any]:
    """One of a list, [H, W, C] of the bands' type."""
    count = len(bands)
    wanted = f"{bands.dtype} [H, W, {count}] in a list"
    if _is_pil(item):
        mode = _PIL_MODES[count] if _takes_pil(bands) else None
        if item.mode != mode:
            way = f"give image.convert('{mode}')" if mode else f"give arrays: {bands}"
            if mode and item.mode.startswith(("I", "F")):  # converting would cut values, in silence
                way = _SCALE
            raise ModelError(
                f"the model takes images of {count} bands; number {number} is a PIL image of mode {item.mode}", way
            )
        try:
            pixels: NDArray[np.uint8] = np.asarray(item)
        except Exception as error:  # decoders raise what they meet
            raise ModelError(
                f"the image of number {number} cannot be decoded: {one_line(error)}", "leave it out"
            ) from error
        return pixels[..., None] if count == 1 else pixels
    array = _array(item, wanted, bands)
    if array is None:
        raise ModelError(
            f"the model takes {wanted}{', or PIL images' if _takes_pil(bands) else ''}; number {number} is of type "
            f"{type(item).__name__}",
            "`landsift predict` classifies files" if isinstance(item, str) or _is_path(item) else "make an array of it",
        )
    _check(array, wanted, bands, ndim=3, who=f"; number {number} is")
    return array


def _takes_pil(bands: BandSpec) -> bool:
    """Whether PIL has images of these bands."""
    return bands.dtype == "uint8" and bands.units == BRIGHTNESS and len(bands) in _PIL_MODES


def _array(given: Any, wanted: str, bands: BandSpec) -> NDArray[Any] | None:
    """An array of what is one, or a tensor; None for anything else."""
    torch: Any = sys.modules.get("torch")  # where it is not loaded there is no tensor
    if torch is not None and isinstance(given, torch.Tensor):
        kind = str(given.dtype).removeprefix("torch.")
        if kind != bands.dtype:
            raise _other_type(wanted, kind, list(given.shape), bands)
        if given.layout != torch.strided or given.is_meta:
            raise ModelError(
                f"the model takes {wanted}, not a tensor that is sparse or empty of values", "make it dense"
            )
        tensor: NDArray[Any] = given.detach().cpu().numpy()
        return tensor
    if not hasattr(given, "__array__"):
        return None
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise ModelError(
            "some of the pixels are masked, and the model cannot use masks",
            f"fill them as in the training patches: images.filled({0 if bands.nodata is None else bands.nodata:g})",
        )
    return np.asarray(given)


def _check(array: NDArray[Any], wanted: str, bands: BandSpec, *, ndim: int, who: str = ", not") -> None:
    """Raise ModelError for an array of another type or shape, and for numbers that are none."""
    shape, count = list(array.shape), len(bands)
    kind = array.dtype.newbyteorder("=") if array.dtype.kind in "iuf" else array.dtype
    if kind != bands.numpy_dtype:
        raise _other_type(wanted, str(array.dtype), shape, bands, who)
    if array.ndim == ndim and array.shape[-1] == count and 0 not in array.shape[-3:]:
        _check_numbers(array, bands, who)
        return
    trained = f"patches of {count} bands" if bands.is_rgb8 else str(bands)
    hint = f"it was trained on {trained}; bands come last"
    if array.ndim == ndim and array.shape[-3] == count:
        hint = f"bands come last: give images.transpose({'0, 2, 3, 1' if ndim == 4 else '1, 2, 0'})"
    elif ndim == 4 and array.ndim == 3 and array.shape[-1] == count:
        hint = "of one patch make a batch of one: patch[None]"
    elif ndim == 3 and array.ndim == 4:
        hint = "of batches of one size make one array: numpy.concatenate(images)"
    raise ModelError(f"the model takes {wanted}{who} {bands.dtype} {shape}", hint)


def _check_numbers(array: NDArray[Any], bands: BandSpec, who: str) -> None:
    """Raise ModelError for NaN and infinite numbers that do not mean nodata."""
    if array.dtype.kind != "f":
        return
    strange, missing = ~np.isfinite(array), bands.missing(array)
    count = np.count_nonzero(strange if missing is None else strange & ~missing)
    if count:
        where = who.removeprefix("; ").removesuffix(" is") if who.startswith(";") else "they"
        hold = f"{where} hold{'s' if where != 'they' else ''}"
        raise ModelError(
            f"the model takes numbers; of those given, {hold} {count} that are NaN or infinite",
            "fill them as in the training patches: "
            + (f"nodata is {bands.nodata:g}" if bands.nodata is not None else "it knew no nodata"),
        )


def _other_type(wanted: str, kind: str, shape: list[int], bands: BandSpec, who: str = ", not") -> ModelError:
    hint = _SCALE if bands.dtype == "uint8" else f"its numbers must mean what those of the training did: {bands}"
    if kind == "object":
        hint = "of arrays of different sizes make a list: list(images)"
    elif bands.dtype != "uint8":
        pass
    elif "float" in kind:
        hint = f"of values in [0, 1] give (255 * images).round().astype('uint8'); else {hint}"
    elif kind in {"int16", "int32", "int64", "uint32", "uint64", "int8"}:
        hint = f"of values from 0 to 255 give images.astype('uint8'); else {hint}"
    return ModelError(f"the model takes {wanted}{who} {kind} {shape}", hint)


def _is_pil(given: Any) -> bool:
    from PIL.Image import Image

    return isinstance(given, Image)


def _is_path(given: Any) -> bool:
    return hasattr(given, "__fspath__")
