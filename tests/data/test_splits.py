"""Splits: exact sizes, nobody on two sides, copies together, budgets nested."""

import itertools
import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from small_sources import refused

from landsift.config import SplitConfig
from landsift.data.group_split import largest_remainder, part_sizes
from landsift.data.splits import divide
from landsift.errors import DataError


def index_of(labels, contents=None, groups=None, splits=None) -> pd.DataFrame:
    N = len(labels)
    return pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(N)],
            "label": np.asarray(labels, dtype=np.int64),
            "sha256": [str(c) for c in (range(N) if contents is None else contents)],
            "group": pd.Series([None] * N if groups is None else groups, dtype=object),
            "split": pd.Series([None] * N if splits is None else splits, dtype=object),
        }
    )


def classes_of(index) -> tuple[str, ...]:
    return tuple(f"class{c}" for c in range(index["label"].max() + 1))


def split(index, budget=None, budget_seed=None, **settings):
    """The split, from columns as a store has them: texts of few kinds are categories."""

    def column(name):
        return index[name].astype("category") if name in {"group", "split"} else index[name]

    contents = pd.factorize(index["sha256"])[0].astype(np.int64)
    classes, kind = classes_of(index), SplitConfig(**settings)
    return divide(column, index["label"].to_numpy(), contents, classes, kind, budget, budget_seed)


def sizes(index, parts) -> list[list[int]]:
    """Rows per class (first axis) and part."""
    labels = index["label"].to_numpy()
    return [[int((labels[p] == c).sum()) for p in (parts.train, parts.val, parts.test)] for c in np.unique(labels)]


class_sizes = st.lists(st.integers(3, 40), min_size=2, max_size=5)
fractions = st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8)).map(
    lambda w: (w[0] / sum(w), w[1] / sum(w), 1 - w[0] / sum(w) - w[1] / sum(w))
)
seeds = st.integers(0, 2**31)


class TestStratified:
    @pytest.mark.parametrize(
        ("count", "expected"),
        [
            (3, [1, 1, 1]),
            (4, [2, 1, 1]),
            (5, [3, 1, 1]),
            (7, [4, 2, 1]),
            (8, [5, 2, 1]),
            (9, [5, 2, 2]),
            (10, [6, 2, 2]),
            (200, [120, 40, 40]),
            (1234, [740, 247, 247]),
            (2700, [1620, 540, 540]),
        ],
    )
    def test_sizes_of_a_class_are_pinned(self, count, expected):
        assert part_sizes(count, (0.6, 0.2, 0.2)).tolist() == expected
        index = index_of([0] * count + [1] * 10)
        assert sizes(index, split(index)) == [expected, [6, 2, 2]]

    def test_the_rows_of_a_seed_are_pinned(self):
        index = index_of([0] * 5 + [1] * 5)
        parts = split(index)
        assert [p.tolist() for p in (parts.train, parts.val, parts.test)] == [[0, 2, 3, 5, 7, 8], [4, 6], [1, 9]]
        assert split(index, 4).train.tolist() == [0, 3, 7, 8]
        assert any(split(index, seed=s).test.tolist() != [1, 9] for s in range(1, 5))

    @given(class_sizes, fractions, seeds)
    def test_every_row_is_in_one_part_and_sizes_are_exact(self, counts, shares, seed):
        index = index_of(np.repeat(np.arange(len(counts)), counts))
        parts = split(index, fractions=shares, seed=seed)
        rows = np.concatenate([parts.train, parts.val, parts.test])
        assert sorted(rows.tolist()) == list(range(len(index)))
        assert all((np.diff(p) > 0).all() and p.dtype == np.int64 for p in (parts.train, parts.val, parts.test))
        assert sizes(index, parts) == [part_sizes(n, shares).tolist() for n in counts]

    @given(st.integers(3, 2000), fractions)
    def test_shares_are_within_one_of_the_quota(self, count, shares):
        given_out = largest_remainder(count, shares)
        assert given_out.sum() == count
        assert (np.abs(given_out - count * np.array(shares)) < 1).all()
        assert (part_sizes(count, shares) >= 1).all()

    @given(class_sizes, st.data(), seeds)
    def test_copies_stay_on_one_side(self, counts, data, seed):
        labels = np.repeat(np.arange(len(counts)), counts)
        contents = data.draw(st.lists(st.integers(0, 60), min_size=len(labels), max_size=len(labels)))
        index = index_of(labels, contents)
        assume(index.groupby("label")["sha256"].nunique().min() >= 3)
        try:
            parts = split(index, seed=seed)
        except DataError:
            assume(False)  # copies of one another can make it impossible to serve all classes
        side = np.full(len(index), -1)
        for p, rows in enumerate((parts.train, parts.val, parts.test)):
            side[rows] = p
        assert (side >= 0).all()
        assert index.assign(side=side).groupby("sha256")["side"].nunique().max() == 1
        assert np.array(sizes(index, parts)).min() >= 1

    def test_a_few_copies_leave_the_sizes_as_they_are(self):
        contents = [*range(95), 0, 1, 2, 3, 4, *range(200, 300)]
        index = index_of([0] * 100 + [1] * 100, contents)
        for seed in range(10):
            assert sizes(index, split(index, seed=seed)) == [[60, 20, 20], [60, 20, 20]]

    def test_a_class_too_small_is_named(self):
        refused(lambda: split(index_of([0] * 9 + [1] * 2)), "class 'class1' is too small to split: 2 distinct patches")
        copies = index_of([0] * 9 + [1] * 5, [*range(9), 50, 50, 50, 51, 51])
        refused(lambda: split(copies), "class 'class1'", "2 distinct patches (5 patches)")


