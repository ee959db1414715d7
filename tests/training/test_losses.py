"""Balanced classes: the weights' numbers, what the loss makes of them, and what both ways do for a rare class."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_runs import small
from torch.nn import functional as F

from landsift.data.store.patch_store import build_store
from landsift.training.losses import balanced_weights, cross_entropy
from landsift.training.start import train

WEIGHTS = torch.tensor([0.5, 2.0, 4.0])


@pytest.fixture
def logits():
    return torch.randn(8, 3, generator=torch.Generator().manual_seed(0)) * 3


LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 2, 0])


# The weights


def test_the_weights_are_those_of_the_formula():
    labels = np.array([0] * 6 + [1] * 3 + [3])
    assert balanced_weights(labels, 5).tolist() == pytest.approx([10 / 18, 10 / 9, 0, 10 / 3, 0])


@given(st.lists(st.integers(1, 500), min_size=1, max_size=12))
def test_all_classes_count_the_same_and_a_patch_once_in_the_mean(counts):
    weights = balanced_weights(np.repeat(np.arange(len(counts)), counts), len(counts)).double().numpy()
    np.testing.assert_allclose(weights * counts, sum(counts) / len(counts), rtol=1e-6)
    assert (weights * counts).sum() / sum(counts) == pytest.approx(1)


# The loss


def test_without_weights_the_loss_is_torchs(logits):
    assert torch.equal(cross_entropy(logits, LABELS, 0.1), F.cross_entropy(logits, LABELS, label_smoothing=0.1))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_patch_counts_as_often_as_its_label_weighs_and_the_sum_is_divided_by_the_patches(logits, smoothing):
    surprise = -logits.log_softmax(dim=1)
    expected = 0.0
    for i, label in enumerate(LABELS.tolist()):
        own = (1 - smoothing) * surprise[i, label] + smoothing * surprise[i].mean()
        expected += [0.5, 2.0, 4.0][label] * own.item() / 8
    assert cross_entropy(logits, LABELS, smoothing, WEIGHTS).item() == pytest.approx(expected, rel=1e-5)
    assert cross_entropy(logits, LABELS, smoothing, torch.ones(3)).item() == pytest.approx(
        F.cross_entropy(logits, LABELS, label_smoothing=smoothing).item(), rel=1e-6
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_mixed_patch_costs_what_its_labels_would_in_their_shares(logits, smoothing):
    others = LABELS.roll(3)
    mixed = 0.3 * F.one_hot(LABELS, 3) + 0.7 * F.one_hot(others, 3)
    ours, theirs = (cross_entropy(logits, labels, smoothing, WEIGHTS) for labels in (LABELS, others))
    torch.testing.assert_close(cross_entropy(logits, mixed, smoothing, WEIGHTS), 0.3 * ours + 0.7 * theirs)
    pure = F.one_hot(LABELS, 3).float()
    torch.testing.assert_close(cross_entropy(logits, pure, smoothing, WEIGHTS), ours)


def test_smoothing_does_not_move_a_label_towards_rare_classes():
    """The best a network can say of a common patch is its smoothed label, however much a rare class weighs."""
    logits = torch.zeros(1, 3, requires_grad=True)
    target = torch.tensor([1 - 0.1 * 2 / 3, 0.1 / 3, 0.1 / 3])
    loss = cross_entropy(target.log()[None] + logits, torch.tensor([0]), 0.1, torch.tensor([0.1, 1.0, 50.0]))
    loss.backward()
    assert logits.grad.abs().max() < 1e-7


@pytest.mark.parametrize("mixed", [False, True])
def test_parts_of_a_batch_add_up_to_the_whole(logits, mixed):
    """So that processes, each with its share of a step, train what one would."""
    labels = 0.6 * F.one_hot(LABELS, 3) + 0.4 * F.one_hot(LABELS.roll(1), 3) if mixed else LABELS
    parts = [cross_entropy(a, b, 0.1, WEIGHTS) * len(a) for a, b in zip(logits.split(5), labels.split(5), strict=True)]
    torch.testing.assert_close(sum(parts) / 8, cross_entropy(logits, labels, 0.1, WEIGHTS))


# A rare class


def configured(source, *changes):
    settings = (
        f"data.source={source}",
        "data.split.fractions=[0.4, 0.2, 0.4]",
        "training.augment.color_jitter=[0, 0, 0, 0]",
        "model.head.dropout=0.0",
        "tracking.tsne_every=0",
        "strategy=[{epochs: 12, lr_head: 2.0e-2}]",
    )
    return small(*settings, *changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    stores = {}

    def run(*changes, rare=140):
        """Train on patches of which the rare class has this mean brightness, and the common one 110."""
        if rare not in stores:
            stores[rare] = skewed(tmp_path_factory.mktemp("skewed"), rare)
        config = configured(stores[rare].info["root"], *changes)
        return train(config, stores[rare], tmp_path_factory.mktemp("run") / "r")

    return run


def skewed(root, rare):
    """Patches of two classes that differ in brightness and overlap, 400 of the common one and 50 of the rare one."""
    rng = np.random.default_rng(0)
    for name, count, brightness in (("common", 400, 110), ("rare", 50, rare)):
        (root / "patches" / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.normal(rng.normal(brightness, 20), 10, (16, 16, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / "patches" / name / f"{i}.png")
    return build_store(configured(root / "patches").data, root / "store")


@pytest.fixture(scope="module")
def plain(trained):
    return trained()


def recall(run, name="rare"):
    """Of 10 validation and 20 test patches of the rare class, or of 80 and 160 of the common one."""
    of_class = run.predictions[run.predictions["label"] == name]
    assert len(of_class) == {"rare": 30, "common": 240}[name]
    return float((of_class["predicted"] == name).mean())


@pytest.mark.parametrize("setting", ["sampler", "class_weights"])
@pytest.mark.parametrize("cached", ["true", "false"], ids=["features kept", "features not kept"])
def test_balancing_finds_more_of_a_rare_class(trained, setting, cached):
    settings = f"training.{setting}=balanced", f"training.cache_features={cached}"
    plain, balanced = trained(rare=142), trained(*settings, rare=142)
    assert recall(plain) < 0.2
    assert recall(balanced) > 0.5
    assert recall(balanced, "common") > 0.6  # it does not just call everything rare


def test_the_best_epoch_is_then_that_of_the_highest_mean_recall(trained, plain):
    """Accuracy would choose an epoch that calls nearly everything common."""
    balanced = trained("training.class_weights=balanced", "training.batch_size=12")  # a batch holds both classes
    assert plain.manifest["best"]["chosen_by"] == "val_acc"
    assert plain.manifest["best"]["val_acc"] == max(row["val_acc"] for row in plain.metrics)
    assert balanced.manifest["best"]["chosen_by"] == "val_recall"
    assert balanced.manifest["best"]["val_acc"] < max(row["val_acc"] for row in balanced.metrics) - 0.05
    state = torch.load(balanced.path / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    highest = next(s["best_model_score"] for s in state.values() if s.get("monitor") == "val_choice")
    recalls = [figures["recall"] for figures in balanced.evaluation["val"]["per_class"].values()]
    patches = balanced.evaluation["val"]["n"]
    assert (
        0 < np.mean(recalls) - float(highest) < 0.5 / (2 * patches)
    )  # less than a patch: among equals the loss decides


def test_the_loss_of_the_validation_counts_every_patch_once(trained):
    """At rates too small to change anything."""
    still = "strategy=[{epochs: 1, lr_head: 1.0e-12, schedule: constant}]"
    plain, weighted = (trained(still, f"training.class_weights={kind}").metrics[0] for kind in ("none", "balanced"))
    assert weighted["val_loss"] == pytest.approx(plain["val_loss"], rel=1e-5)
    assert weighted["train_loss"] != pytest.approx(plain["train_loss"], rel=1e-3)
