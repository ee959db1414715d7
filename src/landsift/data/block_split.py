"""A split by place: blocks of the Earth's surface are dealt whole to train, val and test, with a buffer between them.

Patches near each other look alike: same soil, same scene, same weather of the same day. A test patch that has a
training patch beside it says how a model does there, not elsewhere (Roberts et al. 2017; Ploton et al. 2020).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from landsift.config import SplitConfig
from landsift.data.geodesy import Places, blocks, known, within_km
from landsift.data.group_split import NoSplitError, deal_groups, gives_way, group_numbers, part_sizes
from landsift.errors import DataError
from landsift.runtime.notices import once

if TYPE_CHECKING:
    import pandas as pd

Ints = NDArray[np.int64]

PARTS = ("train", "val", "test")
MOST_UNPLACED = 0.1
"""Share of patches without a place, from which a split by place is refused."""
MUCH = 0.1
"""Share of patches that a buffer takes, from which that is a warning."""
SIZES_KM = tuple(m * 10.0**e for e in range(-1, 4) for m in (1, 2, 5))
"""Block sizes that are tried where the asked one does not do."""
_log = logging.getLogger("landsift")


class _VanishesError(Exception):
    """A class would not be in a part: `text` says which, and why."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True, eq=False)
class _Placed:
    """Patches with a place, [n] each."""

    labels: Ints
    contents: Ints
    places: Places
    groups: Ints | None
    """Equal within a group; of patches without one, one each."""
    classes: Sequence[str]


def spatial_parts(
    labels: Ints, contents: Ints, places: Places, groups: pd.Series, classes: Sequence[str], split: SplitConfig
) -> Ints:
    """The part of each patch: 0, 1, 2, or -1 for those in none, [N].

    Blocks that share a group are dealt as one. Of patches with equal pixels in several parts, those in train give way
    to those in val and test, and those in val to those in test; the same rule keeps the buffer. What is left out is
    said and counted.

    Args:
        labels: class of each patch, [N].
        contents: equal for equal pixels, [N].
        places: longitude and latitude, [N, 2], NaN where it is not known.
        groups: names of what must stay together, missing where a patch has none.
        classes: K names.
        split: sizes of blocks and buffer, fractions and seed.

    Raises:
        DataError: more than a tenth of the patches have no place, or a class would vanish from a part; then it names
            the class, and the size of blocks that works.
    """
    rows = np.flatnonzero(known(places))
    if not len(rows):
        raise DataError(
            "data.split.kind=spatial needs the locations of the patches, and none is known",
            "give data.locations=FILE, a table with lon and lat, or georeferenced rasters",
        )
    if missing := len(labels) - len(rows):
        text = f"{missing:,} of {len(labels):,} patches have no location"
        if missing > MOST_UNPLACED * len(labels):
            hint = f"at most {100 * MOST_UNPLACED:.0f} % may be in no part: add their locations, or leave them out"
            raise DataError(f"{text}, which data.split.kind=spatial needs", hint)
        once(logging.WARNING, f"{text}, and are in no part of the split")
    named = group_numbers(groups)
    of_rows = None if named is None else named[rows]
    placed = _Placed(labels[rows], contents[rows], places[rows], of_rows, classes)
    try:
        part = _parts(placed, split.block_km, split, tell=True)
    except _VanishesError as error:
        raise DataError(error.text, _size_that_does(placed, split)) from None
    found = np.full(len(labels), -1, dtype=np.int64)
    found[rows] = part
    return found


def units_of(places: Places, groups: Ints | None, block_km: float) -> Ints:
    """What is dealt whole: blocks, and blocks that share a group as one, a number each from 0, [n]."""
    unit = blocks(places, block_km)
    if groups is None:
        return unit
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    B, G = unit.max() + 1, np.unique(groups, return_inverse=True)[1]
    size = int(B + G.max() + 1)
    links = coo_array((np.ones(len(unit)), (unit, B + G)), shape=(size, size))
    component = connected_components(links, directed=False)[1][unit]
    return np.unique(component, return_inverse=True)[1].astype(np.int64)


