"""Areas of a patch in which there is no data: beyond a scene's edge, under a mask, in a tile that was left out.

They hold one value, but which one the patch does not say: 0, 255, a declared no-data value, the colour below a
transparent alpha band. They are told by how they look. An area counts as empty if

- it is of exactly one colour, connected, and touches the patch's border: scenes end at a patch's edge, and noise, which
  every sensor has, leaves no large area of one colour;
- it is exact in its depth. Compressing an image spoils colours up to 16 pixels from an edge (the blocks of JPEG), and
  not beyond. Water that JPEG has made flat consists of several such areas, of slightly different colours;
- it ends abruptly: the rest differs by some levels, and where the area ends a good part of that lies between two
  neighbouring pixels. Of white areas more is asked than of others, for clouds and snow saturate: if they are not exact
  up to their edge, then they end in straight lines, as scenes do.

`benchmarks/empty_areas.py` measures what this finds, and what it takes for empty that is not: docs/data-check.md.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

SMALLEST = 1 / 16
"""Share of a patch, below which an area of one colour is nothing to speak of."""


class Edge(NamedTuple):
    """What is asked of the edge of an empty area."""

    contrast: int
    """Levels by which the rest of the patch differs at least."""
    step: float
    """Share of that difference between a pixel and its neighbour, at least, where the area ends ..."""
    share: float
    """... and along how much of the edge."""


EDGES = {"exact": Edge(12, 1 / 3, 1 / 3), "spoiled": Edge(24, 1 / 3, 1 / 3), "white": Edge(60, 1 / 2, 1 / 2)}
"""By kind of area: exact up to its edge, spoiled there by compressing or resizing, or as white as saturated clouds."""
WHITE = 250
"""Levels of all bands from which an area might be saturated."""

_ODD = 0x9E3779B1
_BLOCK = 16  # pixels: JPEG's, with its colours at half the resolution
_NEAR = 8  # pixels, within which an area's border is looked for: a block of brightness
_EXACT = 0.99  # share of an area's depth that must be of exactly its colour
_SHARP = 0.995  # share of a white area that must be of exactly its colour, if its edge may be of any shape
_CONVEX = 0.955  # share of an area, or else of the rest, in its convex hull, if its edge is straight
_PIECE = 1 / 64  # of a patch: the smallest connected piece of an area
_REST = 1 / 256  # of a patch: an area must leave more than that


def empty_areas(images: NDArray[np.uint8]) -> Mask:
    """Which pixels of patches belong to empty areas.

    Args:
        images: uint8 [N, H, W, C]; may be memory-mapped.

    Returns:
        [N, H, W]
    """
    codes = np.zeros(
        images.shape[:-1], dtype=np.uint32
    )  # one per colour, of more than three bands as good as certainly
    for band in range(images.shape[-1]):
        codes += images[..., band] * np.uint32(pow(_ODD, band + 1, 2**32))
    empty = np.zeros(codes.shape, dtype=bool)
    # A patch with an area of one colour has many pixels that are like those above and to the left of them.
    flat = (codes[:, 1:, 1:] == codes[:, :-1, 1:]) & (codes[:, 1:, 1:] == codes[:, 1:, :-1])
    least = 0.75 * SMALLEST * flat[0].size if len(images) else 0
    for row in np.flatnonzero(np.count_nonzero(flat, axis=(1, 2)) >= least):
        colours, counts = np.unique(codes[row, 1:, 1:][flat[row]], return_counts=True)
        for colour in colours[counts >= least]:
            empty[row] |= _empty_area(images[row], codes[row] == colour)
    return empty


def filled(images: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Patches whose empty areas, and what compressing spoils beside them, have the mean colour of the rest.

    So they look like nothing. A patch of which nothing is left has its own mean colour.

    Args:
        images: uint8 [N, H, W, C]; may be memory-mapped. Levels as floats have been filled where data is missing.

    Returns:
        [N, H, W, C], as they are where none has an empty area.
    """
    from scipy import ndimage

    if images.dtype != np.uint8:
        return images
    empty = empty_areas(images.view(np.uint8))
    rows = np.flatnonzero(empty.any(axis=(1, 2)))
    if not len(rows):
        return images
    without = images.astype(np.float32)
    for row in rows:
        hidden = ndimage.distance_transform_cdt(~empty[row]) <= _NEAR
        rest = without[row][~hidden] if not hidden.all() else without[row].reshape(-1, images.shape[-1])
        without[row][hidden] = rest.mean(axis=0)
    return without


