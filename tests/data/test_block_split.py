"""A split by place: blocks stay whole, classes are everywhere, a buffer lies between, and what cannot be is named."""

import logging
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_sources import refused

from landsift.config import RunConfig, SplitConfig
from landsift.data.geodesy import blocks, nearest_km
from landsift.data.split_rows import known_by_content
from landsift.data.splits import divide
from landsift.errors import ConfigError, DataError

PARTS = ("train", "val", "test")


def index_of(places, labels, contents=None, groups=None) -> pd.DataFrame:
    N = len(labels)
    places = np.asarray(places, dtype=np.float64)
    return pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(N)],
            "label": np.asarray(labels, dtype=np.int64),
            "content": np.arange(N) if contents is None else contents,
            "group": pd.Series([None] * N if groups is None else groups, dtype=object),
            "split": pd.Series([None] * N, dtype=object),
            "lon": places[:, 0],
            "lat": places[:, 1],
        }
    )


def split(index, budget=None, **settings):
    names = tuple(f"class{c}" for c in range(index["label"].max() + 1))
    kind = SplitConfig(**({"kind": "spatial"} | settings))
    contents = pd.factorize(index["content"])[0].astype(np.int64)
    return divide(index.__getitem__, index["label"].to_numpy(), contents, names, kind, budget)


def sides(index, parts):
    """The part of each row, -1 for none."""
    side = np.full(len(index), -1)
    for p, name in enumerate(PARTS):
        side[getattr(parts, name)] = p
    return side


def europe(count=2000, classes=4, seed=0, spread=(20.0, 12.0)):
    """Patches over some 1,400 × 1,300 km, of classes in no order."""
    rng = np.random.default_rng(seed)
    places = np.stack([5 + spread[0] * rng.random(count), 45 + spread[1] * rng.random(count)], axis=1)
    return places, rng.integers(0, classes, count)


@pytest.mark.parametrize("block_km", [10.0, 50.0, 100.0, 300.0])
def test_a_block_is_on_one_side_and_class_shares_are_kept(block_km):
    places, labels = europe()
    index = index_of(places, labels)
    side = sides(index, split(index, block_km=block_km))
    assert (side >= 0).all()
    block = blocks(places, block_km)
    assert all(len(set(side[block == b])) == 1 for b in range(block.max() + 1))
    shares = np.array([[np.mean(side[labels == c] == p) for p in range(3)] for c in range(4)])
    assert np.abs(shares - [0.6, 0.2, 0.2]).max() < (0.03 if block_km <= 100 else 0.1)


def test_the_same_seed_gives_the_same_split_and_another_another():
    index = index_of(*europe())
    first, again, other = (sides(index, split(index, seed=seed)) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).mean() > 0.2


@pytest.mark.parametrize("buffer_km", [5.0, 25.0, 60.0])
def test_the_buffer_lies_between_all_sides_and_what_it_takes_is_counted(buffer_km, caplog):
    places, labels = europe()
    index = index_of(places, labels)
    with caplog.at_level(logging.INFO, "landsift"):
        side = sides(index, split(index, block_km=200.0, buffer_km=buffer_km))
    for one, others in ((0, (1, 2)), (1, (2,))):
        assert nearest_km(places[side == one], places[np.isin(side, others)])[0].min() >= buffer_km
    without = sides(index, split(index, block_km=200.0))
    assert (side[without == 2] == 2).all()  # the test gives nothing away
    assert (
        f"{(side < 0).sum():,} patches are left out because they are within {buffer_km:g} km of a later part"
        in caplog.text
    )


def test_at_the_dateline_and_at_a_pole_a_block_is_whole_and_the_buffer_holds():
    rng = np.random.default_rng(1)
    dateline = np.stack([(177 + 6 * rng.random(600) + 180) % 360 - 180, -16 + 4 * rng.random(600)], axis=1)
    pole = np.stack([360 * rng.random(600) - 180, 84 + 6 * np.sqrt(rng.random(600))], axis=1)
    for places in (dateline, pole):
        index = index_of(places, np.arange(600) % 3)
        side = sides(index, split(index, block_km=50.0, buffer_km=20.0))
        assert nearest_km(places[side == 0], places[side > 0])[0].min() >= 20.0
        assert all(np.isin(range(3), side[index["label"] == c]).all() for c in range(3))


def test_a_budget_that_a_fold_has_not_names_the_fold():
    index = index_of(*europe(60, classes=2))
    refused(lambda: split(index, budget=50, folds=3, fold=1, block_km=10.0), "50 is more than", "in train of fold 2")


