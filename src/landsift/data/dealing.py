"""Which patches go to which part: by class, such that units (groups, copies of one another) stay together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from landsift.config import SplitConfig
from landsift.data.group_split import NoSplitError, deal_groups, largest_remainder, part_sizes
from landsift.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Rows = NDArray[np.int64]

PARTS = ("train", "val", "test")
_TRIES = 50  # random orders in which copies are dealt before the search that groups go through


def drawn(
    labels: Rows, classes: Sequence[str], units: Rows, kind: str, split: SplitConfig, rng: np.random.Generator
) -> Rows:
    """Train, val and test by the fractions; or a fold as test, and val drawn from the others: int64 [N]."""
    if split.folds is None:
        return deal(labels, classes, units, kind, split.fractions, rng)
    names = [f"fold {number + 1}" for number in range(split.folds)]
    part = np.full(len(labels), PARTS.index("test"), dtype=np.int64)
    rest = np.flatnonzero(deal(labels, classes, units, kind, [1 / split.folds] * split.folds, rng, names) != split.fold)
    of_fold = np.random.default_rng([split.seed, 2, split.fold or 0])
    part[rest] = deal(labels[rest], classes, numbered(units[rest]), kind, split.fractions[:2], of_fold)
    return part


def deal(
    labels: Rows,
    classes: Sequence[str],
    units: Rows,
    kind: str,
    fractions: Sequence[float],
    rng: np.random.Generator,
    names: Sequence[str] = PARTS,
) -> Rows:
    """The part of each row, one for each fraction, such that rows of one unit stay together: int64 [N]."""
    seats = _seats(labels, classes, units, kind, fractions)
    if kind == "groups":
        return _dealt(labels, classes, units, kind, seats, rng, names)
    tries = (_deal_once(labels, units, seats, rng) for _ in range(_TRIES))
    dealt = next((found for found in tries if _has_all(labels, found, seats)), None)
    # Copies of one another may stand in several classes.
    return _dealt(labels, classes, units, "copies", seats, rng, names) if dealt is None else dealt


def _seats(
    labels: Rows, classes: Sequence[str], units: Rows, kind: str, fractions: Sequence[float]
) -> NDArray[np.int64]:
    """How many patches of each class each part should get, [classes, parts]; a class needs a unit for each part."""
    seats = np.zeros((len(classes), len(fractions)), dtype=np.int64)
    for c, name in enumerate(classes):
        members = labels == c
        distinct = np.count_nonzero(np.bincount(units[members]))
        if distinct < len(fractions):
            raise DataError(
                f"class '{name}' is too small to split: {distinct} {kind} ({members.sum()} patches), "
                f"{len(fractions)} are needed",
                f"add labels to the class, {'use fewer folds, ' * (len(fractions) > len(PARTS))}or remove it",
            )
        seats[c] = part_sizes(int(members.sum()), fractions)
    return seats


def _has_all(labels: Rows, part: Rows, seats: NDArray[np.int64]) -> bool:
    """Whether every class is in every part."""
    return bool((np.bincount(labels * seats.shape[1] + part, minlength=seats.size) > 0).all())


def _dealt(
    labels: Rows,
    classes: Sequence[str],
    units: Rows,
    kind: str,
    seats: NDArray[np.int64],
    rng: np.random.Generator,
    names: Sequence[str],
) -> Rows:
    """The part of each row, such that rows of one unit stay together and every class is in every part: int64 [N]."""
    try:
        return deal_groups(labels, units, seats, rng)
    except NoSplitError as error:
        named = [f"'{classes[c]}'" for c in error.classes]
        those = ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
        exists = "no split" if error.proven else "no split was found that"
        holding = len(np.unique(units[np.isin(labels, error.classes)]))
        *before, last = names[: seats.shape[1]]
        parts = f"{', '.join(before)} and {last}"
        raise DataError(
            f"{exists} keeps {kind} together and has {those} in each of {parts}: {holding} {kind} hold them",
            "add groups with these classes, make their groups smaller, or leave a class out"
            if kind == "groups"
            else "remove copies that stand in several classes: `landsift data check` names them",
        ) from None


def _deal_once(labels: Rows, units: Rows, seats: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Deal units to parts: first those of several rows, largest first, then single rows into the seats left.

    A unit goes where it leaves the smallest sum, over classes and parts, of (filled - seats)² / seats.
    Without units of several rows, every class gets exactly its seats.
    """
    part = np.empty(len(labels), dtype=np.int64)
    left = seats.astype(np.float64)
    sizes = np.bincount(units)
    shuffled = rng.permutation(len(sizes))
    largest_first = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    by_unit = np.argsort(units, kind="stable")
    start = np.cumsum(sizes) - sizes
    for unit in largest_first[sizes[largest_first] > 1]:
        rows = by_unit[start[unit] : start[unit] + sizes[unit]]
        counts = np.bincount(labels[rows], minlength=len(seats))[:, None]
        part[rows] = chosen = int(np.argmin((counts * (counts - 2.0 * left) / seats).sum(axis=0)))
        left[:, chosen] -= counts[:, 0]
    single = sizes[units] == 1
    for c in range(len(seats)):
        rows = rng.permutation(np.flatnonzero(single & (labels == c)))
        open_seats = np.maximum(left[c], 0.0)
        if len(rows):
            part[rows] = np.repeat(np.arange(seats.shape[1]), largest_remainder(len(rows), open_seats))
    return part


def numbered(values: pd.Series | Rows) -> Rows:
    """Number distinct values in order of appearance: int64 [N]."""
    import pandas as pd

    return pd.factorize(values)[0].astype(np.int64)
