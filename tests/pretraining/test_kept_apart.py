"""Patches without a label are not learned from where they stand for patches of val or test: by name, group or place."""

import io

import numpy as np
import pytest
from PIL import Image

from landsift.config import RunConfig, SplitConfig
from landsift.data.splits import make_split
from landsift.data.store.patch_store import PatchStore, build_store
from landsift.errors import DataError
from landsift.pretraining.patches import learned_from

COUNT = 60


def pictures(count=COUNT):
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.integers(0, 200, (count, 8, 8, 3)), np.ones((1, 8, 8, 1)))
    return (coarse + rng.integers(0, 20, (count, 64, 64, 3))).astype(np.uint8)


def parts(count=COUNT):
    return [("train", "val", "test")[i % 9 // 3] for i in range(count)]


def made(tmp_path, images=None, **columns):
    """A store of patches of two classes, every third patch without a label."""
    images = pictures() if images is None else images
    labels = np.array([(0, 1, -1)[i % 3] for i in range(len(images))])
    return PatchStore.from_arrays(images, labels, ["a", "b"], folder=tmp_path / "s", **columns)


def learned(store, split):
    rows, facts = learned_from(store, split)
    without = rows[store.labels[rows] < 0]
    return rows, set(without.tolist()), facts["left_out"]


@pytest.mark.parametrize("name", ["test", "Test", "testing", "validation", "dev"])
def test_parts_are_known_by_every_name_that_a_split_may_have(tmp_path, name):
    column = [name if i % 2 and i % 3 == 2 else part for i, part in enumerate(parts())]
    store = made(tmp_path, split=column)
    _, without, left = learned(store, SplitConfig())
    assert without
    assert all(column[row] == "train" for row in without)
    assert left["others"] == 0


def test_a_table_without_labels_keeps_its_split_and_a_name_that_is_no_part_is_refused(tmp_path):
    images = pictures(27)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i:02}.png")
    for name, other in (("known", "Testing"), ("unknown", "holdout")):
        lines = [f"{i:02}.png,{'train' if i < 18 else other}" for i in range(27)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["path,split", *lines]))

    def store_of(name):
        config = RunConfig.load(None, [f"data.source={tmp_path / name}.csv", "data.labels=false"])
        return build_store(config.data, tmp_path / f"store of {name}", 0)

    assert len(learned_from(store_of("known"), SplitConfig())[0]) == 18
    with pytest.raises(DataError, match="unknown value 'holdout'"):
        learned_from(store_of("unknown"), SplitConfig())
    assert len(learned_from(store_of("unknown"), SplitConfig(kind="stratified"))[0]) == 27


def test_groups_of_val_and_test_are_left_out(tmp_path):
    group = [f"scene {i // 6}" for i in range(COUNT)]
    store = made(tmp_path, groups=group)
    _, without, left = learned(store, SplitConfig())
    divided = make_split(store, SplitConfig())
    assert without
    assert not {group[row] for row in without} & {group[row] for row in [*divided.val, *divided.test]}
    assert left["groups_of_val_and_test"] == len(store.unlabelled) - len(without)


def test_blocks_and_the_buffer_of_val_and_test_are_left_out_and_what_has_no_place(tmp_path, caplog):
    column, row = np.arange(COUNT) // 3 % 5, np.arange(COUNT) // 15
    at = np.stack([8.0 + 0.2 * column + 0.001 * (np.arange(COUNT) % 3), 48.0 + 0.2 * row], axis=1)
    at[2] = np.nan
    store = made(tmp_path, locations=at)
    split = SplitConfig(kind="spatial", block_km=10, buffer_km=1)
    _, without, left = learned(store, split)
    divided = make_split(store, split)
    unseen = at[np.concatenate([divided.val, divided.test])]
    assert without
    assert all(np.abs(at[row] - unseen).max(axis=1).min() > 0.1 for row in without)
    assert left["places_of_val_and_test"] == len(store.unlabelled) - len(without)
    assert "1 patches without a label have no location" in caplog.text


def test_copies_that_were_compressed_again_or_turned_are_left_out(tmp_path):
    images = pictures()
    for copy, original, turn in ((2, 6, 0), (11, 3, 90), (20, 7, 180)):  # of test, val and test
        kept = io.BytesIO()
        Image.fromarray(images[original]).rotate(turn).save(kept, "JPEG", quality=80)
        images[copy] = np.asarray(Image.open(kept))
    split = [part if i % 3 < 2 else None for i, part in enumerate(parts())]
    store = made(tmp_path, images, split=split)
    _, without, left = learned(store, SplitConfig())
    assert left["near_duplicates_of_val_and_test"] == 3
    assert without == set(range(2, COUNT, 3)) - {2, 11, 20}