class TestVanishing:
    """A class that would not be in a part is named, with the size of blocks that does, and that one does."""

    def advice(self, index, *words, **settings):
        text = refused(lambda: split(index, **settings), *words)
        size = float(re.search(r"data.split.block_km=([\d.e+]+) works", text).group(1))
        side = sides(index, split(index, **settings | {"block_km": size}))
        labels = index["label"].to_numpy()
        assert all(np.isin(range(3), side[labels == c]).all() for c in range(labels.max() + 1))
        return size

    def test_the_advice_for_a_cross_validation_does_for_all_its_folds(self):
        places, labels = europe(60, classes=2, spread=(3.0, 3.0))
        index = index_of(places, labels)
        size = self.advice(index, "would vanish from a fold", block_km=200.0, folds=5, fold=0)
        for fold in range(5):
            split(index, block_km=size, folds=5, fold=fold)
        refused(lambda: split(index, folds=50, fold=0), "would vanish", "fewer folds")

    def test_where_all_lies_in_one_block(self):
        index = index_of(*europe(spread=(0.2, 0.2)))
        assert self.advice(index, "class 'class0' would vanish from a part", block_km=1000.0) <= 20

    def test_where_one_class_lies_in_one_block(self):
        places, labels = europe(classes=3)
        places[labels == 2] = [10.5, 50.5] + 0.2 * np.random.default_rng(0).random(((labels == 2).sum(), 2))
        assert self.advice(index_of(places, labels), "class 'class2'", "in one block") <= 20

    def test_where_a_block_is_larger_than_the_area(self):
        assert self.advice(index_of(*europe()), "of 10000 km", "3 are needed", block_km=10_000.0) <= 1000

    def test_where_the_buffer_takes_a_class(self):
        size = self.advice(
            index_of(*europe()), "would vanish from", "the buffer of 100 km", block_km=20.0, buffer_km=100.0
        )
        assert size > 20

    def test_where_the_buffer_is_larger_than_the_area_no_size_does(self):
        text = refused(
            lambda: split(index_of(*europe()), buffer_km=9000.0), "would vanish", "no size from 0.1 to 5,000 km"
        )
        assert "a smaller buffer" in text

    def test_where_a_class_stands_at_two_places_no_size_does(self):
        places, labels = europe(classes=2)
        places[labels == 1] = np.where(np.arange((labels == 1).sum())[:, None] % 2, [10.0, 50.0], [20.0, 50.0])
        refused(lambda: split(index_of(places, labels)), "'class1'", "in 2 blocks", "no size", "in more places")


class TestUnplaced:
    def test_without_any_place_it_is_refused(self):
        places, labels = europe(50)
        refused(lambda: split(index_of(np.full_like(places, np.nan), labels)), "none is known", "data.locations=FILE")

    def test_a_few_without_are_in_no_part_and_counted(self, caplog):
        places, labels = europe()
        places[:20] = np.nan
        index = index_of(places, labels)
        with caplog.at_level(logging.WARNING, "landsift"):
            side = sides(index, split(index))
        assert (side[:20] == -1).all()
        assert (side[20:] >= 0).all()
        assert "20 of 2,000 patches have no location, and are in no part of the split" in caplog.text

    def test_more_than_a_tenth_without_is_refused(self):
        places, labels = europe(1000)
        places[:101] = np.nan
        refused(lambda: split(index_of(places, labels)), "101 of 1,000 patches have no location", "10 %")


def test_groups_stay_together_although_they_span_blocks():
    places, labels = europe()
    groups = [f"orbit {int(lon // 2.5)}" if i % 2 else None for i, lon in enumerate(places[:, 0])]
    index = index_of(places, labels, groups=groups)
    side = sides(index, split(index, block_km=20.0))
    assert all(len(set(side[index["group"] == name])) == 1 for name in index["group"].dropna().unique())


def test_groups_that_chain_all_blocks_are_named():
    places, labels = europe(300)
    joined = r"of 1 \(of \d+ blocks of 100 km, joined by shared groups\) it is in one block"
    with pytest.raises(DataError, match=joined) as refusal:
        split(index_of(places, labels, groups=["all"] * 300))
    assert "smaller groups" in str(refusal.value)


@given(st.integers(0, 1000))
def test_equal_pixels_are_never_on_two_sides(seed):
    places, labels = europe(400, seed=seed)
    contents = np.random.default_rng(seed).integers(0, 300, 400)
    index = index_of(places, labels, contents)
    side = sides(index, split(index, block_km=50.0, seed=seed))
    kept = index.assign(side=side)[side >= 0]
    assert kept.groupby("content")["side"].nunique().max() == 1


def test_copies_that_give_way_are_counted(caplog):
    places, labels = europe()
    contents = np.arange(2000)
    contents[1000:1050] = contents[:50]
    index = index_of(places, labels, contents)
    with caplog.at_level(logging.WARNING, "landsift"):
        side = sides(index, split(index))
    assert f"{(side < 0).sum()} patches are left out: patches with identical pixels are in a later part" in caplog.text


