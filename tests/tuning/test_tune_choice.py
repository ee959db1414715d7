"""What is suggested, what is ended early, and what is chosen: by the record of trials alone."""

import numpy as np
import pytest

from landsift.config import RunConfig
from landsift.tuning.choice import chosen, finalists, gap, ranked
from landsift.tuning.space import space_of
from landsift.tuning.suggest import COMPLETE_BEFORE, Suggestion, importances
from landsift.tuning.trials import Trial, passed
from landsift.tuning.variations import variations

PATCHES = 100
BASE = RunConfig.load(None, ["data.source=eurosat", "model.backbone=test_efficientnet"])


@pytest.fixture(scope="module")
def space():
    return space_of(BASE, side=64, train=500)


def searched(space, count, accuracy=lambda values: 0.8 - 0.1 * abs(np.log10(values["lr_head"])), seed=0):
    trials = []
    for number in range(count):
        values = Suggestion(space, seed, trials, PATCHES).values
        found = accuracy(values)
        curve = {step: found * step / 10 for step in range(1, 11)}
        trials.append(Trial(number, values, "done", curve, found, 1 - found, 9, 10, 5.0))
    return trials


def test_suggestions_depend_on_the_record_and_the_seed_alone(space):
    whole = searched(space, 24)
    assert [t.values for t in whole[: len(space.starts)]] == list(space.starts)
    for at in (3, 7, 11, 23):  # as after an interruption
        assert Suggestion(space, 0, whole[:at], PATCHES).values == whole[at].values
    assert Suggestion(space, 1, whole[:23], PATCHES).values != whole[23].values


def test_one_setting_of_the_best_trial_is_changed_at_a_time_until_none_is_left(space):
    trials = searched(space, 24, accuracy=lambda values: 0.9 if values["epochs"] == 30 else 0.8)
    known = len(space.starts)
    best = next(trial.values for trial in trials if trial.accuracy == 0.9)
    around = [trial.values for trial in trials[known:]]
    assert around[0] == {**best, "epochs": 60}
    rates = [v for v in around if v["lr_head"] != best["lr_head"]]
    assert rates[0] == {**best, "lr_head": 0.5, "lr_backbone": 0.5}
    expected = [v for v in variations(space, best) if v not in space.starts]
    assert around[: len(expected)] == expected
    sampled = around[len(expected)]
    assert sum(sampled[name] != best.get(name) for name in sampled) > 2


def test_variations_stay_within_what_is_searched():
    base = BASE.replace("training.image_size=64", "training.augment.crop=null", "strategy=linear_probe")
    found = space_of(base, 64, 5000, asked=["epochs", "image_size", "lr_head"])
    changed = [set(v.items()) - set(found.starts[0].items()) for v in variations(found, found.starts[0])]
    assert changed == [{("lr_head", 0.5)}, {("lr_head", 2.0)}]  # 15 epochs are the most, 64 pixels as well


def test_a_trial_survives_its_record(space):
    trial = searched(space, 1)[0]
    assert Trial.from_dict(trial.to_dict()) == trial


def test_suggestions_are_complete_and_in_range(space):
    for trial in searched(space, 14):
        assert space.completed(trial.values) == trial.values
        space.config(trial.values)


def test_a_trial_below_the_median_ends_early_but_never_the_first(space):
    trials = searched(space, COMPLETE_BEFORE + 1)
    bad, good = dict.fromkeys(range(1, 6), 0.01), dict.fromkeys(range(1, 6), 0.9)
    assert Suggestion(space, 0, trials, PATCHES).is_hopeless(bad)
    assert not Suggestion(space, 0, trials, PATCHES).is_hopeless(good)
    assert not Suggestion(space, 0, trials, PATCHES).is_hopeless({1: 0.01, 2: 0.01})  # too early to say
    just_below = {step: 0.98 * trials[0].curve[step] for step in range(1, 6)}
    assert not Suggestion(space, 0, trials, PATCHES).is_hopeless(just_below)  # chance on so few patches
    assert Suggestion(space, 0, trials, 100_000).is_hopeless(just_below)
    assert not Suggestion(space, 0, [], PATCHES).is_hopeless(bad)


