"""Patches answered batch by batch: what is the same whatever runs the network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.errors import ModelError
from landsift.image_sizes import Size, by, is_scene
from landsift.models.input_checks import groups_of

if TYPE_CHECKING:
    from landsift.models.input_checks import Patches
    from landsift.models.model_json import ModelDescription

logger = logging.getLogger("landsift")

PIXELS_PER_THREAD = 8 * 224**2
"""Input pixels that a CPU takes at a time; with more, what the layers hand on falls out of the cores' caches."""
Answer = Callable[[NDArray[Any]], NDArray[np.float32]]
"""From patches of one size, [b, H, W, C] of the model's type, to float32 [b, width]."""


def answer_all(
    images: Patches,
    description: ModelDescription,
    width: int,
    batch_size: int,
    at_a_time: Callable[[Size, int], int],
    answer: Answer,
    told: set[Size],
) -> NDArray[np.float32]:
    """The answers to patches of any sizes, float32 [B, width]; row i belongs to patch i.

    Args:
        images: as of `Predictor`.
        description: of the model.
        width: of an answer.
        batch_size: patches per batch at most.
        at_a_time: from the size of patches and `batch_size` to how many are answered at a time.
        answer: that answers.
        told: sizes of which it was said that they look like scenes; more are added.

    Raises:
        ModelError: the patches are of another type or shape, or there is no such batch size.
    """
    if not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise ModelError(f"batch_size {batch_size} is not a number of patches", "give 1 or more")
    bands = description.bands
    groups = groups_of(images, bands)
    out = np.empty((sum(len(group.rows) for group in groups), width), dtype=np.float32)
    empty = 0
    for group in groups:
        _tell(group.size, description.patch_size, told)
        step = at_a_time(group.size, batch_size)
        for start in range(0, len(group.rows), step):
            batch = np.array(  # a copy: what is given may be read-only, or of another byte order
                group.patches[start : start + step], dtype=bands.numpy_dtype, order="C"
            )
            missing = bands.missing(batch)
            empty += 0 if missing is None else int(np.count_nonzero(missing.all(axis=(1, 2, 3))))
            out[group.rows[start : start + step]] = answer(batch)
    if empty:
        logger.warning("%d of %d patches hold no data: their answers say nothing of them", empty, len(out))
    return out


def _tell(size: Size, own: Size, told: set[Size]) -> None:
    """Say once of each size that patches of it look like scenes."""
    if size in told or not is_scene(size, own):
        return
    told.add(size)
    logger.warning(
        "images of %s pixels are predicted as a single patch each; the model was trained on patches of %s pixels: "
        "`landsift map` maps scenes",
        by(size),
        by(own),
    )
