"""What is learned from: never val and test, no content twice, and nothing that depends on labels."""

import logging

import numpy as np
import pytest
from tiny import patches

from landsift.config import SplitConfig
from landsift.data.store.patch_store import PatchStore
from landsift.errors import DataError
from landsift.pretraining.patches import Unlabelled, learned_from, watched


def made(tmp_path, images, labels, classes, split=None, name="s"):
    return PatchStore.from_arrays(images, labels, classes, folder=tmp_path / name, split=split)


def test_of_labelled_patches_the_training_patches_are_learned_from(store):
    rows, facts = learned_from(store, SplitConfig())
    split = store.column("split").to_numpy(dtype=object)
    assert set(split[rows]) == {"train"}
    assert facts == {
        "patches": 66, "labelled": 66, "of": "the training patches of data.split",
        "left_out": {"val_and_test": 30, "duplicates": 0, "copies_of_val_and_test": 0, "others": 0},
    }  # fmt: skip


def test_of_unlabelled_patches_all_are(unlabelled):
    rows, facts = learned_from(unlabelled, SplitConfig())
    assert sorted(rows) == list(range(96))
    assert facts["of"] == "all patches"


def test_the_order_is_that_of_contents_whatever_the_labels(tmp_path, store):
    images, labels, split = patches()
    other = made(tmp_path, images, np.roll(labels, 1), ["x", "y", "z"], split)
    hashes = [one.column("sha256").to_numpy()[learned_from(one, SplitConfig())[0]] for one in (store, other)]
    assert hashes[0].tolist() == sorted(hashes[0].tolist()) == hashes[1].tolist()


def test_copies_count_once_and_copies_of_val_and_test_not_at_all(tmp_path):
    images, labels, split = patches()
    in_test = split.index("test")
    more = np.concatenate([images, images[:1], images[in_test : in_test + 1]])
    without = np.full(2, -1)
    store = made(tmp_path, more, np.concatenate([labels, without]), ["a", "b", "c"], [*split, None, None])
    rows, facts = learned_from(store, SplitConfig())
    assert facts["patches"] == 66
    assert facts["left_out"]["duplicates"] == 1
    assert len(set(store.contents()[rows])) == 66
    assert in_test not in rows
    assert len(store) - 1 not in rows


def test_a_split_that_is_impossible_says_how_to_learn_from_all(tmp_path):
    images, labels, _ = patches(60)
    labels[:] = 0
    labels[:1] = 1  # a class of one patch cannot be divided
    store = made(tmp_path, images, labels, ["a", "b"])
    with pytest.raises(DataError, match=r"data\.labels=false learns from all patches"):
        learned_from(store, SplitConfig())


def test_too_few_patches_are_refused(tmp_path):
    images, _, _ = patches(15)
    with pytest.raises(DataError, match="15 different patches"):
        learned_from(made(tmp_path, images, np.full(15, -1), []), SplitConfig())


def test_the_loop_is_given_no_label(store):
    assert set(Unlabelled.of(store).labels) == {-1}


def test_what_is_left_out_is_said(store, caplog):
    with caplog.at_level(logging.INFO, "landsift"):
        learned_from(store, SplitConfig())
    assert "left out: 30 of val and test, 0 duplicates" in caplog.text


def test_measures_are_taken_on_the_same_patches_in_every_epoch():
    rows = np.arange(100)[::-1]
    assert np.array_equal(watched(rows, 10, 0), watched(rows, 10, 0))
    assert np.array_equal(watched(rows, 200, 0), rows)