class TestAuto:
    """Without a word about the kind of split, the table's columns have it."""

    def test_a_split_column_is_honoured(self, caplog):
        splits = ["train", "val", "test"] * 4
        index = index_of([0] * 6 + [1] * 6, splits=splits, groups=[str(i) for i in range(12)])
        with caplog.at_level(logging.INFO, "landsift"):
            parts = split(index)
        assert parts.train.tolist() == [0, 3, 6, 9]
        assert parts.val.tolist() == [1, 4, 7, 10]
        assert "the split is taken as the source gives it" in caplog.text

    def test_a_group_column_is_honoured(self):
        index = index_of([0, 1] * 30, groups=[f"g{i // 6}" for i in range(60)])
        parts = split(index)
        assert parts.train.tolist() == split(index, kind="group").train.tolist()
        assert not set(index["group"][parts.train]) & set(index["group"][parts.test])

    def test_without_columns_it_is_stratified_and_columns_can_be_passed_over(self):
        plain = index_of([0] * 10 + [1] * 20)
        assert split(plain).train.tolist() == split(plain, kind="stratified").train.tolist()
        grouped = index_of([0] * 10 + [1] * 20, groups=["g"] * 30)
        assert split(grouped, kind="stratified").train.tolist() == split(plain).train.tolist()


class TestBudget:
    @given(class_sizes, st.data(), seeds)
    def test_budgets_are_exact_nested_and_have_every_class(self, counts, data, seed):
        index = index_of(np.repeat(np.arange(len(counts)), counts))
        full = split(index, seed=seed)
        small = data.draw(st.integers(len(counts), len(full.train)))
        large = data.draw(st.integers(small, len(full.train)))
        less, more = split(index, small, seed=seed), split(index, large, seed=seed)
        assert len(less.train) == small
        assert len(more.train) == large
        assert set(less.train) <= set(more.train) <= set(full.train)
        assert set(index["label"][less.train]) == set(index["label"])
        assert less.val.tolist() == full.val.tolist()
        assert less.test.tolist() == full.test.tolist()

    @given(class_sizes, st.data(), seeds, seeds)
    def test_a_seed_of_its_own_draws_other_labels_from_the_same_train(self, counts, data, seed, budget_seed):
        index = index_of(np.repeat(np.arange(len(counts)), counts))
        full = split(index, seed=seed)
        small = data.draw(st.integers(len(counts), len(full.train)))
        large = data.draw(st.integers(small, len(full.train)))
        less, more = (split(index, n, budget_seed, seed=seed) for n in (small, large))
        assert set(less.train) <= set(more.train) <= set(full.train)
        assert (len(less.train), len(more.train)) == (small, large)
        assert set(index["label"][less.train]) == set(index["label"])
        assert [less.val.tolist(), less.test.tolist()] == [full.val.tolist(), full.test.tolist()]

    def test_several_seeds_draw_several_subsets_and_the_splits_own_by_default(self):
        index = index_of([0] * 100 + [1] * 50)
        drawn = [split(index, 30, s, seed=5).train.tolist() for s in (None, 0, 1, 2, 5)]
        assert len({tuple(rows) for rows in drawn}) == 4
        assert drawn[0] == drawn[4]
        assert split(index, None, 3, seed=5).train.tolist() == split(index, seed=5).train.tolist()

    def test_budgets_are_stratified(self):
        index = index_of([0] * 1000 + [1] * 500 + [2] * 500)
        for budget, expected in {100: [50, 25, 25], 500: [250, 125, 125], 1000: [500, 250, 250]}.items():
            assert [s[0] for s in sizes(index, split(index, budget))] == expected

    def test_a_rare_class_keeps_a_label(self):
        index = index_of([0] * 5000 + [1] * 5)
        assert [s[0] for s in sizes(index, split(index, 10))] == [9, 1]

    def test_the_whole_of_train_is_a_budget(self):
        index = index_of([0] * 10 + [1] * 10)
        assert split(index, 12).train.tolist() == split(index).train.tolist()

    def test_impossible_budgets_are_refused(self):
        index = index_of([0] * 10 + [1] * 10 + [2] * 10)
        refused(lambda: split(index, 19), "data.budget=19 is more than the 18 patches in train")
        refused(lambda: split(index, 2), "data.budget=2", "3 classes")