def _parts(placed: _Placed, block_km: float, split: SplitConfig, *, tell: bool = False) -> Ints:
    """The part of each patch for one size of blocks; raises _VanishesError."""
    labels, classes, K = placed.labels, placed.classes, len(placed.classes)
    unit = units_of(placed.places, placed.groups, block_km)
    count = int(unit.max()) + 1
    of_blocks = f"{count:,} block{'s' * (count > 1)} of {block_km:g} km"
    if placed.groups is not None and (single := int(blocks(placed.places, block_km).max()) + 1) > count:
        of_blocks = f"{count:,} (of {single:,} blocks of {block_km:g} km, joined by shared groups)"
    rng = np.random.default_rng([split.seed, 0])
    if split.folds is None:
        part = _dealt(labels, unit, classes, split.fractions, rng, of_blocks)
    else:
        part = np.full(len(labels), 2, dtype=np.int64)
        fold = _dealt(labels, unit, classes, [1 / split.folds] * split.folds, rng, of_blocks, "fold")
        rest, of_fold = np.flatnonzero(fold != split.fold), np.random.default_rng([split.seed, 2, split.fold or 0])
        numbers = np.unique(unit[rest], return_inverse=True)[1].astype(np.int64)
        part[rest] = _dealt(labels[rest], numbers, classes, split.fractions[:2], of_fold, of_blocks)
    copies = gives_way(part, placed.contents)
    part[copies] = -1
    near = _in_buffer(part, placed.places, split.buffer_km)
    near_train, near_val = int((near & (part == 0)).sum()), int((near & (part == 1)).sum())
    part[near] = -1
    present = np.bincount(labels[part >= 0] * 3 + part[part >= 0], minlength=3 * K).reshape(K, 3) > 0
    if not present.all():
        c, p = np.argwhere(~present)[0]
        left_out = f"the buffer of {split.buffer_km:g} km takes" if near.any() else "copies in other parts take"
        raise _VanishesError(f"class '{classes[c]}' would vanish from {PARTS[p]}: {left_out} its last patches")
    if tell:
        _tell(part, unit, of_blocks, copies, (near_train, near_val), split)
    return part


def _dealt(
    labels: Ints,
    unit: Ints,
    classes: Sequence[str],
    fractions: Sequence[float],
    rng: np.random.Generator,
    of: str,
    what: str = "part",
) -> Ints:
    """The part of each patch, blocks dealt whole, [n]; raises _VanishesError where a class cannot be in all parts."""
    needed = len(fractions)
    seats = np.zeros((len(classes), needed), dtype=np.int64)
    for c, name in enumerate(classes):
        members = labels == c
        here = len(np.unique(unit[members]))
        if here < needed:
            there = "in no block" if not here else "in one block" if here == 1 else f"in {here} blocks"
            text = f"class '{name}' would vanish from a {what}: of {of} it is {there}, {needed} are needed"
            raise _VanishesError(text)
        seats[c] = part_sizes(int(members.sum()), fractions)
    try:
        return deal_groups(labels, unit, seats, rng)
    except NoSplitError as error:
        those = " and ".join(f"'{classes[c]}'" for c in error.classes[:5])
        raise _VanishesError(f"of {of}, no split was found that has {those} in all {needed} {what}s") from None


def _in_buffer(part: Ints, places: Places, buffer_km: float) -> NDArray[np.bool_]:
    """Which patches are too near to a later part: those of val to test, those of train to what is left of both."""
    near = np.zeros(len(part), dtype=np.bool_)
    if buffer_km:
        for p in (1, 0):
            rows = np.flatnonzero(part == p)
            near[rows] = within_km(places[rows], places[(part > p) & ~near], buffer_km)
    return near


def _tell(
    part: Ints, unit: Ints, of_blocks: str, copies: NDArray[np.bool_], near: tuple[int, int], split: SplitConfig
) -> None:
    sides = [len(np.unique(unit[part == p])) for p in range(len(PARTS))]
    fold = "" if split.fold is None else f", fold {split.fold + 1}"
    text = "spatial split%s: of %s %s are in train, %s in val, %s in test"
    _log.info(text, fold, of_blocks, *map("{:,}".format, sides))
    if copies.any():
        _log.warning("%s patches are left out: patches with identical pixels are in a later part", f"{copies.sum():,}")
    if any(near):
        loud = sum(near) > MUCH * len(part)
        _log.log(
            logging.WARNING if loud else logging.INFO,
            "%s patches are left out because they are within %g km of a later part: %s of train, %s of val",
            *(f"{sum(near):,}", split.buffer_km, f"{near[0]:,}", f"{near[1]:,}"),
        )


def _size_that_does(placed: _Placed, split: SplitConfig) -> str:
    """What to do where the asked size of blocks does not: the nearest one that does, by the same rule and seed."""
    asked = split.block_km
    for size in sorted(SIZES_KM, key=lambda size: abs(np.log(size / asked))):
        if size == asked:
            continue
        try:
            for each in _folds_of(split):
                _parts(placed, size, each)
        except _VanishesError:
            continue
        return f"data.split.block_km={size:g} works"
    others = ["fewer folds"] * (split.folds is not None) + ["a smaller buffer"] * (split.buffer_km > 0)
    others += ["smaller groups"] * (placed.groups is not None)
    return (
        f"no size from {SIZES_KM[0]:g} to {SIZES_KM[-1]:,.0f} km works: label patches of the class in more places"
        f"{''.join(f', {other}' for other in others)}, or leave the class out"
    )


def _folds_of(split: SplitConfig) -> list[SplitConfig]:
    """The split, or those of all folds: a cross-validation needs every one of them."""
    if split.folds is None:
        return [split]
    return [split.model_copy(update={"fold": fold}) for fold in range(split.folds)]
