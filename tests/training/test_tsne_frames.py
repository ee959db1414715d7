"""Frames are made from features that a training has kept: of any epochs, of fewer patches or more, without training."""

import json

import numpy as np
import pytest
from small_runs import small

from landsift.errors import ModelError, RunError
from landsift.evaluation.tsne import make_embeddings
from landsift.runs import read_parquet
from landsift.training.kept_features import (
    drawn_rows,
    most_per_class,
    read_features,
    write_features,
    write_rows,
)

EPOCHS = 5


@pytest.fixture
def config():
    return small("tracking.tsne_every=3")


@pytest.fixture
def trained(config, store, tmp_path):
    """What a training of five epochs leaves to the frames; the backbone was frozen in the second and the third."""
    from landsift.data.splits import make_split

    split = make_split(store, config.data.split)
    rows = drawn_rows(split.val, store.labels, most_per_class(6), config.seed)
    write_rows(tmp_path, rows)
    for epoch, seed in enumerate((0, 1, 1, 2, 3)):
        features = np.random.default_rng(seed).normal(size=(len(rows), 5)).astype(np.float32)
        write_features(tmp_path, epoch, features)
    best(tmp_path, 4)
    (tmp_path / "metrics.json").write_text(json.dumps([{}] * EPOCHS))
    return tmp_path


def best(folder, epoch):
    (folder / "manifest.json").write_text(json.dumps({"best": {"epoch": epoch}}))


def frames(config, store, trained):
    make_embeddings(config, store, trained, trained)
    return read_parquet(trained / "embeddings.parquet")


@pytest.mark.parametrize(("model", "epochs"), [(0, [0, 3, 4]), (1, [0, 1, 3, 4]), (2, [0, 2, 3, 4]), (4, [0, 3, 4])])
def test_the_models_own_epoch_has_a_frame_among_the_others_which_stay_as_they_are(
    config, store, trained, model, epochs
):
    before = frames(config, store, trained)
    best(trained, model)
    after = frames(config, store, trained)
    assert sorted(after["epoch"].unique()) == epochs
    others = after[after["epoch"].isin([0, 3, 4])].reset_index(drop=True)
    assert others.equals(before)


def test_features_of_a_frozen_backbone_are_kept_once_and_read_for_each_epoch(trained):
    files = sorted(file.name for file in (trained / "validation_features").iterdir())
    assert files == ["000.npy", "001.npy", "003.npy", "004.npy", "rows.npy"]
    rows = np.load(trained / "validation_features" / "rows.npy")
    assert np.array_equal(read_features(trained, 1, rows), read_features(trained, 2, rows))
    assert not np.array_equal(read_features(trained, 0, rows), read_features(trained, 1, rows))


def test_fewer_patches_are_among_those_of_more(tmp_path):
    """So that what was kept of 50 serves for frames of 5."""
    labels, val = np.arange(900) % 3, np.arange(300, 900)
    few, many = (drawn_rows(val, labels, each, seed=1) for each in (5, 50))
    assert (len(few), len(many)) == (15, 150)
    assert set(few) < set(many) < set(val)
    write_rows(tmp_path, many)
    write_features(tmp_path, 0, np.stack([many, many], axis=1).astype(np.float32))
    assert read_features(tmp_path, 0, few)[:, 0].tolist() == few.tolist()


def test_every_epoch_can_have_a_frame(config, store, trained):
    table = frames(config.replace("tracking.tsne_every=1"), store, trained)
    assert sorted(table["epoch"].unique()) == list(range(EPOCHS))
    assert (table.groupby(["epoch", "label"]).size() == 4).all()  # of 24 validation patches


def test_more_patches_than_were_kept_are_said(config, store, trained, caplog):
    frames(config.replace("tracking.tsne_per_class=100"), store, trained)
    assert "tsne_per_class" not in caplog.text
    frames(config.replace("tracking.tsne_per_class=101"), store, trained)
    assert "t-SNE frames show 100 patches per class, not 101 (tracking.tsne_per_class)" in caplog.text


def test_the_default_is_kept_of_any_number_of_classes():
    assert [most_per_class(n) for n in (2, 10, 15, 45, 1000)] == [100, 100, 66, 50, 50]


def test_without_frames_the_table_is_empty(config, store, trained):
    table = frames(config.replace("tracking.tsne_every=0"), store, trained)
    assert list(table.columns) == ["epoch", "path", "label", "x", "y"]
    assert table.empty


def test_features_that_are_missing_or_no_numbers_are_named(config, store, trained):
    file = trained / "validation_features" / "000.npy"
    features = np.load(file)
    np.save(file, np.full_like(features, np.nan))
    with pytest.raises(ModelError, match="diverged"):
        frames(config, store, trained)
    np.save(file, features[1:])
    with pytest.raises(RunError, match="features of epoch 1 cannot be read: it is of other patches"):
        frames(config, store, trained)
    file.write_bytes(b"no array")
    with pytest.raises(RunError, match="features of epoch 1 cannot be read"):
        frames(config, store, trained)
    file.unlink()
    with pytest.raises(RunError, match="there is no file for that epoch"):
        frames(config, store, trained)