class TestGroup:
    @given(st.integers(0, 1000))
    def test_groups_and_copies_stay_together_and_parts_are_near_their_sizes(self, seed):
        rng = np.random.default_rng(seed)
        labels = np.arange(600) % 3
        groups = rng.integers(0, 60, 600)
        contents = np.where(rng.random(600) < 0.01, 0, np.arange(1, 601))
        index = index_of(labels, contents, groups=[f"g{g}" for g in groups])
        parts = split(index, kind="group", seed=seed)
        side = np.empty(600, dtype=int)
        for p, rows in enumerate((parts.train, parts.val, parts.test)):
            side[rows] = p
        sides = index.assign(side=side)
        assert sides.groupby("group")["side"].nunique().max() == 1
        assert sides.groupby("sha256")["side"].nunique().max() == 1
        np.testing.assert_allclose([len(parts.train), len(parts.val), len(parts.test)], [360, 120, 120], atol=60)
        assert np.array(sizes(index, parts)).min() >= 1

    def test_groups_of_one_are_a_stratified_split(self):
        index = index_of([0] * 10 + [1] * 20, groups=[str(i) for i in range(30)])
        assert sizes(index, split(index, kind="group")) == [[6, 2, 2], [12, 4, 4]]

    def test_copies_link_groups_in_chains(self):
        # a-b share a content, b-c another, d-a a third: one group of four
        groups = ["a", "a", "b", "b", "c", "c", "d", "d"] + [str(i) for i in range(12)]
        contents = [0, 1, 0, 2, 2, 3, 4, 1, *range(10, 22)]
        for seed in range(5):
            parts = split(index_of([0, 1] * 10, contents, groups), kind="group", seed=seed)
            assert any(set(range(8)) <= set(rows) for rows in (parts.train, parts.val, parts.test))

    def test_a_table_without_groups_is_refused(self):
        refused(lambda: split(index_of([0, 1] * 5), kind="group"), "column 'group'", "data.split.kind=stratified")
        index = index_of([0, 1] * 5, groups=["g", None] * 5)
        refused(lambda: split(index, kind="group"), "5 patches have no group", "1.png")

    def test_a_class_in_too_few_groups_is_named(self):
        index = index_of([0] * 9 + [1] * 9, groups=[f"a{i}" for i in range(9)] + ["b0", "b1", "b1"] * 3)
        refused(lambda: split(index, kind="group"), "class 'class1'", "2 groups (9 patches)")


def index_of_counts(counts) -> pd.DataFrame:
    """An index with so many patches of each class (columns) in each group (rows)."""
    groups, labels = np.nonzero(counts)
    each = counts[groups, labels]
    return index_of(np.repeat(labels, each), groups=[f"g{g}" for g in np.repeat(groups, each)])


def can_be_split(counts) -> bool:
    """Whether some way to deal the groups to three parts has every class in each, by trying them all."""
    present = counts > 0
    for parts in itertools.product(range(3), repeat=len(counts)):
        part = np.array(parts)
        if all(present[part == p].any(axis=0).all() for p in range(3)):
            return True
    return False


