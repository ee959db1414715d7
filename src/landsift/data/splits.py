"""Who is in train, val and test, and which training labels a budget buys.

Kinds: `stratified` by class, `column` (a table's column or folders named train, val and test say), `group` (rows of one
group stay together), `spatial` (so do blocks of the Earth's surface), and the rows that files name. Patches with equal
pixels never stand on two sides of a split: they move together, or, where the split is given or by place, the copies in
train give way to those in val and test, and those in val to those in test.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from landsift.config import SplitConfig
from landsift.data.block_split import spatial_parts, units_of
from landsift.data.dealing import PARTS, Rows, deal, drawn, numbered
from landsift.data.geodesy import known
from landsift.data.group_split import gives_way, group_numbers
from landsift.data.sources.similar_names import alike
from landsift.data.sources.split_names import SPLIT_NAMES
from landsift.data.split_lists import listed_split
from landsift.data.split_rows import named_split
from landsift.errors import DataError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from landsift.data.store.patch_store import PatchStore

Column = Callable[[str], "pd.Series"]  # of an index, by name

_log = logging.getLogger("landsift")


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of a store, sorted; no row is in two parts."""

    train: Rows
    val: Rows
    test: Rows


def make_split(
    store: PatchStore, split: SplitConfig, budget: int | None = None, budget_seed: int | None = None
) -> Split:
    """Divide a store's labelled patches; the same arguments give the same rows.

    Args:
        store: The patches.
        split: Kind, fractions and seed.
        budget: How many training labels may be used: a stratified subsample of train, every class in it at least
            once. With the same seed the rows of a smaller budget are among those of a larger one. None: all.
        budget_seed: Draws the budget's labels from train; None: the split's seed.

    Raises:
        DataError: a class is too small for three parts, a part is missing or empty, the `split` or `group` column
            is missing or incomplete, or the budget is larger than train or smaller than the number of classes.
    """
    column, labels = given_columns(store, split), store.labels
    labelled = np.flatnonzero(labels >= 0)
    if len(labelled) == len(labels):
        return divide(column, labels, store.contents(), store.classes, split, budget, budget_seed)
    if not len(labelled):
        raise DataError(f"none of the {len(labels)} patches has a label", "label some: a classifier learns from labels")
    _log.info(
        "%d of %d patches have no label, and are in no part of the split", len(labels) - len(labelled), len(labels)
    )
    contents = numbered(store.contents()[labelled])
    found = divide(
        lambda name: column(name).iloc[labelled].reset_index(drop=True),
        labels[labelled], contents, store.classes, split, budget, budget_seed,
    )  # fmt: skip
    return Split(labelled[found.train], labelled[found.val], labelled[found.test])


def dependent_units(store: PatchStore, split: SplitConfig) -> Rows | None:
    """What is right or wrong together: a number per patch, equal within a group or, of a split by place, a block.

    Intervals and tests are over these. A patch without a group or place is one of its own; None: patches are.
    """
    groups = group_numbers(store.column("group"))
    if split.kind != "spatial":
        return groups
    places = store.places()
    there = np.flatnonzero(known(places) & (store.labels >= 0))  # those that the split is made of
    units = np.arange(len(store)) + len(store)
    if len(there):
        units[there] = units_of(places[there], None if groups is None else groups[there], split.block_km)
    return units.astype(np.int64)


def given_columns(store: PatchStore, split: SplitConfig) -> Column:
    """A store's columns, with the split that `data.split.rows` or `lists` names in place of the source's.

    Raises:
        DataError: as `landsift.data.split_rows.named_split` and `landsift.data.split_lists.listed_split`.
    """
    if split.rows is not None:
        named = named_split(store, split.rows)
    elif split.lists is not None:
        named = listed_split(store, split.lists)
    else:
        return store.column
    return lambda name: named if name == "split" else store.column(name)


def divide(
    column: Column,
    labels: Rows,
    contents: Rows,
    classes: Sequence[str],
    split: SplitConfig,
    budget: int | None = None,
    budget_seed: int | None = None,
) -> Split:
    """The same as `make_split`, from a store's columns, labels and contents."""
    rng = np.random.default_rng([split.seed, 0])
    named = split.rows is not None or split.lists is not None
    kind = "column" if named else split.kind if split.kind != "auto" else _kind_of(column)
    if kind == "column" and split.folds is not None:
        hint = "set data.split.kind=stratified, group or spatial, which passes the given split over"
        raise DataError("a given split has no folds", hint)
    if kind == "column":
        part = _by_column(column, labels, contents, classes, complete=not named)
        if not (part == PARTS.index("val")).any():
            _take_val(part, column, labels, contents, classes, split.fractions, rng)
    elif kind == "spatial":
        places = np.stack([column("lon"), column("lat")], axis=1)
        part = spatial_parts(labels, contents, places, column("group"), classes, split)
    elif kind == "group":
        part = drawn(labels, classes, _groups(column, contents), "groups", split, rng)
    else:
        part = drawn(labels, classes, contents, "distinct patches", split, rng)
    train, val, test = (np.flatnonzero(part == p) for p in range(len(PARTS)))
    if budget is not None:
        where = "train" if split.fold is None or split.folds is None else f"train of fold {split.fold + 1}"
        train = _within_budget(train, labels, budget, split.seed if budget_seed is None else budget_seed, where)
    return Split(train, val, test)


def _kind_of(column: Column) -> str:
    """The kind of split that the source asks for."""
    said = {
        "split": "the split is taken as the source gives it",
        "group": "split by the table's column 'group'",
    }
    for kind, name in (("column", "split"), ("group", "group")):
        if column(name).notna().any():
            _log.info("%s; data.split.kind=stratified would pass it over", said[name])
            return kind
    return "stratified"


