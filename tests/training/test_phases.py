"""Strategies are data: resolved, checked, and their schedules pinned."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landsift.config import RunConfig, TrainingConfig
from landsift.errors import ConfigError
from landsift.training.phases import Phase, first_epoch, lr_factor, phase_of, scale_rates, total_epochs
from landsift.training.strategies import STRATEGIES, resolve_strategy, settled


def test_two_phase_is_the_tutorials_recipe():
    head, fine = STRATEGIES["two_phase"]
    assert (head.epochs, head.lr_head, head.blocks, head.schedule) == (7, 2e-3, 0, "cosine")
    assert (fine.epochs, fine.lr_head, fine.lr_backbone, fine.blocks, fine.lr_min) == (10, 1e-4, 1e-5, "all", 1e-6)
    assert total_epochs((head, fine)) == 17


@pytest.mark.parametrize(
    ("name", "phases"),
    [
        # (epochs, blocks, head's rate, backbone's rate)
        ("linear_probe", [(15, 0, 1e-3, 0.0)]),
        ("last_block", [(15, 1, 5e-4, 5e-4)]),
        ("full", [(15, "all", 2e-5, 2e-5)]),
        ("differential", [(15, "all", 1e-3, 2e-5)]),
        ("progressive", [(3, 0, 1e-3, 0.0), *((3, n, 2e-5, 2e-5) for n in (1, 2, 3, 4))]),
        ("layer_decay", [(15, "all", 1e-3, 7e-4)]),
        ("scratch", [(15, "all", 1e-3, 1e-3)]),
    ],
)
def test_the_table_holds_the_case_studys_strategies(name, phases):
    strategy = STRATEGIES[name]
    assert [(p.epochs, p.blocks, p.lr_head, p.lr_backbone) for p in strategy] == phases
    assert total_epochs(strategy) == 15
    assert {p.schedule for p in strategy} == ({"run"} if len(strategy) > 1 else {"cosine"})
    assert {p.lr_min for p in strategy} == {0.0}
    assert [p.layer_decay for p in strategy] == [0.7 if name == "layer_decay" else 1.0] * len(strategy)
    assert [(p.warmup_steps, p.from_scratch) for p in strategy] == [
        (500, True) if name == "scratch" else (0, False)
    ] * (len(strategy))


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


# A schedule over the whole run


def rates(strategy, per_epoch):
    """The head's and the backbone's rate of every step of a run."""
    total = per_epoch * total_epochs(strategy)
    found = []
    for i, phase in enumerate(strategy):
        steps, before = per_epoch * phase.epochs, per_epoch * first_epoch(strategy, i)
        for step in range(steps):
            peaks = (phase.lr_head, phase.lr_backbone)
            found.append([p * phase.factor(step, steps, p, before=before, total=total) if p else 0.0 for p in peaks])
    return found


@pytest.mark.parametrize("per_epoch", [1, 7, 40])
def test_progressive_anneals_once_over_the_run_and_not_in_each_phase(per_epoch):
    head, backbone = zip(*rates(STRATEGIES["progressive"], per_epoch), strict=True)
    cosine = [0.5 * (1 + math.cos(math.pi * step / (15 * per_epoch))) for step in range(15 * per_epoch)]
    first = 3 * per_epoch
    assert head[:first] == pytest.approx([1e-3 * c for c in cosine[:first]])
    assert head[first:] == backbone[first:] == pytest.approx([2e-5 * c for c in cosine[first:]])
    assert backbone[:first] == (0.0,) * first
    assert all(later < earlier for earlier, later in pairwise(head))  # no phase starts anew
    assert all(later < earlier for earlier, later in pairwise(backbone[first:]))
    assert backbone[-1] < 2e-5 * 0.02


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_every_strategy_ends_at_its_smallest_rates(strategy):
    last = rates(strategy, 20)[-20 * strategy[-1].epochs :]
    for part, peak in zip(zip(*last, strict=True), (strategy[-1].lr_head, strategy[-1].lr_backbone), strict=True):
        assert part[-1] == min(part)
        assert part[-1] <= strategy[-1].lr_min + 0.001 * peak


def test_a_phase_alone_anneals_as_a_run_of_its_own():
    alone, run = (Phase("p", epochs=1, lr_head=1e-3, lr_min=1e-5, schedule=kind) for kind in ("cosine", "run"))
    assert [alone.factor(s, 50, 1e-3) for s in range(51)] == [run.factor(s, 50, 1e-3) for s in range(51)]


def test_a_warm_up_stays_within_its_phase_where_the_cosine_spans_the_run():
    phase = Phase("p", epochs=1, lr_head=1.0, warmup_steps=5, schedule="run")
    factors = [phase.factor(step, 100, 1.0, before=100, total=200) for step in range(100)]
    cosine = [0.5 * (1 + math.cos(math.pi * (100 + step) / 200)) for step in range(100)]
    assert factors[:5] == pytest.approx([c * (i + 1) / 6 for i, c in enumerate(cosine[:5])])
    assert factors[5:] == pytest.approx(cosine[5:])


def test_the_runs_cosine_ends_at_the_phases_floor():
    phase = Phase("p", epochs=1, lr_head=1e-4, lr_min=1e-6, schedule="run")
    assert 1e-4 * phase.factor(10, 10, 1e-4, before=90, total=100) == pytest.approx(1e-6)
    assert phase.factor(0, 10, 1e-4, before=0, total=100) == 1.0


@pytest.mark.parametrize(("scaling", "factor"), [("none", 1.0), ("linear", 4.0), ("sqrt", 2.0)])
def test_rates_grow_with_the_patches_per_step(scaling, factor):
    settings = TrainingConfig(batch_size=32, devices=4, num_nodes=2, lr_scaling=scaling)
    assert lr_factor(settings) == factor
    head, tune = scale_rates(STRATEGIES["two_phase"], factor)
    assert (head.lr_head, head.lr_backbone) == (2e-3 * factor, 0.0)
    assert (tune.lr_head, tune.lr_backbone, tune.lr_min) == (1e-4 * factor, 1e-5 * factor, 1e-6 * factor)
    assert replace(tune, lr_head=1e-4, lr_backbone=1e-5, lr_min=1e-6) == STRATEGIES["two_phase"][1]


# Configurations


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
        ([{"epochs": 1, "lr_head": 1e-3, "schedule": "runs"}], "strategy, phase 1, schedule"),
        (
            [{"epochs": 1, "lr_head": 1e-3}, {"epochs": 1, "lr_head": 1e-3, "from_scratch": True}],
            "strategy, phase 2: from_scratch would discard what the earlier phases have trained",
        ),
    ],
)
def test_a_strategy_that_cannot_be_is_refused_by_name(strategy, named):
    with pytest.raises(ConfigError) as error:
        resolve_strategy(strategy)
    assert named in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


MINE = {"mine": [{"epochs": 2, "lr_head": 1e-3}], "cold": [{"epochs": 1, "lr_head": 1e-3, "from_scratch": True}]}


def test_a_name_is_found_among_ones_own_strategies_and_in_the_table():
    assert resolve_strategy("mine", MINE) == (Phase("phase 1", 2, 1e-3),)
    assert resolve_strategy("full", MINE) == STRATEGIES["full"]
    assert resolve_strategy([{"epochs": 1, "lr_head": 1.0}], MINE) == (Phase("phase 1", 1, 1.0),)


@pytest.mark.parametrize(
    ("strategy", "own", "named"),
    [
        ("min", MINE, "unknown strategy 'min'\ndid you mean 'mine'?"),
        ("xyz", MINE, "scratch, mine, cold, or a list of phases"),
        ("mine", {"full": MINE["mine"]}, "strategies.full: 'full' is one of landsift's own strategies"),
        # Checked although it is not the one that is chosen.
        (
            "full",
            {"mine": [{"epochs": 1, "lr_heat": 1e-3}]},
            "strategies.mine, phase 1: unknown key 'lr_heat'\ndid you",
        ),
        ("full", {"mine": [*MINE["mine"], *MINE["cold"]]}, "strategies.mine, phase 2: from_scratch would discard"),
    ],
)
def test_a_strategy_of_ones_own_that_cannot_be_is_refused_by_name(strategy, own, named):
    with pytest.raises(ConfigError) as error:
        resolve_strategy(strategy, own)
    assert named in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("change", "weights"),
    [
        ("strategy=scratch", "none"),
        ("strategy=cold", "none"),
        ("strategy=[{epochs: 1, lr_head: 1.0, from_scratch: true}, {epochs: 1, lr_head: 1.0}]", "none"),
        ("strategy=mine", "some.safetensors"),
        ("strategy=two_phase", "some.safetensors"),
    ],
)
def test_weights_are_settled_as_none_exactly_where_training_starts_from_scratch(change, weights):
    config = RunConfig.from_dict({"strategies": MINE}).replace("model.weights=some.safetensors", change)
    assert settled(config) == config.replace(f"model.weights={weights}")
