"""Which patches without a label a split keeps from a pretraining: those of val and test, and what is near them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.config import SplitConfig
from landsift.data.checks.levels import Levels
from landsift.data.checks.near_duplicates import near_copies
from landsift.data.geodesy import blocks, known, within_km
from landsift.data.sources.split_names import SPLIT_NAMES
from landsift.data.splits import Split, given_columns, named_parts

if TYPE_CHECKING:
    from landsift.data.store.patch_store import PatchStore

Rows = NDArray[np.int64]
BY_NAME = ("auto", "column")
"""Kinds of splits that a column `split` may make."""
logger = logging.getLogger("landsift")


def of_other_parts(store: PatchStore, split: SplitConfig) -> Rows:
    """Patches without a label that the source, or `data.split.rows` or `lists`, puts into val or test: int64 [M].

    Raises:
        DataError: the split goes by names, and one names no part.
    """
    rows = store.unlabelled
    names = given_columns(store, split)("split").iloc[rows]
    if split.kind in BY_NAME or split.rows is not None or split.lists is not None:
        return rows[named_parts(names) > 0]
    named = np.array([SPLIT_NAMES.get(str(name).lower(), "") for name in names], dtype=str)
    return rows[np.isin(named, ("val", "test"))]


def kept_apart(store: PatchStore, split: SplitConfig, parts: Split) -> dict[str, Rows]:
    """Patches without a label that must not be learned from, by why; rows int64 [M] each, no row twice.

    `val_and_test`: named so. `groups_of_val_and_test`: of a group that val or test has and train has not.
    `places_of_val_and_test`, where the split is by place: in a block of theirs, within the buffer, or at no known
    place. `near_duplicates_of_val_and_test`: as `landsift data check` finds them. Copies with equal pixels are the
    caller's.

    Args:
        store: the patches.
        split: how the labelled ones are divided.
        parts: the result of that.

    Raises:
        DataError: as `of_other_parts`.
    """
    rows = store.unlabelled
    if not len(rows):
        return {"val_and_test": rows}
    found = {"val_and_test": of_other_parts(store, split)}
    unseen = np.concatenate([parts.val, parts.test])
    left = np.setdiff1d(rows, found["val_and_test"])
    for name, those in (
        ("groups_of_val_and_test", _of_their_groups(store, left, parts.train, unseen)),
        ("places_of_val_and_test", _at_their_places(store, left, split, unseen)),
    ):
        found[name] = np.intersect1d(left, those)
        left = np.setdiff1d(left, those)
    found["near_duplicates_of_val_and_test"] = _nearly_them(store, left, unseen)
    return found


def _of_their_groups(store: PatchStore, rows: Rows, train: Rows, unseen: Rows) -> Rows:
    groups = store.column("group")
    if groups.isna().all():
        return rows[:0]
    values = groups.to_numpy(dtype=object)
    theirs = set(groups.iloc[unseen].dropna()) - set(groups.iloc[train].dropna())
    is_theirs = np.array([value in theirs for value in values[rows]], dtype=bool)
    return np.asarray(rows[is_theirs])


def _at_their_places(store: PatchStore, rows: Rows, split: SplitConfig, unseen: Rows) -> Rows:
    if split.kind != "spatial" or not len(rows):
        return rows[:0]
    places = store.places()
    there = known(places[rows])
    if nowhere := int((~there).sum()):
        message = "%s patches without a label have no location, and may be where val or test is: they are left out"
        logger.warning(message, f"{nowhere:,}")
    unseen = unseen[known(places[unseen])]
    near = ~there
    block = blocks(places[np.concatenate([rows[there], unseen])], split.block_km)
    same = np.isin(block[: there.sum()], block[there.sum() :])
    near[there] = same | within_km(places[rows[there]], places[unseen], split.buffer_km)
    return rows[near]


def _nearly_them(store: PatchStore, rows: Rows, unseen: Rows) -> Rows:
    if not len(rows):
        return rows
    both = np.concatenate([rows, unseen])
    part = np.repeat([0, 1], [len(rows), len(unseen)]).astype(np.int64)
    images: Any = _Some(store.images, both)
    if store.bands.dtype != "uint8" or store.bands.nodata is not None:
        images = Levels(images, store.bands, store.mean, store.std)
    pairs = near_copies(images, part, store.contents()[both])
    return np.unique(both[pairs.earlier])


class _Some:
    """Some of a store's images, read when they are asked for."""

    def __init__(self, images: NDArray[Any], rows: Rows) -> None:
        self._images = images
        self._rows = rows
        self.shape = (len(rows), *images.shape[1:])

    def __getitem__(self, which: Any) -> NDArray[Any]:
        return np.asarray(self._images[self._rows[which]])
