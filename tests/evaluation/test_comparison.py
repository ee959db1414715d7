"""A comparison says what its trainings say: figures, pairs, recommendations and sentences, in either direction."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from landsift.errors import DataError
from landsift.evaluation.comparison import Cell, compare_cells
from landsift.evaluation.criteria import figure_of

CLASSES = ("field", "forest", "water", "town")
SECONDS = {"linear_probe": 10.0, "layer_decay": 50.0, "full": 80.0}


def cell(row, budget=500, seed=0, accuracy=0.8, patches=600, sd=0.003, seconds=None):
    """A training that is right about a share of the patches; some patches are hard for all."""
    labels = np.random.default_rng(0).integers(len(CLASSES), size=patches)
    hardness = np.random.default_rng(1).random(patches)
    rng = np.random.default_rng([sum(map(ord, row)), budget, seed])
    level = accuracy + sd * rng.standard_normal()
    right = 0.9 * hardness + 0.1 * rng.random(patches) < level
    predicted = np.where(right, labels, (labels + 1 + rng.integers(len(CLASSES) - 1, size=patches)) % len(CLASSES))
    time = SECONDS.get(row, 30.0) if seconds is None else seconds
    return Cell(row, budget, seed, labels, predicted, CLASSES, time + seed, 10, 100)


def cells(accuracies, budgets=(500,), seeds=(0, 1, 2), **more):
    return [
        cell(row, budget, seed, accuracy, **more)
        for row, accuracy in accuracies.items()
        for budget in budgets
        for seed in seeds
    ]


def pair_of(result, a, b, budget=500):
    """The pair, as a against b."""
    for pair in result["pairs"]:
        if pair["budget"] == budget and (pair["a"], pair["b"]) == (a, b):
            return pair
    raise AssertionError(f"no pair of {a} and {b}")


def test_figures_are_means_over_the_seeds():
    trained = cells({"linear_probe": 0.8, "layer_decay": 0.9})
    [decay, probe] = compare_cells(trained)["results"]
    assert [decay["row"], probe["row"]] == ["layer_decay", "linear_probe"]
    own = [c for c in trained if c.row == "layer_decay"]
    accuracies = [accuracy_score(c.labels, c.predicted) for c in own]
    assert decay["seeds"] == [0, 1, 2]
    assert decay["accuracy_per_seed"] == pytest.approx(accuracies)
    assert decay["accuracy"] == pytest.approx(np.mean(accuracies))
    assert decay["macro_f1"] == pytest.approx(np.mean([f1_score(c.labels, c.predicted, average="macro") for c in own]))
    per_class = np.mean([f1_score(c.labels, c.predicted, average=None) for c in own], axis=0)
    assert decay["f1"] == pytest.approx(dict(zip(CLASSES, per_class, strict=True)))
    assert (decay["trainable"], decay["parameters"], decay["share"]) == (10, 100, 0.1)
    assert (decay["train_seconds"], decay["relative_time"]) == (51.0, pytest.approx(51 / 11))
    assert probe["relative_time"] == 1.0


def test_relative_time_is_none_without_a_reference():
    [result] = compare_cells(cells({"full": 0.8}))["results"]
    assert result["relative_time"] is None
    [result] = compare_cells(cells({"full": 0.8}), reference=lambda _: None)["results"]
    assert result["relative_time"] is None


def test_rows_are_held_against_the_reference_of_their_variant():
    variants = {"probe small": 0.7, "full small": 0.8, "probe big": 0.75, "full big": 0.9}
    trained = [replace(c, train_seconds=5.0 if c.row == "probe big" else 20.0) for c in cells(variants)]
    reference = {row: f"probe {row.split()[1]}" for row in variants}.get
    result = compare_cells(trained, reference=reference)
    times = {r["row"]: r["relative_time"] for r in result["results"]}
    assert times == {"probe small": 1.0, "full small": 1.0, "probe big": 1.0, "full big": 4.0}
    assert any("full small is better than probe small" in sentence for sentence in result["findings"])
    assert any("full big is better than probe big" in sentence for sentence in result["findings"])


def test_with_one_seed_the_intervals_are_those_of_bootstrapped_patches():
    one = cell("full", patches=3000)
    [result] = compare_cells([one])["results"]
    rng = np.random.default_rng(0)
    drawn = [rng.integers(3000, size=3000) for _ in range(500)]
    assert result["covers"] == "patches"
    for name in ("accuracy", "macro_f1"):
        figures = [figure_of(name, confusion_matrix(one.labels[rows], one.predicted[rows])) for rows in drawn]
        assert result[f"{name}_interval"] == pytest.approx(np.quantile(figures, [0.025, 0.975]), abs=0.003)


def test_seeds_that_differ_widen_the_interval():
    steady, unsteady = (compare_cells(cells({"full": 0.8}, sd=sd))["results"][0] for sd in (0.0, 0.05))
    assert np.ptp(unsteady["accuracy_interval"]) > 2 * np.ptp(steady["accuracy_interval"])
    assert np.ptp(unsteady["macro_f1_interval"]) > 2 * np.ptp(steady["macro_f1_interval"])


def test_a_large_difference_is_found_and_a_small_one_is_not():
    result = compare_cells(cells({"linear_probe": 0.8, "layer_decay": 0.9, "full": 0.902}))
    assert pair_of(result, "layer_decay", "linear_probe")["verdict"] == "better"
    close = pair_of(result, "full", "layer_decay")
    assert close["verdict"] == "not distinguishable"
    assert close["test"] == "two-way"
    assert close["covers"] == "seeds and patches"
    assert close["p_corrected"] >= close["p"]


def test_with_one_seed_pairs_take_the_exact_test_and_say_what_it_covers():
    trained = cells({"linear_probe": 0.8, "full": 0.83}, seeds=(0,))
    result = compare_cells(trained)
    [pair] = result["pairs"]
    full, probe = (c.predicted == c.labels for c in sorted(trained, key=lambda c: c.row))
    only_full = int((full & ~probe).sum())
    assert pair["p"] == binomtest(only_full, only_full + int((probe & ~full).sum())).pvalue
    assert (pair["test"], pair["covers"]) == ("mcnemar", "patches")
    assert "cover the test patches, not the seeds" in result["findings"][-1]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_equal_predictions_are_not_distinguishable(seeds):
    trained = cells({"linear_probe": 0.8}, seeds=seeds)
    result = compare_cells([*trained, *(replace(c, row="twin") for c in trained)])
    [pair] = result["pairs"]
    assert (pair["difference"], pair["p"], pair["p_corrected"]) == (0, 1, 1)
    assert pair["verdict"] == "not distinguishable"
    assert result["recommendations"][0]["not_worse"] == ["linear_probe", "twin"]


def test_a_missing_cell_leaves_the_seeds_in_common():
    trained = [c for c in cells({"linear_probe": 0.8, "full": 0.85}) if (c.row, c.seed) != ("full", 1)]
    result = compare_cells(trained)
    [pair] = result["pairs"]
    right = {(c.row, c.seed): accuracy_score(c.labels, c.predicted) for c in trained}
    assert pair["seeds"] == [0, 2]
    assert pair["difference"] == pytest.approx(
        np.mean([right["full", s] for s in (0, 2)]) - np.mean([right["linear_probe", s] for s in (0, 2)])
    )
    assert [r["seeds"] for r in result["results"]] == [[0, 2], [0, 1, 2]]


def test_a_pair_with_one_seed_takes_the_seeds_variance_from_the_others():
    rows = {"linear_probe": 0.8, "layer_decay": 0.8, "full": 0.83}
    trained = [c for c in cells(rows, sd=0.03) if c.row != "full" or c.seed == 0]
    alone = [c for c in trained if c.seed == 0]
    beside, single = (pair_of(compare_cells(some), "full", "linear_probe") for some in (trained, alone))
    assert (beside["seeds"], beside["test"], beside["covers"]) == ([0], "two-way", "seeds and patches")
    assert beside["difference"] == single["difference"]
    assert np.ptp(beside["interval"]) > 2 * np.ptp(single["interval"])


def test_a_row_that_shares_no_seed_with_the_best_is_not_recommended():
    trained = [*cells({"layer_decay": 0.9, "full": 0.7}, seeds=(0, 1)), *cells({"linear_probe": 0.8}, seeds=(2, 3))]
    result = compare_cells(trained)
    assert [(p["a"], p["b"]) for p in result["pairs"]] == [("full", "layer_decay")]
    assert result["recommendations"][0]["row"] == "layer_decay"
    assert "1 of 2 others is distinguishably worse" in result["recommendations"][0]["sentence"]


def test_a_budget_at_which_a_row_is_missing_has_the_others():
    trained = [
        c for c in cells({"linear_probe": 0.8, "full": 0.85}, budgets=(100, 500)) if (c.row, c.budget) != ("full", 100)
    ]
    result = compare_cells(trained)
    assert [(r["budget"], r["row"]) for r in result["results"]] == [
        (100, "linear_probe"),
        (500, "full"),
        (500, "linear_probe"),
    ]
    assert result["trends"] == []
    assert result["recommendations"][0]["sentence"].endswith("nothing else was trained.")


def test_the_cheapest_of_the_best_is_recommended():
    result = compare_cells(cells({"linear_probe": 0.9, "layer_decay": 0.903, "full": 0.7}))
    [few] = result["recommendations"]
    assert (few["row"], few["best"], set(few["not_worse"])) == (
        "linear_probe",
        "layer_decay",
        {"layer_decay", "linear_probe"},
    )
    assert few["not_worse"][0] == "layer_decay"
    assert (
        "it is the cheapest of the 2 that are not distinguishably worse than the best, layer_decay (" in few["sentence"]
    )
    (pair,) = (
        p for p in result["pairs"] if p["budget"] == few["budget"] and {p["a"], p["b"]} == {few["row"], few["best"]}
    )
    worst = max(abs(end) for end in pair["interval"])
    ending = f"takes 22 % of its training time, and may be as much as {100 * worst:.1f} points worse."
    assert few["sentence"].endswith(ending)


def test_the_best_is_recommended_where_it_stands_alone():
    [alone] = compare_cells(cells({"linear_probe": 0.7, "layer_decay": 0.95, "full": 0.8}))["recommendations"]
    assert (alone["row"], alone["not_worse"]) == ("layer_decay", ["layer_decay"])
    assert alone["sentence"].startswith("With 500 labels: layer_decay (9")
    assert alone["sentence"].endswith("all 2 others are distinguishably worse.")


def test_a_tie_goes_to_the_cheaper_row():
    trained = cells({"slow": 0.8})
    [choice] = compare_cells([*trained, *(replace(c, row="swift", train_seconds=1.0) for c in trained)])[
        "recommendations"
    ]
    assert (choice["row"], choice["best"], choice["not_worse"]) == ("swift", "swift", ["swift", "slow"])
    assert "it is the best, and the cheapest of the 2" in choice["sentence"]


@pytest.mark.parametrize(
    ("probe", "decay", "sentence"),
    [
        (0.8, 0.9, "layer_decay is better than linear_probe by 9"),
        (0.9, 0.8, "layer_decay is worse than linear_probe by "),
        (0.8, 0.801, "layer_decay and linear_probe are not distinguishable ("),
    ],
)
def test_findings_hold_in_either_direction(probe, decay, sentence):
    [finding] = compare_cells(cells({"linear_probe": probe, "layer_decay": decay}))["findings"]
    assert finding.startswith("With 500 labels, ")
    assert sentence.rstrip("9") in finding
    assert finding.endswith(").")


def test_a_probe_that_beats_all_others_is_said_to():
    [finding] = compare_cells(cells({"linear_probe": 0.9, "layer_decay": 0.8, "full": 0.7}))["findings"]
    assert "linear_probe is better than all 2 others, than the nearest, layer_decay, by " in finding


def test_a_gap_that_grows_is_found_and_one_that_shrinks_too():
    few = cells({"linear_probe": 0.80, "layer_decay": 0.70}, budgets=(100,))
    many = cells({"linear_probe": 0.84, "layer_decay": 0.95}, budgets=(5000,))
    result = compare_cells([*few, *many])
    [trend] = result["trends"]
    assert (trend["row"], trend["reference"], trend["from"], trend["to"]) == ("layer_decay", "linear_probe", 100, 5000)
    gap = {pair["budget"]: pair["difference"] for pair in result["pairs"]}
    assert trend["difference"] == pytest.approx(gap[5000] - gap[100])
    assert trend["verdict"] == "gains"
    assert any(s.startswith("From 100 to 5,000 labels, layer_decay gains 2") for s in result["findings"])

    turned = compare_cells([*(replace(c, budget=5000) for c in few), *(replace(c, budget=100) for c in many)])
    assert turned["trends"][0]["verdict"] == "loses"
    assert turned["trends"][0]["difference"] == pytest.approx(-trend["difference"])
    assert any(s.startswith("From 100 to 5,000 labels, layer_decay loses 2") for s in turned["findings"])


def test_a_gap_that_stays_is_said_to_stay():
    result = compare_cells(cells({"linear_probe": 0.8, "layer_decay": 0.85}, budgets=(100, 5000)))
    assert result["trends"][0]["verdict"] == "not distinguishable"
    assert any("does not change distinguishably" in sentence for sentence in result["findings"])


@settings(max_examples=25, deadline=None)
@given(
    trained=st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from([10, 20]), st.integers(0, 2)), min_size=1, unique=True
    ),
    patches=st.integers(2, 20),
    draw=st.randoms(use_true_random=False),
)
def test_whatever_is_missing_the_result_is_json_holds_together_and_ignores_the_order(trained, patches, draw):
    many = [cell(*key, accuracy=0.5, patches=patches, seconds=1.0) for key in trained]
    result = compare_cells(many, reference=lambda _: "a")
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    draw.shuffle(many)
    assert compare_cells(many, reference=lambda _: "a") == result
    for row in result["results"]:
        for name in ("accuracy", "macro_f1"):
            low, high = row[f"{name}_interval"]
            assert 0 <= low <= row[name] <= high <= 1 + 1e-12
    for pair in result["pairs"]:
        assert pair["interval"][0] <= pair["difference"] <= pair["interval"][1]
    for choice in result["recommendations"]:
        assert {choice["row"], choice["best"]} <= set(choice["not_worse"])


@settings(max_examples=25, deadline=None)
@given(accuracies=st.tuples(*[st.floats(0.6, 0.95)] * 3), seeds=st.integers(1, 3))
def test_a_verdict_turns_with_its_pair(accuracies, seeds):
    trained = cells(dict(zip("abc", accuracies, strict=True)), seeds=range(seeds), patches=300)
    names = {"a": "c", "b": "b", "c": "a"}
    there = compare_cells(trained)
    back = compare_cells([replace(c, row=names[c.row]) for c in trained])
    opposite = {"better": "worse", "worse": "better"}
    for pair in there["pairs"]:
        mirrored = pair_of(back, names[pair["b"]], names[pair["a"]])
        assert mirrored["verdict"] == opposite.get(pair["verdict"], pair["verdict"])
        assert mirrored["difference"] == pytest.approx(-pair["difference"])
        assert mirrored["p_corrected"] == pytest.approx(pair["p_corrected"])


def test_no_trainings_are_refused():
    with pytest.raises(DataError, match="no trainings"):
        compare_cells([])


def test_other_patches_are_refused_in_words():
    one, other = cell("full"), cell("linear_probe")
    moved = replace(other, labels=np.roll(other.labels, 1))
    with pytest.raises(
        DataError, match="linear_probe with 500 labels and seed 0 was tested on other patches than full"
    ):
        compare_cells([one, moved])
    with pytest.raises(DataError, match="other patches"):
        compare_cells([one, cell("linear_probe", patches=599)])


def test_cells_that_do_not_fit_are_refused_in_words():
    one = cell("full")
    with pytest.raises(DataError, match="full with 500 labels and seed 0 is there twice"):
        compare_cells([one, one])
    with pytest.raises(DataError, match="other classes"):
        compare_cells([one, replace(one, seed=1, classes=("a", "b", "c", "d"))])
    with pytest.raises(DataError, match="599 predictions for 600 patches"):
        compare_cells([replace(one, predicted=one.predicted[1:])])
    with pytest.raises(DataError, match="lies outside the 4 classes"):
        compare_cells([replace(one, predicted=one.predicted + 1)])
    with pytest.raises(DataError, match="1 test patches cannot"):
        compare_cells([replace(one, labels=one.labels[:1], predicted=one.predicted[:1])])


def test_a_whole_grid_has_all_its_parts():
    rows = {f"row{r}": 0.7 + 0.03 * r for r in range(8)}
    trained = cells(rows, budgets=(100, 200, 500, 1000, 2000), patches=200)
    random.Random(0).shuffle(trained)
    result = compare_cells(trained, reference=lambda _: "row0")
    assert len(result["results"]) == 40
    assert len(result["pairs"]) == 5 * 28
    assert len(result["trends"]) == 7
    assert len(result["recommendations"]) == 5
    assert len(result["findings"]) == 6
