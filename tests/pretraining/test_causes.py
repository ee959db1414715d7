"""Settings that make a pretraining fail are named before it starts, and as the cause when it does."""

import logging

import numpy as np
import pytest
import torch
from tiny import patches, settings
from torch import nn

from landsift.config import RunConfig
from landsift.data.store.patch_store import PatchStore
from landsift.errors import CollapseError
from landsift.pretraining import causes, collapse
from landsift.pretraining.methods import METHODS, complete
from landsift.pretraining.patches import alike
from landsift.pretraining.start import pretrain

ALL_EQUAL = {"feature_std": 0.001, "rank_me": 1.0}


def own(*changes):
    return complete(settings(*changes).pretraining)


@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_has_nothing_that_would_make_it_fail(method):
    asked = complete(RunConfig.load(None, [f"pretraining.method={method}"]).pretraining)
    assert list(causes.causes(asked)) == []
    assert causes.unread(asked) == []


@pytest.mark.parametrize(
    ("changes", "text", "change"),
    [
        (["method=lejepa", "lejepa.weight=0"], "outputs are hardly kept apart", "lejepa.weight=0.05"),
        (["method=lejepa", "lejepa.weight=1"], "views are hardly compared", "lejepa.weight=0.05"),
        (["method=simclr", "simclr.temperature=1e-6"], "simclr.temperature is 1e-06", "simclr.temperature=0.2"),
        (["method=simclr", "simclr.temperature=50"], "simclr.temperature is 50", "simclr.temperature=0.2"),
        (["method=dino", "dino.student_temperature=1e-8"], "the student's temperature is 1e-08", "temperature="),
        (["method=dino", "dino.teacher_temperature=[1e-8, 0.04]"], "sharpened too much", "dino.teacher_temperature=["),
        (["method=dino", "dino.teacher_temperature=[0.3, 0.3]"], "not sharpened", "dino.teacher_temperature=["),
        (["method=dino", "dino.center_momentum=1"], "not centred", "dino.center_momentum=0.9"),
        (["method=dino", "dino.teacher_momentum=0"], "follows the student too fast", "dino.teacher_momentum="),
        (["method=dino", "dino.freeze_last_layer=9", "epochs=9"], "last layer of the head never trains", "layer=1"),
        (["method=simclr", "weight_decay=[0.1, 500]"], "weight decay is too high", "set pretraining.weight_decay=["),
        (["method=simclr", "lr=0.1"], "the learning rate is too high: pretraining.lr is 0.1", "set pretraining.lr="),
        (["method=simclr", "views.local=0", "views.global_area=[0.001, 0.001]"], "at most 0.10% of a patch",
         "views.global_area=[0.15, 1]"),
        (["method=dino", "views.local_size=64"], "local views are larger than global ones", "views.local_size=16"),
    ],
)  # fmt: skip
def test_what_is_set_against_the_method_is_named_with_the_value_to_set(changes, text, change):
    asked = own(*(f"pretraining.{one}" for one in changes))
    cause = next(causes.causes(asked))
    assert text in cause.text
    assert change in cause.change
    found = collapse.look(ALL_EQUAL, asked)
    assert found is not None
    assert found.is_explained
    assert (found.cause, found.change) == (cause.text, cause.change)


def test_settings_of_another_method_are_said_to_be_unread():
    asked = own("pretraining.method=simclr", "pretraining.dino.center_momentum=0.5", "pretraining.head.bottleneck=16")
    assert causes.unread(asked) == ["pretraining.dino", "pretraining.head.bottleneck"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [0.02, 0.05, 0.25])  # of ViTs, of ResNets, of ImageNet's MobileNetV2
def test_a_hundred_times_the_rate_is_refused_before_the_first_step_and_the_recipe_is_not(method, size):
    torch.manual_seed(0)
    layer = nn.Linear(64, 64)
    nn.init.normal_(layer.weight, std=size)
    causes.check_rate(own(f"pretraining.method={method}"), layer)
    with pytest.raises(CollapseError, match=r"learning rate is too high: .*100 times that of " + method) as raised:
        causes.check_rate(own(f"pretraining.method={method}", f"pretraining.lr={100 * METHODS[method].lr}"), layer)
    assert raised.value.hint == f"set pretraining.lr={METHODS[method].lr:g} or lower"


def test_a_pretraining_warns_before_it_starts_and_a_rate_that_cannot_do_ends_it_there(store, tmp_path, caplog):
    asked = settings("pretraining.method=simclr", "pretraining.lr=0.1", "pretraining.simclr.temperature=50")
    with pytest.raises(CollapseError, match="would diverge"):
        pretrain(asked, store, tmp_path / "r")
    assert "pretraining.simclr.temperature is 50" in caplog.text
    assert "steps in all, in which little is learned" in caplog.text
    assert not list((tmp_path / "r").glob("metrics*"))


def test_numbers_that_are_not_finite_are_blamed_on_the_setting_or_the_precision_or_the_rate():
    config = settings("pretraining.method=simclr")
    config = config.model_copy(update={"pretraining": complete(config.pretraining)})
    assert causes.diverged(config, "step 3", "bf16").hint == "set training.precision=32"
    assert "pretraining.lr (" in str(causes.diverged(config, "step 3", "32"))
    other = config.model_copy(update={"pretraining": own("pretraining.method=simclr", "pretraining.lr=0.1")})
    assert "100 times that of simclr" in str(causes.diverged(other, "step 3", "bf16"))


def test_features_that_are_not_finite_have_no_rank():
    features = torch.randn(20, 8)
    features[3, 2] = float("nan")
    assert np.isnan(collapse.rank_me(features))


def test_patches_that_are_nearly_the_same_are_blamed_and_no_setting():
    rng = np.random.default_rng(0)
    dark = np.zeros((40, 32, 32, 3), dtype=np.uint8)
    dark[np.arange(40), np.arange(40) % 32, 0] = 1
    noisy = (rng.integers(0, 4000, (1, 32, 32, 4)) + rng.integers(0, 9, (40, 32, 32, 4))).astype(np.uint16)
    for images in (dark, noisy, noisy.astype(np.float32)):
        said = alike(images, np.arange(40))
        assert "the patches themselves are nearly the same" in said
        found = collapse.look(ALL_EQUAL, own("pretraining.method=simclr"), said)
        assert found is not None
        assert (found.cause, found.change) == (said, "give patches that show different things")


def test_patches_that_differ_are_not_called_alike():
    images, _, _ = patches()
    rows = np.arange(len(images))
    assert alike(images, rows) == ""
    assert alike(images.astype(np.float32) / 1e4 + 290.0, rows) == ""  # kelvin, say
    images = images.astype(np.float32)
    images[3] = np.nan
    assert alike(images, rows) == ""


def test_few_steps_of_a_sound_recipe_are_no_collapse(tmp_path, caplog):
    """Random weights give nearly black patches nearly the same features at first."""
    images = np.random.default_rng(0).integers(0, 4, (64, 32, 32, 3)).astype(np.uint8)
    store = PatchStore.from_arrays(images, np.full(64, -1), [], folder=tmp_path / "s")
    asked = settings(
        "pretraining.method=simclr",
        "pretraining.epochs=1",
        "pretraining.watch.patience=1",
        "model.backbone=test_resnet",
    )
    with caplog.at_level(logging.WARNING, "landsift"):
        pretrain(asked, store, tmp_path / "r")
    assert "collapsed" not in caplog.text
