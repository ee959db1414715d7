"""The figures are scikit-learn's and torchmetrics', and the intervals hold what they promise, over groups as well."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

from landsift.errors import DataError, ModelError
from landsift.evaluation.criteria import WORDS, figure_of, per_class_of, values_of
from landsift.evaluation.metrics import evaluate

CLASSES = ("field", "forest", "water", "town")


def draw(N, K, seed=0, right=0.8):
    """Labels [N] and probabilities [N, K] of a classifier that is right for about `right` of the patches."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(K, 0.4), N)
    labels = np.where(rng.random(N) < right, probabilities.argmax(axis=1), rng.integers(K, size=N))
    return labels, probabilities


def test_figures_are_those_of_scikit_learn():
    labels, probabilities = draw(300, 4)
    predicted = probabilities.argmax(axis=1)
    result = evaluate(labels, probabilities, CLASSES, draws=10)
    assert result["n"] == 300
    assert result["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert result["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert result["confusion"] == confusion_matrix(labels, predicted).tolist()
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted)
    for k, name in enumerate(CLASSES):
        expected = {"precision": precision[k], "recall": recall[k], "f1": f1[k], "support": support[k]}
        assert result["per_class"][name] == pytest.approx(expected)


def test_calibration_error_by_hand():
    # Two bins: ten patches at 0.95 of which five are right, ten at 0.65 of which all are right.
    probabilities = np.array([[0.95, 0.05]] * 10 + [[0.65, 0.35]] * 10)
    labels = np.array([0] * 5 + [1] * 5 + [0] * 10)
    assert evaluate(labels, probabilities, ("a", "b"), draws=10)["ece"] == pytest.approx(0.5 * 0.45 + 0.5 * 0.35)


def test_calibration_error_is_the_multiclass_one_of_torchmetrics():
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    labels, probabilities = draw(500, 4)
    expected = multiclass_calibration_error(torch.tensor(probabilities), torch.tensor(labels), num_classes=4, n_bins=15)
    assert evaluate(labels, probabilities, CLASSES, draws=10)["ece"] == pytest.approx(expected.item(), abs=1e-6)


def test_shares_have_wilsons_intervals():
    labels, probabilities = draw(300, 4)
    predicted = probabilities.argmax(axis=1)
    result = evaluate(labels, probabilities, CLASSES, draws=10)

    def wilson(right, of):
        return pytest.approx(tuple(binomtest(int(right.sum()), int(of.sum())).proportion_ci(method="wilson")))

    right = labels == predicted
    assert tuple(result["intervals"]["accuracy"]) == wilson(right, np.ones(300))
    for k, name in enumerate(CLASSES):
        found = result["intervals"]["per_class"][name]
        both = (labels == k) & (predicted == k)
        assert tuple(found["precision"]) == wilson(both, predicted == k)
        assert tuple(found["recall"]) == wilson(both, labels == k)
        jaccard = binomtest(int(both.sum()), int(((labels == k) | (predicted == k)).sum())).proportion_ci(
            method="wilson"
        )
        assert tuple(found["f1"]) == pytest.approx(tuple(2 * end / (1 + end) for end in jaccard))


def test_twenty_of_twenty_leave_room_for_errors():
    labels = np.arange(20) % 4
    result = evaluate(labels, np.eye(4)[labels], CLASSES)
    assert result["accuracy"] == result["macro_f1"] == 1.0
    assert result["intervals"]["accuracy"] == pytest.approx([0.8389, 1.0], abs=1e-4)
    low, high = result["intervals"]["macro_f1"]
    assert 0.75 < low < 0.9
    assert high == 1.0
    assert result["intervals"]["ece"][1] > 0.1
    for name in CLASSES:
        for low, high in result["intervals"]["per_class"][name].values():
            assert low < 0.8
            assert high == 1.0


