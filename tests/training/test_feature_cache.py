"""Features kept for a phase are those that the backbone would have given, and train the head to the same end."""

import errno
import json
import logging

import lightning as L
import numpy as np
import pytest
import torch
from small_runs import small

from landsift.bands import BandSpec
from landsift.config import AugmentConfig
from landsift.data.augment import SYMMETRIES, flips_and_turns
from landsift.data.batches import PatchBatches
from landsift.data.patch_reader import PatchReader
from landsift.data.splits import make_split
from landsift.errors import RunError
from landsift.models.preprocess import Normalize, resize, to_float
from landsift.training.feature_cache import FeatureCache, drawn_view, uncachable, view_symmetry
from landsift.training.fit import build_classifier
from landsift.training.start import train

# Untrained features are tiny, and the head's batch norm makes their last bits, which depend on the batch, larger.
CLOSE = 5e-4

SETTINGS = (
    "model.head.dropout=0.0",
    "training.precision=32",
    "training.augment.color_jitter=[0, 0, 0, 0]",
    "training.feature_views=8",
    "tracking.tsne_every=2",
    "strategy=[{name: head, epochs: 3, lr_head: 5.0e-3}, {name: all, epochs: 1, lr_head: 1.0e-3, blocks: all, "
    "lr_backbone: 1.0e-3}]",
)


def configured(*changes):
    return small(*SETTINGS, *changes)


@pytest.fixture(scope="module")
def cached(store, tmp_path_factory):
    return train(configured(), store, tmp_path_factory.mktemp("cached") / "r")


def figures(run, *keys):
    return [[row[key] for key in keys] for row in run.metrics]


def test_the_run_is_the_one_without_kept_features(store, cached, tmp_path):
    plain = train(configured("training.cache_features=false"), store, tmp_path / "r")
    keys = ("train_loss", "val_loss", "val_acc")
    np.testing.assert_allclose(figures(cached, *keys), figures(plain, *keys), rtol=CLOSE)
    assert cached.manifest["phases"][0]["feature_seconds"] > 0
    assert cached.manifest["phases"][1]["feature_seconds"] is None
    assert plain.manifest["phases"][0]["feature_seconds"] is None


def test_no_feature_file_is_left(cached):
    assert not (cached.path / "features").exists()


@pytest.mark.parametrize("views", [1, 3, 8])
def test_kept_features_are_the_backbones_to_the_bit(store, tmp_path, monkeypatch, views):
    """What the cache gives for a training batch equals the backbone's output for the same turned patches.

    To the bit for the batches in which they were computed; a convolution's last bits can depend on the batch's size.
    """
    taken = []
    original = FeatureCache.take_drawn

    def take(self, rows, drawn):
        features = original(self, rows, drawn)
        if drawn.any():
            taken.append((rows, view_symmetry(rows, drawn_view(drawn, views), views), features))
        return features

    monkeypatch.setattr(FeatureCache, "take_drawn", take)
    one_phase = "strategy=[{epochs: 2, lr_head: 5.0e-3}]"
    config = configured(one_phase, f"training.feature_views={views}", "tracking.tsne_every=0", "seed=3")
    train(config, store, tmp_path / "r")
    L.seed_everything(3, verbose=False)
    split = make_split(store, config.data.split)
    classifier, normalization = build_classifier(config, store, split)
    backbone = classifier.backbone.to(memory_format=torch.channels_last).eval()
    normalize = Normalize(normalization.mean, normalization.std)

    def features_of(rows, symmetry):
        patches = torch.from_numpy(store.images[rows.numpy()])
        with torch.inference_mode():
            return backbone(normalize(resize(to_float(flips_and_turns(patches, symmetry)), 32)))

    in_order = torch.from_numpy(split.train).split(16)
    expected = {}
    for rows in in_order:
        for view in range(views):
            symmetry = view_symmetry(rows, torch.full_like(rows, view), views)
            for row, k, features in zip(rows.tolist(), symmetry.tolist(), features_of(rows, symmetry), strict=True):
                expected[row, k] = features
    assert len(taken) == 10
    for rows, symmetry, features in taken:
        same = torch.stack([expected[key] for key in zip(rows.tolist(), symmetry.tolist(), strict=True)])
        assert torch.equal(features, same)
        torch.testing.assert_close(features, features_of(rows, symmetry), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8])
