"""Measures are what they are defined as, and each kind of collapse is named with what caused it."""

import math

import pytest
import torch
from tiny import settings

from landsift.pretraining import collapse
from landsift.pretraining.methods import complete

SOUND = {"output_entropy": 0.9, "output_kl": 0.3, "feature_std": 0.6, "rank_me": 80.0}


def own(*changes):
    return complete(settings(*changes).pretraining)


def test_features_spread_evenly_have_deviation_one_and_equal_ones_none():
    torch.manual_seed(0)
    assert collapse.feature_std(torch.randn(2000, 64)) == pytest.approx(1.0, abs=0.02)
    same = torch.randn(1, 64).expand(100, 64)
    assert collapse.feature_std(same) == pytest.approx(0.0, abs=1e-6)
    assert collapse.feature_std(1000 * same + 1e-3 * torch.randn(100, 64)) < 1e-3


def test_rank_me_counts_the_directions_that_features_use():
    assert collapse.rank_me(torch.eye(50)) == pytest.approx(50, rel=1e-3)
    assert collapse.rank_me(torch.ones(50, 20)) == pytest.approx(1.0, abs=1e-3)
    torch.manual_seed(0)
    of_three = torch.linalg.qr(torch.randn(100, 3))[0] @ torch.linalg.qr(torch.randn(30, 3))[0].T
    assert collapse.rank_me(of_three) == pytest.approx(3.0, rel=1e-3)


def test_views_agree_with_those_of_the_same_patch_and_not_with_others():
    torch.manual_seed(0)
    first = torch.randn(200, 256)
    same, others = collapse.agreement(first, 3 * first)
    assert same == pytest.approx(1.0)
    cosines = torch.nn.functional.normalize(first.double(), dim=1)
    expected = (cosines @ cosines.T).fill_diagonal_(0).sum() / (200 * 199)
    assert others == pytest.approx(float(expected), abs=1e-9)


def test_outputs_that_one_prototype_dominates_have_no_entropy_and_uniform_ones_no_divergence():
    k = 128
    one = torch.zeros(k)
    one[3] = 1.0
    dominated = collapse.output_measures(one, 0.0)
    assert dominated["output_entropy"] == pytest.approx(0.0, abs=1e-6)
    assert dominated["output_kl"] == pytest.approx(1.0)
    uniform = collapse.output_measures(torch.full((k,), 1 / k), math.log(k))
    assert uniform["output_entropy"] == pytest.approx(1.0)
    assert uniform["output_kl"] == pytest.approx(0.0)


def test_sound_figures_are_no_sign():
    assert collapse.look(SOUND, own()) is None
    assert collapse.look({"feature_std": 0.4, "rank_me": 20.0}, own("pretraining.method=simclr")) is None


@pytest.mark.parametrize(
    ("figures", "changes", "means", "cause", "change"),
    [
        ({"output_entropy": 0.01}, ["pretraining.dino.center_momentum=1"], "one output dominates",
         "center_momentum is 1", "center_momentum=0.9"),
        ({"output_kl": 0.001}, ["pretraining.dino.teacher_temperature=[0.5, 0.5]"], "nearly uniform",
         "temperature is 0.5", "teacher_temperature=[0.04, 0.04]"),
        ({"rank_me": 1.01}, ["pretraining.lr=0.1"], "along one direction", "pretraining.lr is 0.1, 100 times",
         "pretraining.lr=0.001"),
        ({"feature_std": 0.001}, ["pretraining.lr=0.1", "pretraining.method=lejepa"], "nearly the same",
         "100 times that of lejepa", "pretraining.lr=0.001"),
        ({"output_kl": 0.001}, [], "nearly uniform", "temperature (0.04) or the learning rate", "lower"),
        ({"output_entropy": 0.01}, [], "one output dominates", "centring is too slow", "center_momentum"),
    ],
)  # fmt: skip
def test_each_collapse_is_named_with_its_cause_and_what_to_change(figures, changes, means, cause, change):
    found = collapse.look(SOUND | figures, own(*changes))
    assert means in str(found)
    assert cause in str(found)
    assert change in found.change