class TestGroupSearch:
    """Every class in every part wherever that can be had, and other seeds give other splits."""

    def test_a_split_is_refused_only_where_none_exists(self):
        """Small tight cases against all ways to deal: each class is in three or four of at most six groups."""
        rng = np.random.default_rng(0)
        seen = {True: 0, False: 0}
        while min(seen.values()) < 5:
            counts = np.zeros((rng.integers(4, 7), rng.integers(3, 7)), dtype=np.int64)
            for c in range(counts.shape[1]):
                holders = rng.choice(len(counts), size=rng.integers(3, 5), replace=False)
                counts[holders, c] = rng.integers(1, 6, len(holders))
            counts = counts[counts.sum(axis=1) > 0]
            index, possible = index_of_counts(counts), can_be_split(counts)
            seen[possible] += 1
            for seed in range(2):
                if possible:
                    assert np.array(sizes(index, split(index, kind="group", seed=seed))).min() >= 1
                else:
                    refused(lambda: split(index, kind="group", seed=seed), "no split keeps groups together")  # noqa: B023

    def test_the_classes_that_cannot_be_had_are_named_and_no_others(self):
        # Groups of a class of three must lie in three parts: so 2 and 3 in one, as 0 and 1 take the others, and in two.
        counts = np.zeros((6, 4), dtype=np.int64)
        for c, groups in enumerate(([0, 1, 2], [0, 1, 3], [2, 3, 4], [0, 1, 2, 3, 4, 5])):
            counts[groups, c] = 4
        assert not can_be_split(counts)
        message = "together and has 'class0', 'class1', 'class2' in each of train, val and test: 5 groups hold them"
        refused(lambda: split(index_of_counts(counts), kind="group"), message)
        counts[5, 2] = 4
        parts = split(index_of_counts(counts), kind="group")
        assert np.array(sizes(index_of_counts(counts), parts)).min() >= 4

    def test_other_seeds_give_other_splits_and_one_seed_gives_one(self):
        rng = np.random.default_rng(0)
        counts = rng.integers(5, 20, (20, 3))
        index = index_of_counts(counts)
        drawn = [split(index, kind="group", seed=seed) for seed in range(10)]
        assert len({parts.test.tobytes() for parts in drawn}) >= 8
        again = split(index, kind="group", seed=3)
        assert again.train.tolist() == drawn[3].train.tolist()

    def test_the_largest_group_is_not_always_in_train(self):
        counts = np.full((20, 2), 10)
        counts[7] = 13
        index = index_of_counts(counts)
        places = [
            next(p for p, rows in enumerate((s.train, s.val, s.test)) if (index["group"][rows] == "g7").any())
            for s in (split(index, kind="group", seed=seed) for seed in range(30))
        ]
        assert set(places) == {0, 1, 2}

    @pytest.mark.parametrize("shares", [(0.6, 0.2, 0.2), (0.8, 0.1, 0.1), (0.34, 0.33, 0.33)])
    def test_shares_are_near_those_asked_for_with_few_groups(self, shares):
        counts = np.random.default_rng(1).integers(5, 40, (30, 4))
        index = index_of_counts(counts)
        for seed in range(5):
            parts = split(index, kind="group", fractions=shares, seed=seed)
            got = np.array([len(parts.train), len(parts.val), len(parts.test)]) / len(index)
            np.testing.assert_allclose(got, shares, atol=0.02)

    def test_ten_thousand_groups_are_divided_as_exactly_as_their_patches_allow(self):
        rng = np.random.default_rng(0)
        groups, labels = rng.integers(0, 10_000, 100_000), rng.integers(0, 10, 100_000)
        index = index_of(labels, groups=[f"g{g}" for g in groups])
        parts = split(index, kind="group")
        wanted = np.array([part_sizes(n, (0.6, 0.2, 0.2)) for n in np.bincount(labels)])
        assert np.abs(np.array(sizes(index, parts)) - wanted).max() <= 20

    def test_a_rare_class_in_three_of_many_groups_is_in_every_part(self):
        rng = np.random.default_rng(2)
        counts = np.hstack([rng.integers(5, 40, (100, 2)), np.zeros((100, 4), dtype=np.int64)])
        for c in range(2, 6):
            counts[rng.choice(100, 3, replace=False), c] = 1
        for seed in range(5):
            index = index_of_counts(counts)
            assert np.array(sizes(index, split(index, kind="group", seed=seed))).min() >= 1

    @pytest.mark.parametrize(("classes", "groups"), [(60, 60), (100, 200)])
    def test_many_rare_classes_that_share_groups_are_all_in_every_part(self, classes, groups):
        rng = np.random.default_rng(0)
        counts = np.zeros((groups, classes), dtype=np.int64)
        for c in range(classes):
            counts[rng.choice(groups, 4, replace=False), c] = 2
        index = index_of_counts(counts[counts.sum(axis=1) > 0])
        assert np.array(sizes(index, split(index, kind="group"))).min() >= 1

    def test_patches_on_their_own_fill_what_groups_leave_open(self):
        # One group holds half of the class, and the other half stands alone.
        index = index_of([0] * 100 + [1] * 10, groups=["scene"] * 50 + [str(i) for i in range(60)])
        assert sizes(index, split(index, kind="group")) == [[60, 20, 20], [6, 2, 2]]

    def test_copies_in_several_classes_do_not_keep_a_stratified_split_from_being_found(self):
        # Each of three pictures stands in both classes, and there is no other.
        index = index_of([0] * 6 + [1] * 3, contents=["a", "a", "b", "b", "c", "c", "a", "b", "c"])
        assert np.array(sizes(index, split(index))).min() >= 1