def test_budgets_nest_and_have_every_class():
    index = index_of(*europe())
    small, large = (set(split(index, budget=budget, buffer_km=10.0).train.tolist()) for budget in (40, 400))
    assert small < large < set(split(index, buffer_km=10.0).train.tolist())
    assert set(index["label"][sorted(small)]) == {0, 1, 2, 3}


class TestSettings:
    def test_the_default_split_is_known_by_what_it_was_known_by(self):
        assert known_by_content(SplitConfig()) == {
            "kind": "auto", "rows": None, "fractions": [0.6, 0.2, 0.2], "seed": 0
        }  # fmt: skip
        assert known_by_content(SplitConfig(kind="spatial", buffer_km=3))["buffer_km"] == 3.0

    @pytest.mark.parametrize(
        "setting",
        [
            "data.split.block_km=50",  # without kind: spatial
            "data.split.buffer_km=5",
            "data.split={kind: spatial, block_km: 0}",
            "data.split={kind: spatial, block_km: -5}",
            "data.split={kind: spatial, buffer_km: -1}",
            "data.split={kind: spatial, block_km: .nan}",
            "data.split={kind: spatial, rows: a.csv}",
            "data.split={rows: a.csv, lists: {train: a, test: b}}",
            "data.split={kind: group, lists: {train: a, test: b}}",
            "data.split.lists={train: a}",
            "data.split.lists=a.txt",
        ],
    )
    def test_what_makes_no_split_is_refused(self, setting):
        with pytest.raises(ConfigError):
            RunConfig().replace(setting)

    def test_a_complete_configuration_is_read_again(self):
        config = RunConfig().replace("data.split.kind=spatial", "data.split.block_km=7")
        assert RunConfig.from_dict(config.to_dict()) == config
        assert RunConfig.from_dict(RunConfig().to_dict()) == RunConfig()


@pytest.mark.parametrize("kind", ["stratified", "group", "spatial"])
def test_each_patch_is_in_the_test_of_one_fold_and_val_comes_from_the_rest(kind):
    places, labels = europe(1200)
    groups = [f"scene {i % 90}" for i in range(1200)]
    index = index_of(places, labels, groups=groups if kind == "group" else None)
    settings = {"kind": kind, "folds": 5} | ({"block_km": 80.0} if kind == "spatial" else {})
    found = [sides(index, split(index, fold=fold, **settings)) for fold in range(5)]
    assert (np.sum([side == 2 for side in found], axis=0) == 1).all()
    for side in found:
        assert (side >= 0).all()
        shares = [[np.mean(side[labels == c] == p) for p in range(3)] for c in range(4)]
        assert np.abs(np.array(shares) - [0.6, 0.2, 0.2]).max() < 0.05
        if kind == "group":
            assert all(len(set(side[index["group"] == name])) == 1 for name in set(groups))
        if kind == "spatial":
            block = blocks(places, 80.0)
            assert all(len(set(side[block == b])) == 1 for b in range(block.max() + 1))


def test_the_buffer_of_a_fold_takes_nothing_from_its_test():
    index = index_of(*europe())
    settings = {"folds": 4, "block_km": 150.0, "buffer_km": 15.0}
    found = [sides(index, split(index, fold=fold, **settings)) for fold in range(4)]
    assert (np.sum([side == 2 for side in found], axis=0) == 1).all()
    places = index[["lon", "lat"]].to_numpy()
    for side in found:
        assert nearest_km(places[side == 0], places[side > 0])[0].min() >= 15.0


def test_a_class_in_fewer_blocks_than_folds_is_named():
    places, labels = europe(classes=2)
    places[labels == 1] = np.array([[6.0, 46], [9, 46], [12, 46], [15, 46]])[np.arange((labels == 1).sum()) % 4]
    refused(
        lambda: split(index_of(places, labels), folds=5, fold=0), "'class1'", "in 4 blocks, 5 are needed", "no size"
    )


@pytest.mark.parametrize(
    "setting",
    [
        "data.split={folds: 5}",
        "data.split={fold: 1}",
        "data.split={folds: 5, fold: 5}",
        "data.split={folds: 1, fold: 0}",
        "data.split={folds: 5, fold: 0, rows: a.csv}",
        "data.split={folds: 5, fold: 0, kind: column}",
    ],
)
def test_what_makes_no_folds_is_refused(setting):
    with pytest.raises(ConfigError):
        RunConfig().replace(setting)


def test_a_given_split_has_no_folds():
    index = index_of(*europe(60)).assign(split=["train", "val", "test"] * 20)
    refused(
        lambda: split(index, kind="auto", folds=3, fold=0), "a given split has no folds", "stratified, group or spatial"
    )
