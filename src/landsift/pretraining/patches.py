"""Which patches are learned from: never those of val and test, each content once, in an order without labels."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.config import SplitConfig
from landsift.data.splits import given_columns, make_split
from landsift.errors import DataError

if TYPE_CHECKING:
    from landsift.data.store.patch_store import PatchStore

Rows = NDArray[np.int64]
LEAST = 16
"""Patches that a pretraining needs."""
UNSEEN = ("val", "test")
logger = logging.getLogger("landsift")


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """The patches of a store for the loop, which is given no label: all are -1.

    Attributes:
        store: where they are.
        images: [N, H, W, C], memory-mapped.
        labels: -1 each, int64 [N].
    """

    store: PatchStore
    images: NDArray[Any]
    labels: Rows

    @classmethod
    def of(cls, store: PatchStore) -> Unlabelled:
        """The patches of a store."""
        return cls(store, store.images, np.full(len(store), -1, dtype=np.int64))

    @property
    def bands(self) -> Any:
        """What the numbers mean."""
        return self.store.bands

    @property
    def fingerprint(self) -> str:
        """Of the store."""
        return self.store.fingerprint


def learned_from(store: PatchStore, split: SplitConfig) -> tuple[Rows, dict[str, Any]]:
    """The rows that a pretraining learns from, in the order of their contents' hashes.

    Of labelled patches these are the training patches of `data.split`, whatever its budget. Patches without a label are
    all learned from, but for those that the split gives to val or test by name or by equal pixels. That order, and not
    the store's, which is sorted by class, makes the training independent of labels.

    Args:
        store: the patches.
        split: as for a training of a classifier.

    Returns:
        Rows int64 [M], and for the manifest how many there are and what was left out.

    Raises:
        DataError: there are fewer than 16, or they cannot be divided.
    """
    contents = store.contents()
    unseen = np.zeros(len(store), dtype=bool)
    labelled = np.flatnonzero(store.labels >= 0)
    kept = np.zeros(len(store), dtype=bool)
    if len(labelled):
        try:
            parts = make_split(store, split)
        except DataError as error:
            hint = "data.labels=false learns from all patches, those of val and test too"
            raise DataError(error.message, f"{error.hint}; or {hint}" if error.hint else hint) from None
        unseen[parts.val] = unseen[parts.test] = True
        kept[parts.train] = True
    without = store.unlabelled
    if len(without):
        named = given_columns(store, split)("split").to_numpy(dtype=object)[without]
        unseen[without[np.isin(named.astype(str), UNSEEN)]] = True
        kept[without] = True
    kept &= ~np.isin(contents, np.unique(contents[unseen]))
    hashes = store.column("sha256").to_numpy(dtype=str)
    rows = np.flatnonzero(kept)
    _, first = np.unique(hashes[rows], return_index=True)
    rows = rows[first].astype(np.int64)
    facts = {
        "patches": len(rows),
        "labelled": int((store.labels[rows] >= 0).sum()),
        "of": "the training patches of data.split" if len(labelled) else "all patches",
        "left_out": {
            "val_and_test": int(unseen.sum()),
            "duplicates": int(kept.sum()) - len(rows),
            "others": int((~kept & ~unseen).sum()),
        },
    }
    if len(rows) < LEAST:
        raise DataError(f"there are {len(rows)} different patches to learn from", f"at least {LEAST} are needed")
    logger.info(
        "learning from %s different patches without their labels (%s); left out: %s of val and test, %s duplicates",
        f"{len(rows):,}", facts["of"], f"{int(unseen.sum()):,}", f"{int(kept.sum()) - len(rows):,}",
    )  # fmt: skip
    return rows, facts


def watched(rows: Rows, count: int, seed: int) -> Rows:
    """The patches that measures are taken on, int64 [M], in the order of `rows`."""
    if len(rows) <= count:
        return rows
    return rows[np.sort(np.random.default_rng([seed, 2]).choice(len(rows), count, replace=False))]
