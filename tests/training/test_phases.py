"""Strategies are data: resolved, checked, and their schedules pinned."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landsift.errors import ConfigError
from landsift.training.phases import STRATEGIES, Phase, first_epoch, phase_of, resolve_strategy, total_epochs


def test_two_phase_is_the_tutorials_recipe():
    head, fine = STRATEGIES["two_phase"]
    assert (head.epochs, head.lr_head, head.blocks, head.schedule) == (7, 2e-3, 0, "cosine")
    assert (fine.epochs, fine.lr_head, fine.lr_backbone, fine.blocks, fine.lr_min) == (10, 1e-4, 1e-5, "all", 1e-6)
    assert total_epochs((head, fine)) == 17


def test_each_epoch_belongs_to_one_phase():
    strategy = STRATEGIES["two_phase"]
    assert [phase_of(strategy, e) for e in range(18)] == [0] * 7 + [1] * 11
    assert [first_epoch(strategy, i) for i in range(2)] == [0, 7]


def test_a_warm_up_longer_than_a_tenth_of_the_phase_is_cut_to_a_tenth():
    phase = Phase("p", epochs=1, lr_head=1.0, warmup_steps=500)
    factors = [phase.factor(step, 100, 1.0) for step in range(100)]
    assert factors[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert max(factors) == factors[10] == 1.0
    assert factors[10:] == sorted(factors[10:], reverse=True)


@given(steps=st.integers(1, 2000), warmup=st.integers(0, 3000), peak=st.floats(1e-7, 1.0), low=st.floats(0, 1e-2))
def test_the_rate_stays_between_its_floor_and_its_peak(steps, warmup, peak, low):
    phase = Phase("p", epochs=1, lr_head=peak, warmup_steps=warmup, lr_min=low)
    rates = [peak * phase.factor(step, steps, peak) for step in range(steps)]
    assert max(rates) <= peak * (1 + 1e-9)
    assert min(rates[min(warmup, steps // 10) :]) >= min(low, peak) * (1 - 1e-9)


def test_the_cosine_ends_at_its_floor():
    phase = Phase("p", epochs=1, lr_head=1e-4, lr_min=1e-6)
    assert 1e-4 * phase.factor(100, 100, 1e-4) == pytest.approx(1e-6)


def test_phases_can_be_written_in_a_configuration():
    strategy = resolve_strategy(
        [{"epochs": 2, "lr_head": 1e-3}, {"name": "b", "epochs": 1, "lr_head": 1e-4, "blocks": 3, "lr_backbone": 1e-5}]
    )
    assert strategy == (Phase("phase 1", 2, 1e-3), Phase("b", 1, 1e-4, blocks=3, lr_backbone=1e-5))


@pytest.mark.parametrize(
    ("strategy", "named"),
    [
        ("two_phases", "did you mean 'two_phase'?"),
        ("quickly", "known: two_phase"),
        ([{"epochs": 1, "lr_head": 1e-3, "block": 2}], "did you mean 'blocks'?"),
        ([{"epochs": 1}], "'lr_head' is missing"),
        ([{"epochs": 0, "lr_head": 1e-3}], "epochs is out of range"),
        ([{"epochs": 1, "lr_head": 1e-3, "blocks": "all"}], "lr_backbone must be above 0"),
        ([{"epochs": 1, "lr_head": 1e-3, "lr_backbone": 1e-5}], "lr_backbone must be above 0"),
        ([{"epochs": 1, "lr_head": "fast"}], "phase 1, lr_head"),
    ],
)
def test_a_strategy_that_cannot_be_is_refused_by_name(strategy, named):
    with pytest.raises(ConfigError) as error:
        resolve_strategy(strategy)
    assert named in str(error.value)
    assert len(str(error.value).splitlines()) <= 2