def scenes(seed, count=25, size=40, accuracy=0.85, icc=0.15):
    """Labels, probabilities and scenes: some scenes are hard as a whole."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(count), size)
    own = rng.beta(accuracy * (1 / icc - 1), (1 - accuracy) * (1 / icc - 1), count)
    labels = rng.integers(4, size=count * size)
    predicted = np.where(rng.random(len(labels)) < own[groups], labels, (labels + 1) % 4)
    return labels, 0.2 * np.full((len(labels), 4), 0.25) + 0.8 * np.eye(4)[predicted], groups


def test_intervals_over_scenes_hold_the_accuracy_of_other_scenes():
    held, alone = [], []
    for seed in range(80):
        labels, probabilities, groups = scenes(seed)
        for found, units in ((held, groups), (alone, None)):
            low, high = evaluate(labels, probabilities, CLASSES, groups=units, draws=1)["intervals"]["accuracy"]
            found.append(low <= 0.85 <= high)
    assert np.mean(held) >= 0.88
    assert np.mean(alone) < 0.7


def test_groups_widen_every_interval_and_are_named():
    labels, probabilities, groups = scenes(0)
    over, alone = (evaluate(labels, probabilities, CLASSES, groups=g)["intervals"] for g in (groups, None))
    for name in ("accuracy", "macro_f1", "ece"):
        assert np.ptp(over[name]) > 1.3 * np.ptp(alone[name]), name
    assert (over["over"], over["groups"]) == ("groups", 25)
    assert (alone["over"], alone["groups"]) == ("patches", None)
    assert "groups" in over["methods"]["shares"]
    assert "Wilson" in alone["methods"]["shares"]


def test_the_names_and_the_order_of_groups_do_not_matter():
    labels, probabilities, groups = scenes(0, count=8)
    names = np.array([f"scene {g}" for g in groups])
    turned = np.random.default_rng(0).permutation(len(labels))
    first = evaluate(labels, probabilities, CLASSES, groups=groups)["intervals"]
    other = evaluate(labels[turned], probabilities[turned], CLASSES, groups=names[turned])["intervals"]
    for name in ("accuracy", "macro_f1"):
        assert first[name] == pytest.approx(other[name])


def test_groups_of_one_patch_are_independent_patches():
    labels, probabilities = draw(400, 4)
    single, none = (evaluate(labels, probabilities, CLASSES, groups=g)["intervals"] for g in (np.arange(400), None))
    assert single["accuracy"] == pytest.approx(none["accuracy"], abs=0.002)
    assert single["macro_f1"] == pytest.approx(none["macro_f1"], abs=0.002)


def test_one_group_tells_nothing_of_others_and_is_said_to_be_one():
    labels, probabilities = draw(100, 4)
    one, none = (evaluate(labels, probabilities, CLASSES, groups=g)["intervals"] for g in (np.zeros(100), None))
    assert one["accuracy"] == none["accuracy"]
    assert (one["over"], one["groups"]) == ("patches", 1)


def test_a_class_in_one_group_alone_has_no_interval():
    labels, probabilities, groups = scenes(0)
    labels = np.where(groups == 0, 3, labels % 3)
    result = evaluate(labels, probabilities, CLASSES, groups=groups)
    assert result["intervals"]["per_class"]["town"]["recall"] is None
    assert result["intervals"]["per_class"]["field"]["recall"] is not None


def test_all_right_in_every_scene_says_as_much_as_so_many_patches_of_their_own():
    labels = np.arange(1000) % 4
    groups = np.repeat(np.arange(25), 40)
    low, high = evaluate(labels, np.eye(4)[labels], CLASSES, groups=groups)["intervals"]["accuracy"]
    assert 0.8 < low < 0.88
    assert high == 1.0


def test_groups_must_be_as_many_as_patches():
    labels, probabilities = draw(100, 4)
    with pytest.raises(DataError, match="99 groups were given for 100 patches"):
        evaluate(labels, probabilities, CLASSES, groups=np.arange(99))


@pytest.mark.parametrize("criterion", WORDS)
def test_a_criterions_values_have_its_figure_as_their_mean(criterion):
    labels, probabilities = draw(300, 4)
    predicted = probabilities.argmax(axis=1)
    expected = {
        "accuracy": accuracy_score(labels, predicted),
        "macro_f1": f1_score(labels, predicted, average="macro"),
        "balanced_accuracy": balanced_accuracy_score(labels, predicted),
    }[criterion]
    assert figure_of(criterion, confusion_matrix(labels, predicted)) == pytest.approx(expected)
    assert values_of(criterion, labels, predicted, 4).mean() == pytest.approx(expected)


@pytest.mark.parametrize("criterion", WORDS)
def test_a_criterions_values_spread_as_resampled_patches_do(criterion):
    labels, probabilities = draw(400, 4)
    predicted = probabilities.argmax(axis=1)
    rng = np.random.default_rng(0)
    drawn = [
        figure_of(criterion, confusion_matrix(labels[rows], predicted[rows]))
        for rows in (rng.integers(400, size=400) for _ in range(500))
    ]
    values = values_of(criterion, labels, predicted, 4)
    assert values.std(ddof=1) / 20 == pytest.approx(np.std(drawn), rel=0.12)


def test_same_seed_same_intervals_other_seed_others():
    labels, probabilities = draw(200, 4)
    first, again, other = (evaluate(labels, probabilities, CLASSES, draws=50, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first["intervals"]["ece"] != other["intervals"]["ece"]
    assert first["intervals"]["accuracy"] == other["intervals"]["accuracy"]


def test_a_class_without_patches_has_zeros_and_no_intervals():
    labels, probabilities = draw(200, 4)
    labels = np.where(labels == 2, 0, labels)
    result = evaluate(labels, probabilities, CLASSES, draws=20)
    assert result["per_class"]["water"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert result["intervals"]["per_class"]["water"] == {"precision": None, "recall": None, "f1": None}


def test_a_class_that_is_nowhere_does_not_count_in_macro_f1():
    labels, probabilities = draw(200, 3)
    wider = np.hstack([probabilities, np.zeros((200, 1))])
    three = evaluate(labels, probabilities, CLASSES[:3], draws=10)
    assert evaluate(labels, wider, CLASSES, draws=10)["macro_f1"] == pytest.approx(three["macro_f1"])


@settings(max_examples=20, deadline=None)
@given(N=st.integers(1, 40), K=st.integers(2, 6), seed=st.integers(0, 1000))
def test_always_finite_json_and_intervals_that_hold_the_figure(N, K, seed):
    labels, probabilities = draw(N, K, seed)
    classes = [f"c{k}" for k in range(K)]
    result = evaluate(labels, probabilities.astype(np.float32), classes, draws=5)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    for key in ("accuracy", "macro_f1", "ece"):
        low, high = result["intervals"][key]
        assert 0 <= low <= result[key] <= high <= 1 + 1e-6
    assert sum(map(sum, result["confusion"])) == N


def test_the_interval_of_a_well_calibrated_models_error_reaches_down_to_zero():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1.0, 5000)
    labels = (rng.random(5000) > confidence).astype(int)  # class 0 is right as often as it is promised
    result = evaluate(labels, np.stack([confidence, 1 - confidence], axis=1), ["a", "b"], draws=200)
    low, high = result["intervals"]["ece"]
    assert low == 0.0
    assert high >= result["ece"]


def test_the_interval_of_an_over_confident_models_error_holds_what_it_is_off_by():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(60):
        right = rng.random(1000) < 0.8
        labels = np.where(right, 0, 1)
        low, high = evaluate(labels, np.tile([0.9, 0.1], (1000, 1)), ["a", "b"], draws=200)["intervals"]["ece"]
        held.append(low <= 0.1 <= high)
        assert low > 0.05
    assert np.mean(held) > 0.88


def test_a_probability_that_rounding_left_above_one_changes_no_calibration_error():
    labels = np.array([0] * 9 + [1])
    probabilities = np.tile([1.0, 0.0], (10, 1))
    above = probabilities.copy()
    above[0, 0] = 1.0000001
    assert evaluate(labels, above, ["a", "b"])["ece"] == evaluate(labels, probabilities, ["a", "b"])["ece"]


def test_no_patches_is_an_error_that_says_so():
    with pytest.raises(DataError, match="no patches"):
        evaluate(np.empty(0, int), np.empty((0, 4)), CLASSES)


@pytest.mark.parametrize("labels", [[0, 4], [-1, 0], [0]])
def test_labels_that_do_not_fit_are_an_error(labels):
    with pytest.raises(DataError):
        evaluate(np.array(labels), np.full((2, 4), 0.25), CLASSES)


def test_probabilities_of_a_diverged_model_are_an_error():
    with pytest.raises(ModelError, match="diverged"):
        evaluate(np.array([0]), np.full((1, 4), np.nan), CLASSES)


def test_many_matrices_at_once_have_scikit_learns_figures():
    counts = np.random.default_rng(0).integers(0, 4, (20, 4, 4))
    counts[:, 3, :] = 0  # a class without patches
    counts[:5, :, 3] = 0  # which is not predicted either
    true, predicted = np.divmod(np.arange(16), 4)
    many = per_class_of(np.diagonal(counts, axis1=1, axis2=2), counts.sum(axis=1), counts.sum(axis=2))
    for matrix, figures in zip(counts, many, strict=True):
        expected = precision_recall_fscore_support(
            true, predicted, labels=range(4), sample_weight=matrix.ravel(), zero_division=np.nan
        )
        np.testing.assert_allclose(figures, np.stack(expected[:3]), rtol=1e-12)