def nested_order(labels: Rows, seed: int) -> Rows:
    """An order of rows whose every beginning is stratified, so that budgets nest.

    Each class is shuffled, and its k-th row (from 0) comes at (k + 1/2) / class size: Webster's divisor method,
    which unlike largest remainders never takes a seat away when the total grows. The first row of every class
    comes before all second rows.

    Args:
        labels: int64 [N].
        seed: Of the shuffles.

    Returns:
        Positions in `labels`, int64 [N].
    """
    rng = np.random.default_rng([seed, 1])
    keys = np.empty(len(labels))
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        keys[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
        keys[rows[0]] = 0.0
    return np.lexsort((labels, keys)).astype(np.int64)


def _within_budget(train: Rows, labels: Rows, budget: int, seed: int, where: str) -> Rows:
    classes = len(np.unique(labels[train]))
    if budget > len(train):
        raise DataError(
            f"data.budget={budget} is more than the {len(train)} patches in {where}", "lower it or set null"
        )
    if budget < classes:
        raise DataError(f"data.budget={budget} is below one label for each of the {classes} classes", "raise it")
    return np.sort(train[nested_order(labels[train], seed)[:budget]])


def _complete(column: Column, name: str, kind: str) -> pd.Series:
    """The column that a kind of split goes by; raises DataError where it is missing or a row has no value in it."""
    values = column(name)
    empty = values.isna()
    if empty.all():
        raise DataError(
            f"data.split.kind={kind} needs a table with a column '{name}'"
            + (", or folders train, val and test" if name == "split" else ""),
            "or set data.split.kind=stratified",
        )
    if empty.any():
        first = column("path")[empty].iloc[0]
        raise DataError(f"{empty.sum()} patches have no {name}; the first: {first}", f"fill the column '{name}'")
    return values


def _groups(column: Column, contents: Rows) -> Rows:
    """A number per row, equal for rows of one group and for rows with equal pixels, and so on along such chains."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    group = numbered(_complete(column, "group", kind="group"))
    first = np.empty(contents.max() + 1, dtype=np.int64)
    first[contents[::-1]] = group[::-1]  # the group of each content's first row
    apart = np.flatnonzero(group != first[contents])
    ends = group[apart], first[contents[apart]]
    links = coo_array((np.ones(len(apart)), ends), shape=(group.max() + 1, group.max() + 1))
    component: Rows = connected_components(links, directed=False)[1].astype(np.int64)
    return numbered(component[group])


def _by_column(
    column: Column, labels: Rows, contents: Rows, classes: Sequence[str], *, complete: bool
) -> NDArray[np.int64]:
    """The part (0, 1, 2) that the table names for each row, -1 for copies that give way and for no part: int64 [N].

    Args:
        column: as in `divide`.
        labels: int64 [N].
        contents: int64 [N].
        classes: their names.
        complete: refuse a row without a part.
    """
    part = named_parts(_complete(column, "split", kind="column") if complete else column("split"))
    given = [bool((part == p).any()) for p in range(len(PARTS))]
    for p, name in enumerate(PARTS):
        if not given[p] and name != "val":
            hint = "train and test are needed; without val, it is taken from train"
            raise DataError(f"the given split has no {name} patches", hint)

    copies = gives_way(part, contents)
    if copies.any():
        _log.warning(
            "%d patches are left out: their pixels stand in val or test as well (from train: %d, from val: %d)",
            copies.sum(),
            (copies & (part == 0)).sum(),
            (copies & (part == 1)).sum(),
        )
        part[copies] = -1
    for c, class_name in enumerate(classes):
        if not ((part == 0) & (labels == c)).any():
            other = alike(class_name, classes)
            hint = f"is it the class {other!a}? name them alike" if other else "the given split must have some there"
            raise DataError(f"class '{class_name}' has no patches in train", hint)
    for p, name in enumerate(PARTS):
        if given[p] and not (part == p).any():
            raise DataError(f"no {name} patches remain: all repeat patches of other parts", "change the given split")
    return part


def _part_named(value: str) -> int:
    name = SPLIT_NAMES.get(value.lower())
    if name is None:
        hint = nearest(value.lower(), SPLIT_NAMES) or "use train, val and test"
        raise DataError(f"the column 'split' has an unknown value '{value}'", hint)
    return PARTS.index(name)


def named_parts(values: pd.Series) -> Rows:
    """The part (0, 1, 2) that each value of a column `split` names, -1 for a missing one: int64 [N].

    Raises:
        DataError: a value names no part.
    """
    import pandas as pd

    codes, names = pd.factorize(values)
    return np.array([*map(_part_named, names), -1], dtype=np.int64)[codes]


def _take_val(
    part: NDArray[np.int64],
    column: Column,
    labels: Rows,
    contents: Rows,
    classes: Sequence[str],
    fractions: Sequence[float],
    rng: np.random.Generator,
) -> None:
    """Take val from the train of a split without val, in the proportion of their fractions; groups stay together."""
    train = np.flatnonzero(part == PARTS.index("train"))
    grouped = bool(column("group").notna().all())
    units, kind = (_groups(column, contents), "groups") if grouped else (contents, "distinct patches")
    part[train] = deal(labels[train], classes, numbered(units[train]), kind, fractions[:2], rng)
    _log.info(
        "the given split has no val: %d of its %d train patches are taken for it%s",
        np.count_nonzero(part == PARTS.index("val")),
        len(train),
        ", by group" if grouped else "",
    )
