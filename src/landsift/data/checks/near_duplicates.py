"""Near copies: patches that show the same picture, turned, flipped, brightened or compressed again.

A patch is reduced to 32 × 32 pixels and described by its discrete cosine transform, as perceptual hashes do (Zauner,
"Implementation and Benchmarking of Perceptual Image Hash Functions", 2010). The coefficients themselves are compared,
not bits made of them: in a smooth patch (water) the bits are noise. A flip changes the signs of coefficients and a
quarter turn swaps them as well, so that a pair is compared under all eight flips and turns with two products.

Candidates are pairs whose colour and contrast, which no flip and no turn changes, lie close together: a k-d tree finds
them. Whether a candidate is a near copy, the likeness decides: the correlation of two patches in grey under the best of
the eight symmetries, first of the 8 × 8 lowest frequencies, then of all up to the tenth. Frequencies are weighted by
their number, as in a derivative, so that edges and texture count and not large areas: else any two patches that a
field's border divides alike would pass for copies. Areas without data (`emptiness.py`) have the mean colour of the rest
first: else any two patches at a scene's edge would pass for copies. `benchmarks/near_copies.py` measures what this
finds.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from landsift.data.checks.levels import Levels
from landsift.data.checks.no_data import filled
from landsift.runtime.progress_bar import progress_bar

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Images: TypeAlias = "NDArray[np.uint8] | Levels"

SIMILAR = 0.93
"""Likeness from which two patches are near copies."""
BRIGHTER = 10.0
"""By how many of the 255 levels the mean of all bands may differ."""
TINTED = 3.0
"""By how many levels more than that mean a band may differ."""
CONTRAST = 1.25
"""By what factor the contrasts of coarse, middling and fine structures in grey may differ."""
FAINT = 0.02
"""Levels of contrast (standard deviation) below which a patch shows nothing that could be compared."""

_SIDE = 32  # pixels of the reduced patch
_LOW = 8  # frequencies per direction of the sketch
_HIGHEST = 10  # frequency that is compared: above it, copies that are moved by a pixel differ
_CANDIDATE = 0.9  # likeness of two sketches, from which their patches are compared
_RINGS = (0.0, 2.0, 4.0, 10.0)  # frequencies that bound coarse, middling and fine structures
_CHUNK_BYTES = 2**25  # of pixels, as float32, at once
_QUERIES, _PAIRS, _DETAILS = 2**10, 2**16, 2**8  # at once


class Pairs(NamedTuple):
    """Near copies in different parts of a split, the most alike first."""

    earlier: Rows
    """Row of the patch in the earlier part (train before val before test), [P]."""
    later: Rows
    """Row of the patch in the later part, [P]."""
    likeness: Floats
    """Correlation of the two under the best symmetry, [P]."""


class Sketches(NamedTuple):
    """What is kept of N patches: about 400 bytes of each."""

    means: Floats
    """Mean level of each band, [N, C]."""
    contrasts: Floats
    """Standard deviations of coarse, middling and fine structures in grey, in levels, [N, 3]."""
    shape: Floats
    """The low frequencies in grey, weighted and of length 1, [N, 8, 8]."""


def near_copies(images: Images, part: Rows, contents: Rows) -> Pairs:
    """Find near copies in different parts of a split.

    Exact copies are left out. Memory: some 400 bytes per patch.

    Args:
        images: uint8 [N, H, W, C]; may be memory-mapped. Others than 8-bit pictures as levels.
        part: The part of each patch (0, 1, 2), -1 for none, [N].
        contents: A number per patch, equal for equal pixels, [N].
    """
    sketches = sketch(images)
    found: list[tuple[Rows, Rows, Floats]] = []
    for earlier, later in _candidates(sketches, part):
        other = contents[earlier] != contents[later]
        earlier, later = earlier[other], later[other]
        alike = likeness(sketches.shape[earlier], sketches.shape[later]) >= _CANDIDATE
        for start in range(0, np.count_nonzero(alike), _DETAILS):
            a, b = (rows[alike][start : start + _DETAILS] for rows in (earlier, later))
            full = likeness(details(images[a]), details(images[b]))
            sure = full >= SIMILAR
            found.append((a[sure], b[sure], full[sure]))
    if not found:
        nobody = np.empty(0, dtype=np.int64)
        return Pairs(nobody, nobody, np.empty(0, dtype=np.float32))
    one, other, how = zip(*found, strict=True)
    pairs = Pairs(np.concatenate(one), np.concatenate(other), np.concatenate(how))
    order = np.lexsort((pairs.later, pairs.earlier, -pairs.likeness))
    return Pairs(pairs.earlier[order], pairs.later[order], pairs.likeness[order])


def sketch(images: Images) -> Sketches:
    """Describe patches, [N, H, W, C]."""
    N, H, W, C = images.shape
    means, contrasts = (np.empty((N, columns), dtype=np.float32) for columns in (C, len(_RINGS) - 1))
    shape = np.empty((N, _LOW, _LOW), dtype=np.float32)
    frequency = _frequencies(_LOW).reshape(-1, 1)
    rings = ((frequency > _RINGS[:-1]) & (frequency <= _RINGS[1:])).astype(np.float32)
    step = max(1, _CHUNK_BYTES // (4 * H * W * C))
    with progress_bar("Describing patches", N) as advance:
        for start in range(0, N, step):
            here = slice(start, start + step)
            found = coefficients(filled(images[here]), _LOW)
            means[here] = found[:, 0, 0]
            grey = found.mean(axis=-1)
            contrasts[here] = np.sqrt((grey**2).reshape(-1, _LOW**2) @ rings)
            shape[here] = _weighted(grey)
            advance(len(found))
    return Sketches(means, contrasts, shape)


def details(images: NDArray[np.uint8] | Floats) -> Floats:
    """What is compared of candidates, [N, H, W, C]: weighted frequencies of length 1, [N, 11, 11]."""
    return _weighted(coefficients(filled(images), _HIGHEST + 1).mean(axis=-1))


def coefficients(images: NDArray[np.uint8] | Floats, count: int) -> Floats:
    """The lowest frequencies of patches reduced to 32 × 32 pixels.

    Args:
        images: Values of 0 to 255, [N, H, W, C].
        count: Frequencies per direction, K, at most 32.

    Returns:
        Coefficients in levels, [N, K, K, C]: the first is the mean, the squares of all 32 × 32 add up to the mean
        square.
    """
    N, H, W, C = images.shape
    down = (_basis(H, count) @ images.astype(np.float32).reshape(N, H, W * C)).reshape(N, count, W, C)
    across: Floats = np.einsum("vw,nuwc->nuvc", _basis(W, count), down, optimize=True)
    return across


def likeness(a: Floats, b: Floats) -> Floats:
    """Correlation of patches under the best of the eight flips and turns of one of them.

    Args:
        a: Coefficients of length 1 and without the mean, [P, K, K].
        b: The same of the others.

    Returns:
        -1 to 1, [P]; 1 where both show the same.
    """
    P, K = a.shape[:2]
    best = np.full(P, -1.0, dtype=np.float32)
    turned = np.swapaxes(b, 1, 2)
    signs = _flip_signs(K)
    for start in range(0, P, _PAIRS):
        here = slice(start, start + _PAIRS)
        for other in (b, turned):
            correlations = (a[here] * other[here]).reshape(-1, K * K) @ signs
            np.maximum(best[here], correlations.max(axis=1), out=best[here])
    return best


def _candidates(sketches: Sketches, part: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of rows in different parts that may be near copies, the one in the earlier part first; in pieces."""
    from scipy.spatial import cKDTree

    rows = np.flatnonzero((part >= 0) & (sketches.contrasts.max(axis=1) >= FAINT))
    if not len(rows):
        return
    places = _places(sketches, rows)
    tree = cKDTree(places, balanced_tree=False, compact_nodes=False)  # a median at every node would cost more
    queries = np.flatnonzero(part[rows] > 0)
    with progress_bar("Comparing patches", len(queries)) as advance:
        for start in range(0, len(queries), _QUERIES):
            some = queries[start : start + _QUERIES]
            near = tree.query_ball_point(places[some], 1.0, p=np.inf, return_sorted=False)
            later = rows[np.repeat(some, [len(n) for n in near])]
            earlier = rows[np.fromiter(chain.from_iterable(near), dtype=np.int64, count=len(later))]
            apart = (part[earlier] >= 0) & (part[earlier] < part[later])
            yield earlier[apart], later[apart]
            advance(len(some))