def test_failed_trials_are_known_to_the_sampler_and_never_chosen(space):
    trials = searched(space, 6)
    trials.append(Trial(6, trials[5].values, "failed", reason="the loss is not finite"))
    assert Suggestion(space, 0, trials, PATCHES).number == 7
    assert 6 not in [trial.number for trial in ranked(trials)]


def test_tenths_are_of_the_epochs_that_a_training_has():
    rows = [{"epoch": e, "val_acc": a} for e, a in enumerate((0.5, 0.4, 0.7))]
    assert passed(rows, 3) == {3: 0.5, 2: 0.5, 1: 0.5, 4: 0.5, 5: 0.5, 6: 0.5, 7: 0.7, 8: 0.7, 9: 0.7, 10: 0.7}
    assert passed(rows, 30) == {1: 0.7}
    assert passed([], 5) == {}


def done(number, accuracy, loss=1.0, **more):
    return Trial(number, {"epochs": number}, "done", accuracy=accuracy, loss=loss, **more)


def test_the_best_few_and_the_first_are_finalists():
    trials = [done(0, 0.5), *(done(n, 0.6 + n / 100) for n in range(1, 6)), done(6, 0.9, same_as=2)]
    assert [trial.number for trial in finalists(trials)] == [5, 4, 3, 0]


def test_the_best_mean_over_seeds_is_chosen_and_not_the_luckiest_trial():
    trials = [done(0, 0.80), done(1, 0.90), done(2, 0.88)]
    number, standings = chosen(trials, {0: [0.80, 0.81], 1: [0.80, 0.80], 2: [0.88, 0.87]})
    assert number == 2
    assert [s.number for s in standings] == [2, 1, 0]
    assert standings[0].mean == pytest.approx((0.88 + 0.88 + 0.87) / 3)


def test_of_equal_accuracies_the_lower_loss_is_better_and_then_the_earlier_trial():
    assert [t.number for t in ranked([done(0, 0.8), done(1, 0.8, 0.5), done(2, 0.8, 0.5)])] == [1, 2, 0]


def test_seeds_that_not_all_finalists_have_do_not_count_and_a_failed_finalist_is_out():
    trials = [done(0, 0.80), done(1, 0.90), done(2, 0.88)]
    number, standings = chosen(trials, {0: [0.8, 0.8], 1: [None, 0.99], 2: [0.7]})
    assert (number, [s.number for s in standings]) == (0, [0, 2])
    assert standings[0].accuracies == (0.8, 0.8)
    assert chosen(trials, {})[0] == 1


def test_a_difference_is_over_patches_or_over_groups():
    rng = np.random.default_rng(0)
    ours, theirs = rng.random(400) < 0.9, rng.random(400) < 0.7
    found = gap(ours, theirs, None)
    low, high = found["interval"]
    assert found["difference"] == pytest.approx(ours.mean() - theirs.mean())
    assert 0 < low < found["difference"] < high
    grouped = gap(ours, theirs, np.arange(400) // 100)["interval"]
    assert grouped[1] - grouped[0] != pytest.approx(high - low)
    assert gap(ours, theirs, np.zeros(400, int))["interval"] is None
    assert gap(ours, ours, None)["interval"] == [0, 0]


def test_importances_name_what_made_the_difference(space):
    assert importances(space, searched(space, 7)) == {}
    draw = np.random.default_rng(0).uniform
    trials = []
    for number in range(40):
        asked = {"lr_head": 10 ** draw(-1, 1), "lr_backbone": 10 ** draw(-1, 1), "weight_decay": 10 ** draw(-4, -1)}
        found = 0.8 - 0.1 * abs(np.log10(asked["lr_head"]))
        trials.append(Trial(number, space.completed(asked), "done", {}, found, 1 - found))
    shares = importances(space, trials)
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.get) == "lr_head"