def _empty_area(pixels: NDArray[np.uint8], exact: Mask) -> Mask:
    """The empty area of one colour in a patch [H, W, C], as far as it is one.

    Args:
        pixels: The patch.
        exact: Which of its pixels have the colour, [H, W].
    """
    from scipy import ndimage

    nothing = np.zeros_like(exact)
    core = _at_border(exact)
    if core.sum() < SMALLEST * core.size:
        return nothing
    values = pixels.astype(np.int16)
    colour = values[core][0]
    away = np.abs(values - colour).max(axis=-1)  # levels, in the band that differs most
    area = ndimage.binary_propagation(core, mask=away <= 6 + colour.max() // 24)  # with what compressing has spoiled
    rest = ~area
    if rest.sum() <= _REST * rest.size:
        return nothing
    depth = ndimage.distance_transform_cdt(area) > _BLOCK
    if depth.sum() < SMALLEST / 2 * depth.size:  # no pixel is deep enough to be sure of
        is_exact = core.sum() >= area.sum() / 2
    else:
        is_exact = (core & depth).sum() >= _EXACT * depth.sum()
    kind = "white" if colour.min() >= WHITE else "exact" if core.sum() >= 0.98 * area.sum() else "spoiled"
    edge, contrast = EDGES[kind], float(np.median(away[rest]))
    if not is_exact or contrast < edge.contrast:
        return nothing
    from_area = ndimage.distance_transform_cdt(rest)  # of the pixels of the rest
    around, border = (from_area > 0) & (from_area <= _NEAR), ndimage.binary_dilation(area) & rest
    steps = (_steps(away, contrast / 2) >= edge.step * contrast)[around].sum()
    if steps < edge.share * border.sum():
        return nothing
    if kind == "white" and core.sum() < _SHARP * area.sum() and max(_convexity(area), _convexity(rest)) < _CONVEX:
        return nothing
    found: Mask = area
    return found


def _at_border(mask: Mask) -> Mask:
    """The connected pieces of a mask that touch the patch's border, but for specks."""
    from scipy import ndimage

    pieces, count = ndimage.label(mask)
    touching = np.zeros(count + 1, dtype=bool)
    for edge in (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]):
        touching[edge] = True
    touching[0] = False
    wanted: Mask = (touching & (np.bincount(pieces.ravel(), minlength=count + 1) >= _PIECE * mask.size))[pieces]
    return wanted


def _convexity(mask: Mask) -> float:
    """How much of the convex hulls of its connected pieces, but for specks, a mask fills: 1 if edges are straight."""
    from scipy import ndimage
    from scipy.spatial import ConvexHull, QhullError

    pieces, count = ndimage.label(mask)
    places = np.argwhere(np.ones_like(mask))
    filled = hulls = 0
    for piece in range(1, count + 1):
        pixels = np.argwhere(pieces == piece)
        if len(pixels) < _PIECE * mask.size:
            continue
        filled += len(pixels)
        try:
            sides = ConvexHull(pixels).equations
            hulls += int((places @ sides[:, :2].T + sides[:, 2] <= 1e-9).all(axis=1).sum())
        except QhullError:  # all in one line
            hulls += len(pixels)
    return filled / hulls if hulls else 0.0


def _steps(away: NDArray[np.int16], half: float) -> NDArray[np.int16]:
    """By how much each pixel is farther away than the nearest of its four neighbours, if that is within `half`."""
    from scipy import ndimage

    nearest = ndimage.minimum_filter(away, footprint=ndimage.generate_binary_structure(2, 1), mode="nearest")
    steps: NDArray[np.int16] = np.where(nearest <= half, away - nearest, 0)
    return steps
