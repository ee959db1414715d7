"""Which patches are learned from: never those of val and test, each content once, in an order without labels."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.config import SplitConfig
from landsift.data.splits import make_split
from landsift.errors import DataError
from landsift.pretraining.kept_apart import kept_apart, of_other_parts

if TYPE_CHECKING:
    from landsift.data.store.patch_store import PatchStore

Rows = NDArray[np.int64]
LEAST = 16
"""Patches that a pretraining needs."""
COMPARED = 64
"""Patches that are looked at to see whether all are nearly the same."""
SAME = 0.03
"""Deviation between patches, in shares of that of all pixels, below which they are copies of one with some noise."""
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
    all learned from, but for those that the split keeps apart (`kept_apart`). That order, and not the store's, which is
    sorted by class, makes the training independent of labels.

    Args:
        store: the patches.
        split: as for a training of a classifier.

    Returns:
        Rows int64 [M], and for the manifest how many there are and what was left out.

    Raises:
        DataError: there are fewer than 16, or they cannot be divided.
    """
    labels = store.labels
    unseen, kept = np.zeros(len(store), dtype=bool), labels < 0
    apart: dict[str, Rows] = {}
    is_labelled = bool((labels >= 0).any())
    if is_labelled:
        try:
            parts = make_split(store, split)
        except DataError as error:
            hint = "data.labels=false learns from all patches, those of val and test too"
            raise DataError(error.message, f"{error.hint}; or {hint}" if error.hint else hint) from None
        unseen[parts.val] = unseen[parts.test] = True
        kept[parts.train] = True
        apart = kept_apart(store, split, parts)
    else:
        apart = {"val_and_test": of_other_parts(store, split)}
    for rows in apart.values():
        kept[rows] = False
    unseen[apart.pop("val_and_test")] = True
    contents = store.contents()
    copies = kept & np.isin(contents, np.unique(contents[unseen]))
    kept &= ~copies
    hashes = store.column("sha256").to_numpy(dtype=str)
    rows = np.flatnonzero(kept)
    _, first = np.unique(hashes[rows], return_index=True)
    rows = rows[first].astype(np.int64)
    left_out = {"val_and_test": int(unseen.sum()), "duplicates": int(kept.sum()) - len(rows)}
    left_out |= {"copies_of_val_and_test": int(copies.sum())} | {name: len(those) for name, those in apart.items()}
    left_out["others"] = len(store) - len(rows) - sum(left_out.values())
    facts = {
        "patches": len(rows),
        "labelled": int((labels[rows] >= 0).sum()),
        "of": "the training patches of data.split" if is_labelled else "all patches",
        "left_out": left_out,
    }
    said = f"{left_out['val_and_test']:,} of val and test, {left_out['duplicates']:,} duplicates"
    more = [name for name in left_out if name not in ("val_and_test", "duplicates") and left_out[name]]
    said += "".join(f", {left_out[name]:,} {name.replace('_', ' ')}" for name in more)
    if len(rows) < LEAST:
        raise DataError(
            f"{len(rows)} different patches are left to learn from, of {len(store):,} (left out: {said})",
            f"at least {LEAST} are needed: give more patches",
        )
    message = "learning from %s different patches without their labels (%s); left out: %s"
    logger.info(message, f"{len(rows):,}", facts["of"], said)
    return rows, facts


def watched(rows: Rows, count: int, seed: int) -> Rows:
    """The patches that measures are taken on, int64 [M], in the order of `rows`."""
    if len(rows) <= count:
        return rows
    return rows[np.sort(np.random.default_rng([seed, 2]).choice(len(rows), count, replace=False))]


def alike(images: NDArray[Any], rows: Rows) -> str:
    """That patches are nearly the same, in words; "" where they are not.

    Args:
        images: of the store, [N, H, W, C].
        rows: some of them, int64 [M].
    """
    step = max(1, min(images.shape[1:3]) // 32)
    stored = np.asarray(images[rows[:COMPARED]])[:, ::step, ::step]
    values = np.nan_to_num(stored.astype(np.float64), posinf=0.0, neginf=0.0)
    between = float(np.sqrt(values.var(axis=0).mean()))
    if np.issubdtype(images.dtype, np.integer) and between < 1.0:
        return f"the patches themselves are nearly the same: their pixels differ by {between:.2g} levels"
    if between < SAME * float(values.std()):
        share = between / float(values.std())
        return (
            f"the patches themselves are nearly the same: pixels differ between patches by {share:.2g} of their "
            "deviation within them"
        )
    return ""
