"""What a training computes follows from its configuration, manifest and epochs, and counts no validation."""

import pytest
import torch

from landsift.config import RunConfig
from landsift.evaluation.compute_cost import train_seconds, work_of

PATCHES, VAL = 100, 50


def configured(*changes):
    base = ("model.backbone=test_resnet", "model.weights=none", "training.image_size=32", "model.head.hidden=null")
    return RunConfig.load(None, [*base, *changes])


def phase(blocks=0, epochs=2, features=None, image_size=None):
    """A phase as manifest.json has it, and its epochs as metrics.json has them."""
    return {"blocks": blocks, "epochs": epochs, "feature_seconds": features, "image_size": image_size}


def manifest(*phases):
    split = {"train": PATCHES, "val": VAL, "test": 60}
    return {"data": {"split": split, "classes": {"a": 90, "b": 60, "c": 60}}, "phases": list(phases)}


def epochs(*phases):
    return [
        {"phase": number, "seconds": 5.0, "val_seconds": 1.0}
        for number, p in enumerate(phases, start=1)
        for _ in range(p["epochs"])
    ]


def work(*phases, config=None):
    return work_of(config or configured(), manifest(*phases), epochs(*phases))


FORWARD = work(phase("all", 1)) / PATCHES
"""Forward and backward of network and head, per patch: three times their forward passes."""
HEAD = 3 * 2 * 96 * 3
"""Forward and backward of the head: 96 features, 3 classes, a multiplication and an addition each."""


def test_a_network_that_trains_costs_three_forward_passes():
    one = (FORWARD - HEAD) / 3
    frozen = work(phase(0, 1)) / PATCHES
    assert frozen == pytest.approx(one + HEAD)
    assert work(phase("all", 4)) == pytest.approx(4 * PATCHES * (3 * one + HEAD))


def test_kept_features_cost_a_pass_for_each_view_and_epochs_the_head_alone():
    one = (FORWARD - HEAD) / 3
    for views in (1, 2, 8):
        config = configured(f"training.feature_views={views}")
        expected = PATCHES * (views * one + 15 * HEAD)
        assert work(phase(0, 15, features=2.5), config=config) == pytest.approx(expected)
    without = ("training.augment.flips=false", "training.augment.color_jitter=[0, 0, 0, 0]")
    without_flips = configured("training.feature_views=4", *without)
    assert work(phase(0, 15, features=2.5), config=without_flips) == pytest.approx(PATCHES * (one + 15 * HEAD))


def test_views_that_are_drawn_anew_cost_their_passes_again():
    one = (FORWARD - HEAD) / 3
    for every, drawings in ((None, 1), (5, 3), (4, 4), (100, 1)):
        config = configured("training.augment.flips=false", "training.augment.crop=0.5").replace(
            f"training.feature_epochs={'null' if every is None else every}"
        )
        expected = PATCHES * (2 * drawings * one + 15 * HEAD)
        assert work(phase(0, 15, features=2.5), config=config) == pytest.approx(expected)


def test_more_blocks_cost_more_and_all_of_them_the_whole():
    costs = [work(phase(blocks)) for blocks in (0, 1, 2, 3, "all")]
    assert costs == sorted(costs)
    assert len(set(costs)) == 5
    assert work(phase(99)) == costs[-1]


def test_phases_add_up_and_larger_images_cost_their_pixels():
    parts = phase(0, 3, features=1.0), phase("all", 5), phase("all", 2, image_size=64)
    assert work(*parts) == pytest.approx(
        work(parts[0]) + 5 * work(phase("all", 1)) + 2 * work(phase("all", 1, image_size=64))
    )
    ratio = work(phase("all", 1, image_size=64)) / work(phase("all", 1))
    assert ratio == pytest.approx(4, rel=0.05)


def test_epochs_that_early_stopping_left_out_cost_nothing():
    planned = phase("all", 20)
    ran = [{"phase": 1, "seconds": 1.0, "val_seconds": 0.1}] * 3
    assert work_of(configured(), manifest(planned), ran) == pytest.approx(work(phase("all", 3)))


def test_depthwise_convolutions_cost_no_more_backward_than_the_rule_says():
    """torch's own count of their backward pass is twenty times the forward pass of MobileNetV2."""
    config = configured("model.backbone=mobilenetv2_100", "training.image_size=64")
    whole, frozen = (work(phase(blocks, 1), config=config) / PATCHES for blocks in ("all", 0))
    assert frozen == pytest.approx(48.9e6, rel=0.01)  # 2 x 300 million multiplications at 224 pixels (Sandler 2018)
    assert whole / frozen == pytest.approx(3, rel=0.01)


def test_the_weights_that_a_training_started_from_are_not_needed_to_count_it():
    assert work(phase("all"), config=configured("model.weights=gone.safetensors")) == work(phase("all"))


def test_counting_draws_no_random_numbers():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    work(phase(1, image_size=48))
    assert torch.equal(torch.rand(3), expected)


def test_seconds_are_told_without_validation_and_its_features():
    """Features of 100 patches in two views and of 50 validation patches took 10 s: 2 s of them for these."""
    probe = phase(0, 3, features=10.0)
    assert train_seconds(configured(), manifest(probe), epochs(probe)) == pytest.approx(3 * 4 - 2)
    whole = phase("all", 3)
    assert train_seconds(configured(), manifest(whole), epochs(whole)) == pytest.approx(12)