def test_the_views_of_a_patch_are_distinct_and_all_symmetries_occur(count):
    rows = torch.arange(16).repeat_interleave(count)
    views = torch.arange(count).repeat(16)
    symmetry = view_symmetry(rows, views, count).view(16, count)
    assert all(len(set(of_patch.tolist())) == count for of_patch in symmetry)
    assert set(symmetry.flatten().tolist()) == set(range(SYMMETRIES))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8])
def test_every_view_is_drawn(count):
    assert set(drawn_view(torch.arange(SYMMETRIES), count).tolist()) == set(range(count))


def test_without_flips_a_patch_has_its_one_view(store, tmp_path):
    """The untouched patch, as validation sees it."""
    config = configured("training.augment.flips=false", "strategy=[{epochs: 2, lr_head: 5.0e-3}]")
    plain = config.replace("training.cache_features=false")
    kept = train(config, store, tmp_path / "kept")
    usual = train(plain, store, tmp_path / "usual")
    keys = ("train_loss", "val_loss", "val_acc")
    np.testing.assert_allclose(figures(kept, *keys), figures(usual, *keys), rtol=CLOSE)


def test_what_changes_every_view_turns_the_cache_off_and_says_so(store, tmp_path, caplog):
    config = configured("training.augment.color_jitter=[0.1, 0, 0, 0]", "training.augment.mixup=0.2")
    logging.getLogger("landsift").propagate = True
    with caplog.at_level("INFO", "landsift"):
        run = train(config, store, tmp_path / "r")
    expected = (
        "features are not cached, the frozen backbone runs in every epoch of this phase: "
        "training.augment.color_jitter, training.augment.mixup changes its input"
    )
    assert expected in caplog.messages
    assert run.manifest["phases"][0]["feature_seconds"] is None


def test_what_cannot_be_cached_is_named():
    RGB = BandSpec.pictures()
    off = {"color_jitter": (0, 0, 0, 0)}
    assert uncachable(AugmentConfig(**off), RGB) == ""
    assert uncachable(AugmentConfig(color_jitter=(0, 0, 0.2, 0.1)), BandSpec.pictures(["grey"])) == ""  # it has no hue
    assert uncachable(AugmentConfig(), BandSpec.pictures(["grey"])) == "training.augment.color_jitter"
    assert (
        uncachable(AugmentConfig(**off, crop=0.5, cutmix=1.0), RGB) == "training.augment.crop, training.augment.cutmix"
    )


def test_a_full_disk_is_an_error_in_words_and_leaves_nothing(store, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(RunError, match=r"cannot cache features in .*: No space left on device"):
        train(configured(), store, tmp_path / "r")
    assert not (tmp_path / "r" / "features").exists()


def test_the_split_decides_which_rows_are_kept(store, tmp_path, monkeypatch):
    kept = []
    original = FeatureCache.__init__

    def init(self, path, rows, views, width):
        kept.append((path.stem, rows, views))
        original(self, path, rows, views, width)

    monkeypatch.setattr(FeatureCache, "__init__", init)
    config = configured("training.feature_views=2", "data.budget=36")
    train(config, store, tmp_path / "r")
    split = make_split(store, config.data.split, 36)
    assert [(name, views) for name, _, views in kept] == [("train", 2), ("val", 1)]
    assert np.array_equal(kept[0][1], split.train)
    assert np.array_equal(kept[1][1], split.val)
    assert len(PatchBatches(store.images, store.labels, split.train, batch_size=16)) == 3
    assert json.loads((tmp_path / "r" / "manifest.json").read_text())["data"]["budget"] == 36


def test_patches_are_read_for_the_features_and_not_again(store, tmp_path, monkeypatch):
    """Of 72 training and 24 validation patches, two epochs of the head alone; those of the test are not read at all.

    Random weights are normalised by the training patches, which are read once for it.
    """
    read = []
    original = PatchReader.__call__

    def count(self, rows, *out):
        read.append(len(rows))
        return original(self, rows, *out)

    monkeypatch.setattr(PatchReader, "__call__", count)
    two = "strategy=[{epochs: 2, lr_head: 5.0e-3}]"
    train(configured(two), store, tmp_path / "kept")
    kept, others = sum(read), 72
    read.clear()
    train(configured(two, "training.cache_features=false"), store, tmp_path / "usual")
    assert kept == 72 + 24 + others
    assert sum(read) == 2 * (72 + 24) + others
