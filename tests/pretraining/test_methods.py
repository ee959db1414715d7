"""The table of methods fills in what a configuration leaves out, and phases share the epochs out."""

import pytest
from tiny import settings

from landsift.config import RunConfig
from landsift.errors import ConfigError
from landsift.pretraining.fit import completed
from landsift.pretraining.methods import METHODS, complete, local_size, phases_of
from landsift.training.phases import total_epochs


@pytest.mark.parametrize("method", METHODS)
def test_a_row_fills_in_what_is_left_out_and_nothing_that_is_said(method):
    row = METHODS[method]
    own = complete(RunConfig.load(None, [f"pretraining.method={method}", "pretraining.head.output=96"]).pretraining)
    assert (own.lr, own.weight_decay, own.views.local) == (row.lr, row.weight_decay, row.local_views)
    assert (own.head.hidden, own.head.output) == (row.hidden, 96)
    assert complete(own) == own


def test_without_a_method_the_cheapest_is_taken():
    assert complete(RunConfig().pretraining).method == "simclr"


def test_a_backbone_that_starts_from_weights_learns_at_a_lower_rate():
    rates = {
        weights: completed(RunConfig.load(None, [f"model.weights={weights}", *changes])).pretraining.lr
        for weights, changes in (("none", ()), ("imagenet", ()), ("other.pth", ("pretraining.lr=0.01",)))
    }
    assert rates == {"none": 1e-3, "imagenet": pytest.approx(2e-4), "other.pth": 0.01}


@pytest.mark.parametrize(
    ("epochs", "progressive", "expected"),
    [
        (10, "[]", [(64, 10)]),
        (10, "[[32, 0.4], [48, 0.3]]", [(32, 4), (48, 3), (64, 3)]),
        (3, "[[32, 0.01], [48, 0.01]]", [(32, 1), (48, 1), (64, 1)]),
        (4, "[[32, 0.9]]", [(32, 3), (64, 1)]),
    ],
)
def test_smaller_sizes_come_first_and_each_has_an_epoch_at_least(epochs, progressive, expected):
    own = complete(
        RunConfig.load(None, [f"pretraining.epochs={epochs}", f"pretraining.progressive={progressive}"]).pretraining
    )
    phases = phases_of(own)
    assert [(phase.image_size, phase.epochs) for phase in phases] == expected
    assert total_epochs(phases) == epochs


def test_local_views_shrink_with_the_image_and_fit_the_networks_patches():
    own = settings("pretraining.image_size=64", "pretraining.views.local_size=32").pretraining
    assert [local_size(own, size) for size in (64, 48, 32)] == [32, 24, 16]
    assert [local_size(own, size, 16) for size in (64, 32)] == [32, 16]
    assert local_size(own, 64, 14) == 28


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("pretraining.progressive=[[64, 0.5]]", "all are below image_size"),
        ("pretraining.progressive=[[32, 0.6], [48, 0.5]]", "must leave some"),
        ("pretraining.views.global_area=[0.9, 0.4]", "smallest share comes first"),
        ("pretraining.method=moco", "moco"),
        ("pretraining.watch.patience=0", "watch.patience"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting, reason):
    with pytest.raises(ConfigError, match=reason):
        RunConfig.load(None, [setting])
