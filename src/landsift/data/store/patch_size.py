"""At which size patches are stored, and what that does to files of other sizes."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from landsift.errors import DataError
from landsift.image_sizes import SCENE, SQUEEZED, Size, by, is_squeezed

MAX_SIDE = 4096
"""Largest height and width of a patch in pixels, as of data.patch_size."""
MIN_SIDE = 8
"""Smallest one, as of data.patch_size."""
COMMON = 0.5
"""Share of the files that must have the most common size for it to be that of all."""

Sizes = NDArray[np.int32]

_log = logging.getLogger("landsift")


def stored_size(sizes: Sizes, configured: int | None) -> Size:
    """Height and width that all patches are stored at.

    The configured ones; else those of at least half of the files, of two such sizes the larger; else a square as high
    as the median of the files' shorter sides, which a warning says.

    Args:
        sizes: Height and width of each file that can be read, [N, 2], N at least 1.
        configured: data.patch_size.

    Raises:
        DataError: the files are larger than a patch may be.
    """
    if configured is not None:
        return configured, configured
    found, counts = np.unique(sizes, axis=0, return_counts=True)  # ascending
    most = int(counts.max())
    common: Size = tuple(found[counts == most][-1].tolist())
    if most >= COMMON * len(sizes):
        if max(common) > MAX_SIDE:
            raise DataError(
                f"most images are of {by(common)} pixels, more than a patch of {MAX_SIDE} × {MAX_SIDE}",
                "cut them into patches, or set data.patch_size",
            )
        return common
    side = int(np.clip(np.median(sizes.min(axis=1)), MIN_SIDE, MAX_SIDE))
    _log.warning(
        "no size is common: %d files have %d sizes, the most common of them %s with %d; all are stored at %s pixels, "
        "the median of their shorter sides (data.patch_size sets another)",
        len(sizes),
        len(found),
        by(common),
        most,
        by((side, side)),
    )
    return side, side


def resized(sizes: Sizes, size: Size) -> int:
    """How many files have another size than the patches."""
    return int((sizes != size).any(axis=1).sum())


def squeezed(sizes: Sizes, size: Size) -> NDArray[np.int64]:
    """Rows of the files whose shape changes much when they are brought to the patches' size."""
    found, which = np.unique(sizes, axis=0, return_inverse=True)
    return np.flatnonzero(np.array([is_squeezed((h, w), size) for h, w in found.tolist()], dtype=bool)[which.ravel()])


def tell(sizes: Sizes, size: Size, path: Callable[[int], str], *, chosen: bool) -> None:
    """Say what the patches' size does to files of other sizes.

    Args:
        sizes: Height and width of each file, [N, 2].
        size: That of the patches.
        path: The file of a row.
        chosen: Whether somebody chose the size; then large files are meant to become small patches.
    """
    if count := resized(sizes, size):
        others = sizes[(sizes != size).any(axis=1)]
        area = others.prod(axis=1, dtype=np.int64)
        least, most = (by(tuple(others[at].tolist())) for at in (area.argmin(), area.argmax()))
        between = f"from {least}" if least == most else f"from sizes between {least} and {most}"
        _log.info("%d of %d patches were resized to %s pixels, %s", count, len(sizes), by(size), between)
    if is_squeezed(size, (1, 1)):
        _log.warning("patches are of %s pixels: networks see squares, and they are squeezed into them", by(size))
    rows = squeezed(sizes, size)
    if len(rows):
        _log.warning(
            "%d of %d patches are squeezed: the ratio of their sides is another than that of %s by a factor of %g or "
            "more; the first: %s (%s)",
            len(rows),
            len(sizes),
            by(size),
            SQUEEZED,
            path(int(rows[0])),
            by(tuple(sizes[rows[0]].tolist())),
        )
    scenes = np.flatnonzero((sizes >= SCENE * np.asarray(size)).any(axis=1))
    if len(scenes) and not chosen:
        _log.warning(
            "%d of %d files hold more than one patch of %s pixels and become a single one each: if they are scenes, "
            "cut them into patches first; the first: %s (%s)",
            len(scenes),
            len(sizes),
            by(size),
            path(int(scenes[0])),
            by(tuple(sizes[scenes[0]].tolist())),
        )
