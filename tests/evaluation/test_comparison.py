"""A comparison says what its trainings say: figures, pairs, recommendations and sentences, in either direction."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from landsift.errors import ConfigError, DataError
from landsift.evaluation.comparison import Cell, compare_cells
from landsift.evaluation.criteria import WORDS, figure_of
from landsift.evaluation.recommendation import Rule
from landsift.evaluation.two_way import differences, folds_factor

CLASSES = ("field", "forest", "water", "town")
WORK = {"linear_probe": 10.0, "layer_decay": 50.0, "full": 80.0}


def confusion(accuracy, patches=400):
    """Of four equal classes."""
    right = round(accuracy * patches / 4)
    return np.full((4, 4), (patches / 4 - right) / 3) * (1 - np.eye(4)) + right * np.eye(4)


def cell(row, budget=500, seed=0, accuracy=0.8, patches=600, sd=0.003, work=None, validation=None):
    """A training that is right about a share of the patches; some patches are hard for all."""
    labels = np.random.default_rng(0).integers(len(CLASSES), size=patches)
    hardness = np.random.default_rng(1).random(patches)
    rng = np.random.default_rng([sum(map(ord, row)), budget, seed])
    level = accuracy + sd * rng.standard_normal()
    right = 0.9 * hardness + 0.1 * rng.random(patches) < level
    predicted = np.where(right, labels, (labels + 1 + rng.integers(len(CLASSES) - 1, size=patches)) % len(CLASSES))
    of_validation = confusion(accuracy if validation is None else validation)
    of_training = WORK.get(row, 30.0) if work is None else work
    return Cell(row, budget, seed, labels, predicted, of_validation, CLASSES, of_training, 5.0 + seed, 10, 100)


def training(row, right, work, validation=None, seed=0):
    """A training by which patches it is right about, of one class in four."""
    right = np.asarray(right, dtype=bool)
    labels = np.arange(len(right)) % 4
    share = right.mean() if validation is None else validation
    return Cell(
        row, 500, seed, labels, np.where(right, labels, (labels + 1) % 4), confusion(share), CLASSES, work, 1.0, 10, 100
    )


def recommended(cells, **rule):
    [found] = compare_cells(cells, rule=Rule(**rule))["recommendations"]
    return found


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
    assert (decay["train_seconds"], decay["work"], decay["relative_work"]) == (6.0, 50.0, 5.0)
    assert probe["relative_work"] == 1.0
    assert decay["validation"] == pytest.approx(dict.fromkeys(WORDS, 0.9))


def test_relative_work_is_none_without_a_reference():
    [result] = compare_cells(cells({"full": 0.8}))["results"]
    assert result["relative_work"] is None
    [result] = compare_cells(cells({"full": 0.8}), reference=lambda _: None)["results"]
    assert result["relative_work"] is None


def test_rows_are_held_against_the_reference_of_their_variant():
    variants = {"probe small": 0.7, "full small": 0.8, "probe big": 0.75, "full big": 0.9}
    trained = [replace(c, work=5.0 if c.row == "probe big" else 20.0) for c in cells(variants)]
    reference = {row: f"probe {row.split()[1]}" for row in variants}.get
    result = compare_cells(trained, reference=reference)
    work = {r["row"]: r["relative_work"] for r in result["results"]}
    assert work == {"probe small": 1.0, "full small": 1.0, "probe big": 1.0, "full big": 4.0}
    assert any("full small is significantly better than probe small" in said for said in result["findings"])
    assert any("full big is significantly better than probe big" in said for said in result["findings"])


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
    assert "cover the sampling of test patches, but not the variation between seeds" in result["findings"][-1]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_equal_predictions_are_not_distinguishable(seeds):
    trained = cells({"linear_probe": 0.8}, seeds=seeds)
    result = compare_cells([*trained, *(replace(c, row="twin") for c in trained)])
    [pair] = result["pairs"]
    assert (pair["difference"], pair["p"], pair["p_corrected"]) == (0, 1, 1)
    assert pair["verdict"] == "not distinguishable"


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
    [choice] = result["recommendations"]
    assert choice["row"] == "layer_decay"
    assert [s["row"] for s in choice["standings"]] == ["full"]
    assert choice["sentence"].endswith(". Not compared, for want of a common seed: linear_probe.")


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
    assert result["recommendations"][0]["sentence"].endswith("the only one trained.")


def right_of(count, of, seed=0):
    """Which of so many patches a training is right about, the same ones first for all."""
    return np.arange(of) < count


def test_what_computes_less_is_recommended_where_the_test_shows_that_it_is_within_the_margin():
    """Of 20,000 patches 30 more are wrong: 0.15 points."""
    choice = recommended(
        [training("probe", right_of(18000, 20000), 10.0, 0.89), training("full", right_of(18030, 20000), 200.0, 0.90)]
    )
    assert (choice["row"], choice["best"], choice["within_margin"]) == ("probe", "full", ["full", "probe"])
    [standing] = choice["standings"]
    assert standing["verdict"] == "within the margin"
    assert standing["difference"] == pytest.approx(-0.0015)
    assert -0.01 < standing["worst"] < -0.0015
    assert choice["sentence"] == (
        "With 500 labels: probe (90.0 % on the test). The best on validation is full (90.1 %); probe needs 5 % of its "
        "compute, and the test shows it to be at most 1 point worse "
        f"(up to {-100 * standing['worst']:.1f} points worse at 95 % confidence)."
    )


def test_the_better_of_two_is_recommended_and_a_bad_third_row_changes_nothing():
    better, worse = training("full", right_of(11, 12), 80.0), training("probe", right_of(9, 12), 10.0)
    assert recommended([better, worse])["row"] == "full"
    for accuracy in (0, 1, 3, 6):
        for work in (1.0, 30.0, 500.0):
            assert recommended([better, worse, training("bad", right_of(accuracy, 12), work)])["row"] == "full"


def test_few_test_patches_are_no_evidence_that_the_cheaper_row_is_as_good():
    """70 against 78.75 % of 80 patches cannot be told apart, which does not make the worse one as good."""
    rng = np.random.default_rng(0)
    cheap, good = (rng.permutation(right_of(n, 80)) for n in (56, 63))
    result = compare_cells([training("probe", cheap, 10.0), training("full", good, 80.0)])
    assert result["pairs"][0]["verdict"] == "not distinguishable"
    [choice] = result["recommendations"]
    assert choice["row"] == "full"
    assert (
        "the best of 2 on validation. Too few test patches to decide whether probe, which needs 12 % of the compute,"
        in (choice["sentence"])
    )


@pytest.mark.parametrize(("patches", "row"), [(12, "full"), (80, "full"), (250, "full"), (300, "probe")])
def test_rows_that_agree_on_every_patch_need_enough_of_them(patches, row):
    """Without any difference on n patches, one point is ruled out at 5 % from 268 patches on."""
    same = right_of(patches, patches)
    assert recommended([training("probe", same, 10.0, 0.99), training("full", same, 80.0, 1.0)])["row"] == row


def test_the_best_is_chosen_on_validation_and_told_by_its_test():
    lucky = training("lucky", right_of(95, 100), 50.0, validation=0.8)
    steady = training("steady", right_of(90, 100), 50.0, validation=0.9)
    choice = recommended([lucky, steady])
    assert (choice["row"], choice["best"]) == ("steady", "steady")
    assert choice["sentence"].startswith("With 500 labels: steady (90.0 % on the test), the best of 2 on validation")


def test_equal_rows_on_validation_go_to_the_one_that_computes_less():
    trained = cells({"slow": 0.8})
    choice = recommended([*trained, *(replace(c, row="swift", work=1.0) for c in trained)])
    assert (choice["row"], choice["best"]) == ("swift", "swift")
    assert choice["sentence"].endswith("the best of 2 on validation, and none needs less compute.")


def test_wall_time_decides_nothing():
    trained = cells({"probe": 0.8, "full": 0.9})
    hurried = [replace(c, train_seconds=0.1 if c.row == "full" else 1e6) for c in trained]
    first, second = (compare_cells(some)["recommendations"] for some in (trained, hurried))
    assert first == second


def test_rows_that_are_clearly_worse_are_said_to_be():
    rows = {"probe": 0.6, "some": 0.65, "full": 0.9}
    trained = [replace(c, work={"probe": 1.0, "some": 2.0, "full": 9.0}[c.row]) for c in cells(rows, patches=3000)]
    choice = recommended(trained)
    assert {s["row"]: s["verdict"] for s in choice["standings"]} == dict.fromkeys(
        ("probe", "some"), "beyond the margin"
    )
    assert choice["sentence"].endswith(
        "the best of 3 on validation. All 2 that need less compute are more than 1 point worse."
    )


def test_seeds_that_differ_are_named_as_what_is_lacking():
    trained = cells({"probe": 0.88, "full": 0.9}, patches=20000, sd=0.05)
    assert ". Too few seeds to decide whether probe" in recommended(trained)["sentence"]


def test_few_groups_are_named_as_what_is_lacking():
    rng = np.random.default_rng(0)
    hard = np.repeat(rng.random(6), 50)
    right = {row: rng.random(300) < hard * share for row, share in (("probe", 0.9), ("full", 0.92))}
    trained = [training("probe", right["probe"], 1.0, 0.8), training("full", right["full"], 9.0, 0.9)]
    [choice] = compare_cells(trained, groups=np.arange(300) // 50)["recommendations"]
    assert "Too few test groups to decide whether probe" in choice["sentence"]


def test_more_rows_ask_for_more_evidence():
    """A row that is within the margin beside one other is not beside many: the test is corrected for their number."""
    base = [training("probe", right_of(0, 400), 10.0, 0.1), training("full", right_of(0, 400), 80.0, 0.9)]
    more = [training(f"row{k}", right_of(0, 400), 90.0, 0.2) for k in range(10)]
    assert recommended(base)["row"] == "probe"
    assert recommended([*base, *more])["row"] == "full"


@pytest.mark.parametrize(("margin", "row"), [(0.005, "full"), (0.01, "full"), (0.05, "probe")])
def test_the_margin_can_be_set(margin, row):
    trained = cells({"probe": 0.89, "full": 0.9}, patches=5000, sd=0.0)
    trained = [replace(c, work=1.0 if c.row == "probe" else 9.0) for c in trained]
    choice = recommended(trained, margin=margin)
    assert choice["row"] == row
    assert f"at most {100 * margin:g} point{'' if margin == 0.01 else 's'} worse" in choice["sentence"]


def test_the_criterion_decides_what_is_best():
    """`common` is right about the class of nine tenths, `fair` is as good at the rare one."""
    labels = (np.arange(1000) % 10 == 0).astype(int)
    two = ("common", "rare")

    def of_two(row, predicted, work):
        matrix = np.histogram2d(labels, predicted, bins=2, range=[[0, 2], [0, 2]])[0]
        return Cell(row, 500, 0, labels, predicted, matrix, two, work, 1.0, 10, 100)

    # Of the rare ones 70 are missed, against 5 of them and 90 common ones.
    common = np.where((labels == 1) & (np.arange(1000) < 700), 0, labels)
    fair = np.where(np.arange(1000) % 10 == 5, 1, labels)
    cells = [of_two("common", common, 10.0), of_two("fair", fair, 10.0)]
    found = {name: recommended(cells, criterion=name) for name in WORDS}
    assert {name: choice["best"] for name, choice in found.items()} == {
        "accuracy": "common", "macro_f1": "fair", "balanced_accuracy": "fair",
    }  # fmt: skip
    assert "% macro F1 on the test" in found["macro_f1"]["sentence"]
    pairs = compare_cells(cells, rule=Rule("balanced_accuracy"))["pairs"]
    assert pairs[0]["test"] == "t"


def test_a_criterion_or_a_margin_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'macro_f1'"):
        Rule("macrof1")
    with pytest.raises(ConfigError, match="a margin of 0 points"):
        Rule(margin=0.0)


def test_groups_of_test_patches_widen_intervals_and_tests():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(25), 40)
    hard = rng.beta(8, 2, 25)[groups]
    trained = [
        training(row, rng.random(1000) < hard + (0.05 if row == "full" else 0), 10.0, seed=seed)
        for row in ("full", "probe")
        for seed in range(3)
    ]
    over, alone = (compare_cells(trained, groups=g) for g in (groups, None))
    assert (over["groups"], alone["groups"]) == (25, None)
    assert over["results"][0]["covers"] == over["pairs"][0]["covers"] == "seeds and groups"
    assert over["results"][0]["accuracy"] == alone["results"][0]["accuracy"]
    wide, narrow = (np.ptp(found["results"][0]["accuracy_interval"]) for found in (over, alone))
    assert wide > 1.5 * narrow
    one = compare_cells(trained, groups=np.zeros(1000))
    assert (one["groups"], one["results"][0]["covers"]) == (1, "seeds and patches")
    with pytest.raises(DataError, match="999 groups were given for 1000 test patches"):
        compare_cells(trained, groups=groups[1:])


def test_all_right_leaves_room_for_errors():
    [result] = compare_cells([training("full", right_of(20, 20), 1.0)])["results"]
    assert result["accuracy_interval"] == pytest.approx([0.8, 1.0], abs=0.05)
    assert result["macro_f1_interval"][0] < 0.9


def test_validation_figures_that_are_missing_are_named():
    with pytest.raises(DataError, match="full with 500 labels and seed 0 has no figures of validation patches"):
        compare_cells([replace(cell("full"), validation=np.zeros((4, 4)))])


@pytest.mark.parametrize(
    ("probe", "decay", "sentence"),
    [
        (0.8, 0.9, "layer_decay is significantly better than linear_probe, by 9"),
        (0.9, 0.8, "layer_decay is significantly worse than linear_probe, by "),
        (0.8, 0.801, "layer_decay and linear_probe do not differ significantly ("),
    ],
)
def test_findings_hold_in_either_direction(probe, decay, sentence):
    [finding] = compare_cells(cells({"linear_probe": probe, "layer_decay": decay}))["findings"]
    assert finding.startswith("With 500 labels, ")
    assert sentence.rstrip("9") in finding
    assert finding.endswith(").")


def test_a_probe_that_beats_all_others_is_said_to():
    [finding] = compare_cells(cells({"linear_probe": 0.9, "layer_decay": 0.8, "full": 0.7}))["findings"]
    assert "linear_probe is significantly better than all 2 others; than the closest, layer_decay, by " in finding


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
    assert any("does not change significantly" in sentence for sentence in result["findings"])


@settings(max_examples=25, deadline=None)
@given(
    trained=st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from([10, 20]), st.integers(0, 2)), min_size=1, unique=True
    ),
    patches=st.integers(2, 20),
    draw=st.randoms(use_true_random=False),
)
def test_whatever_is_missing_the_result_is_json_holds_together_and_ignores_the_order(trained, patches, draw):
    many = [cell(*key, accuracy=0.5, patches=patches, work=1.0) for key in trained]
    result = compare_cells(many, reference=lambda _: "a")
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    draw.shuffle(many)
    assert compare_cells(many, reference=lambda _: "a") == result
    for row in result["results"]:
        for name in WORDS:
            low, high = row[f"{name}_interval"]
            assert 0 <= low <= row[name] <= high <= 1
    for pair in result["pairs"]:
        assert pair["interval"][0] <= pair["difference"] <= pair["interval"][1]
    for choice in result["recommendations"]:
        assert {choice["row"], choice["best"]} <= set(choice["within_margin"])


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


class TestFolds:
    """In a cross-validation intervals and tests are over folds, whose trainings share patches."""

    FOLDS = np.repeat(np.arange(5), 120)

    def test_the_figure_is_that_of_all_patches_and_its_error_that_of_nadeau_and_bengio(self):
        trained = [cell("linear_probe"), cell("layer_decay", accuracy=0.9)]
        result = compare_cells(trained, folds=self.FOLDS)
        pair = pair_of(result, "layer_decay", "linear_probe")
        gaps = (trained[1].predicted == trained[1].labels).astype(float) - (trained[0].predicted == trained[0].labels)
        of_folds = gaps.reshape(5, 120).mean(axis=1)
        error = np.sqrt((1 / 5 + 1 / 4) * of_folds.var(ddof=1))
        half = error * stats.t.ppf(0.975, 4)
        assert pair["difference"] == pytest.approx(gaps.mean())
        assert pair["interval"] == pytest.approx([gaps.mean() - half, gaps.mean() + half])
        assert pair["p"] == pytest.approx(2 * stats.t.sf(abs(gaps.mean()) / error, 4))
        assert (pair["test"], pair["covers"]) == ("folds", "folds")
        assert result["results"][0]["accuracy"] == pytest.approx(np.mean(trained[1].predicted == trained[1].labels))

    def test_seeds_and_folds_are_covered_together(self):
        trained = cells({"linear_probe": 0.8, "layer_decay": 0.9})
        result = compare_cells(trained, folds=self.FOLDS)
        assert {pair["covers"] for pair in result["pairs"]} == {"seeds and folds"}
        assert not any("not the seeds" in sentence for sentence in result["findings"])

    def test_intervals_are_wider_than_over_patches(self):
        trained = cells({"linear_probe": 0.8, "layer_decay": 0.81})
        over = [compare_cells(trained, folds=folds)["results"][0]["accuracy_interval"] for folds in (None, self.FOLDS)]
        assert over[1][1] - over[1][0] > over[0][1] - over[0][0]

    def test_what_too_few_folds_cannot_decide_is_said(self):
        trained = [cell("linear_probe"), cell("full", accuracy=0.802, validation=0.85)]
        [found] = compare_cells(trained, folds=self.FOLDS)["recommendations"]
        assert "Too few folds to decide" in found["sentence"]

    def test_equal_rows_are_seldom_told_apart(self):
        """Under no difference, with trainings of folds that vary together as much as the correction takes them to."""
        rng, found = np.random.default_rng(0), 0
        for _ in range(400):
            shared, own = rng.normal(size=(2, 1)), rng.normal(size=(2, 5))
            figures = np.sqrt(0.2) * shared + np.sqrt(0.8) * own  # n_test / (n_test + n_train) of 5 folds is 0.2
            found += (
                differences({"a": {0: figures[0]}, "b": {0: figures[1]}}, 4, factor=folds_factor(5))[0].estimate.p
                < 0.05
            )
        assert 0.02 < found / 400 < 0.08