class TestColumn:
    def test_the_table_decides(self):
        index = index_of([0, 1, 0, 1, 0, 1], splits=["train", "Training", "val", "validation", "TEST", "testing"])
        parts = split(index, kind="column")
        assert [p.tolist() for p in (parts.train, parts.val, parts.test)] == [[0, 1], [2, 3], [4, 5]]

    def test_copies_give_way_to_test_then_val(self, caplog):
        index = index_of(
            [0, 1, 0, 1, 0, 1, 0],
            contents=["x", "y", "x", "z", "v", "z", "w"],
            splits=["train", "train", "val", "val", "train", "test", "val"],
        )
        parts = split(index, kind="column")
        assert [p.tolist() for p in (parts.train, parts.val, parts.test)] == [[1, 4], [2, 6], [5]]
        assert "2 patches are left out" in caplog.text
        assert "(from train: 1, from val: 1)" in caplog.text

    @pytest.mark.parametrize("missing", ["train", "test"])
    def test_a_missing_part_is_named(self, missing):
        names = [n for n in ("train", "val", "test") if n != missing]
        index = index_of([0, 1] * 4, splits=[n for n in names for _ in range(4)])
        refused(lambda: split(index, kind="column"), f"the given split has no {missing} patches")

    def test_without_val_it_is_taken_from_train_by_the_fractions(self, caplog):
        index = index_of([0] * 40 + [1] * 20, splits=(["train"] * 3 + ["test"]) * 15)
        with caplog.at_level("INFO", logger="landsift"):
            parts = split(index, fractions=(0.6, 0.3, 0.1))
        assert sizes(index, parts) == [[20, 10, 10], [10, 5, 5]]
        assert "no val: 15 of its 45 train patches are taken for it" in caplog.text
        assert parts.test.tolist() == list(range(3, 60, 4))
        assert [split(index, seed=s).test.tolist() == parts.test.tolist() for s in range(3)] == [True] * 3
        assert len({tuple(split(index, seed=s).val) for s in range(5)}) > 1

    def test_val_that_is_taken_from_train_parts_neither_copies_nor_groups(self):
        train = ["train"] * 48 + ["test"] * 12
        contents = [f"c{i // 2}" for i in range(48)] + [f"t{i}" for i in range(12)]
        copies = index_of([0, 0, 1, 1] * 15, contents, splits=train)
        groups = index_of([0, 1] * 30, groups=[f"g{i // 4}" for i in range(60)], splits=train)
        for index, unit in ((copies, "sha256"), (groups, "group")):
            for seed in range(5):
                parts = split(index, seed=seed)
                assert not set(index[unit][parts.train]) & set(index[unit][parts.val])
                assert np.array(sizes(index, parts)).min() >= 1
                assert 8 <= len(parts.val) <= 16

    def test_a_class_of_one_patch_in_train_cannot_give_val_one(self):
        index = index_of([0] * 10 + [1] * 3, splits=["train"] * 8 + ["test"] * 2 + ["train", "test", "test"])
        refused(lambda: split(index), "class 'class1' is too small to split", "2 are needed")

    def test_unknown_and_missing_values_are_named(self):
        index = index_of([0, 1, 0, 1], splits=["train", "trian", "val", "test"])
        refused(lambda: split(index, kind="column"), "unknown value 'trian'", "did you mean 'train'?")
        index = index_of([0, 1, 0, 1], splits=["train", None, "val", "test"])
        refused(lambda: split(index, kind="column"), "1 patches have no split", "1.png")
        refused(lambda: split(index_of([0, 1]), kind="column"), "column 'split'", "data.split.kind=stratified")

    def test_a_class_without_training_patches_is_named(self):
        index = index_of([0, 1, 0, 1], splits=["train", "val", "val", "test"])
        refused(lambda: split(index, kind="column"), "class 'class1' has no patches in train")

    def test_a_budget_holds_here_as_well(self):
        index = index_of([0, 1] * 30, splits=["train"] * 40 + ["val"] * 10 + ["test"] * 10)
        assert sizes(index, split(index, 10, kind="column")) == [[5, 5, 5], [5, 5, 5]]
