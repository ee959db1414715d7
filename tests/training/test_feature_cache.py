"""Features kept for a phase are those that the backbone would have given, and train the head to the same end."""

import errno
import json
import logging

import lightning as L
import numpy as np
import pytest
import torch
from small_runs import small

from landsift.data.augment import SYMMETRIES, flips_and_turns
from landsift.data.batches import PatchBatches
from landsift.data.patch_reader import PatchReader
from landsift.data.splits import make_split
from landsift.errors import RunError
from landsift.models.preprocess import Normalize, resize, to_float
from landsift.training.feature_cache import FeatureCache, drawn_view, view_symmetry
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


def test_mixing_turns_the_cache_off_and_says_so(store, tmp_path, caplog):
    config = configured("training.augment.color_jitter=[0.1, 0, 0, 0]", "training.augment.mixup=0.2")
    logging.getLogger("landsift").propagate = True
    with caplog.at_level("INFO", "landsift"):
        run = train(config, store, tmp_path / "r")
    expected = (
        "features are not cached, the frozen backbone runs in every epoch of this phase: "
        "training.augment.mixup mixes the pixels of patches, in other pairs in every epoch"
    )
    assert expected in caplog.messages
    assert run.manifest["phases"][0]["feature_seconds"] is None


DRAWN = (
    "training.augment={color_jitter: [0.2, 0.2, 0.2, 0.1], crop: 0.5, blur: 0.5, noise: 0.1, band_dropout: 0.1}",
    "strategy=[{name: head, epochs: 2, lr_head: 5.0e-3}]",
    "tracking.tsne_every=0",
)


@pytest.fixture
def put(monkeypatch):
    """What caches are given: name of the file, view, rows and features."""
    found = []
    opened, original = FeatureCache.__init__, FeatureCache.put

    def init(self, path, rows, views, width):
        self.name = path.stem
        opened(self, path, rows, views, width)

    def noted(self, rows, view, features):
        found.append((self.name, view, rows.numpy().copy(), features.numpy().copy()))
        original(self, rows, view, features)

    monkeypatch.setattr(FeatureCache, "__init__", init)
    monkeypatch.setattr(FeatureCache, "put", noted)
    return found


def of_views(put):
    """Features by patch of each drawn view, in the order of drawing: each [N, D], and those of validation apart."""
    names = {name for name, *_ in put}
    of = {name: {} for name in names}
    for name, view, rows, features in put:
        times = of[name].setdefault(view, [{}])
        if rows[0] in times[-1]:
            times.append({})
        times[-1].update(zip(rows.tolist(), features, strict=True))
    return {name: {v: [np.stack([t[r] for r in sorted(t)]) for t in times] for v, times in views.items()}
            for name, views in of.items()}  # fmt: skip


def test_views_with_jitter_and_crops_are_cached_as_drawn(store, tmp_path, put, caplog):
    """Each view differs from the others and from the patch; another batch size draws the same."""
    logging.getLogger("landsift").propagate = True
    with caplog.at_level("INFO", "landsift"):
        run = train(configured(*DRAWN, "training.feature_views=3"), store, tmp_path / "r")
    assert run.manifest["phases"][0]["feature_seconds"] > 0
    said = "cached features of 72 training patches in 3 drawn views and of 24 validation patches for this phase"
    assert sum(message.startswith(said) for message in caplog.messages) == 1
    first = of_views(put)
    assert [len(drawings) for drawings in first["train"].values()] == [1, 1, 1]
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert not np.isclose(first["train"][a][0], first["train"][b][0]).all(axis=1).any()
    put.clear()
    train(configured(*DRAWN, "training.feature_views=3", "training.batch_size=10"), store, tmp_path / "other")
    for view, [features] in of_views(put)["train"].items():
        np.testing.assert_allclose(features, first["train"][view][0], rtol=1e-3, atol=1e-5)


def test_views_are_drawn_anew_as_often_as_asked(store, tmp_path, put):
    train(configured(*DRAWN, "training.feature_views=2", "training.feature_epochs=1"), store, tmp_path / "r")
    found = of_views(put)
    assert [len(drawings) for drawings in found["train"].values()] == [2, 2]
    assert len(found["val"][0]) == 1
    for first, second in found["train"].values():
        assert not np.isclose(first, second).all(axis=1).any()


def test_flips_alone_are_others_when_they_are_drawn_anew():
    rows = torch.arange(16)
    seen = [view_symmetry(rows, torch.zeros_like(rows), 1, drawing) for drawing in range(SYMMETRIES)]
    assert all(len(set(of_patch.tolist())) == SYMMETRIES for of_patch in torch.stack(seen, dim=1))


def test_without_flips_drawn_views_are_as_many_as_asked(store, tmp_path, put):
    without = ("training.augment.flips=false", "training.augment.crop=0.5", "training.feature_views=2")
    train(configured(*DRAWN[1:], *without), store, tmp_path / "r")
    assert sorted(of_views(put)["train"]) == [0, 1]


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