def _places(sketches: Sketches, rows: Rows) -> NDArray[np.float64]:
    """Where patches lie: near copies are less than 1 apart in every direction, [len(rows), directions]."""
    level = sketches.means[rows].mean(axis=1, keepdims=True)
    contrasts = np.log(np.maximum(sketches.contrasts[rows], FAINT)) / np.log(CONTRAST)
    return np.concatenate([level / BRIGHTER, (sketches.means[rows] - level) / TINTED, contrasts], axis=1)


def _weighted(found: Floats) -> Floats:
    """Coefficients [N, K, K] weighted by their frequency, and of length 1."""
    frequency = _frequencies(found.shape[1])
    found = found * np.where(frequency <= _HIGHEST, frequency, 0.0).astype(np.float32)
    found /= np.maximum(np.linalg.norm(found, axis=(1, 2), keepdims=True), 1e-6)
    return found


def _frequencies(count: int) -> NDArray[np.float64]:
    """The frequency of each coefficient (u, v), in half waves per patch, [count, count]."""
    frequencies: NDArray[np.float64] = np.hypot(*np.indices((count, count)))
    return frequencies


def _basis(pixels: int, count: int) -> Floats:
    """What takes `pixels` values to the lowest `count` frequencies of their 32 means, [count, pixels]."""
    edges = np.linspace(0.0, pixels, _SIDE + 1)
    place = np.arange(pixels)
    overlap = np.minimum(edges[1:, None], place + 1) - np.maximum(edges[:-1, None], place)
    means = np.clip(overlap, 0.0, None) * (_SIDE / pixels)
    frequency, x = np.arange(count)[:, None], np.arange(_SIDE)
    cosines = np.cos(np.pi * (x + 0.5) * frequency / _SIDE) * np.sqrt(2.0) / _SIDE
    cosines[0] /= np.sqrt(2.0)
    basis: Floats = (cosines @ means).astype(np.float32)
    return basis


def _flip_signs(count: int) -> Floats:
    """Signs of coefficients (u, v) under no flip, one, the other and both: [count², 4]."""
    odd = np.arange(count) % 2
    u, v = 1 - 2 * odd[:, None], 1 - 2 * odd[None, :]
    flips = [np.broadcast_to(sign, (count, count)).ravel() for sign in (np.ones((1, 1)), u, v, u * v)]
    return np.stack(flips, axis=1).astype(np.float32)
