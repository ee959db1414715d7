"""The figures are scikit-learn's and torchmetrics', and the intervals are those of resampled patches."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from landsift.errors import DataError, ModelError
from landsift.evaluation.metrics import _bootstrap, _calibration_error, evaluate, per_class_of

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
    result = evaluate(labels, probabilities, CLASSES, resamples=10)
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
    assert evaluate(labels, probabilities, ("a", "b"), resamples=0)["ece"] == pytest.approx(0.5 * 0.45 + 0.5 * 0.35)


def test_calibration_error_is_the_multiclass_one_of_torchmetrics():
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    labels, probabilities = draw(500, 4)
    expected = multiclass_calibration_error(torch.tensor(probabilities), torch.tensor(labels), num_classes=4, n_bins=15)
    assert evaluate(labels, probabilities, CLASSES, resamples=0)["ece"] == pytest.approx(expected.item(), abs=1e-6)


def test_a_resample_has_the_figures_of_its_patches():
    labels, probabilities = draw(400, 4)
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    draws = _bootstrap(labels * 4 + predicted, confidence, predicted == labels, 4, 5, seed=3)
    rng = np.random.default_rng(3)
    for r in range(5):
        rows = rng.integers(400, size=400)
        assert draws["accuracy"][r] == pytest.approx(accuracy_score(labels[rows], predicted[rows]))
        assert draws["macro_f1"][r] == pytest.approx(f1_score(labels[rows], predicted[rows], average="macro"))
        expected = precision_recall_fscore_support(labels[rows], predicted[rows])[:3]
        np.testing.assert_allclose(draws["per_class"][r], np.stack(expected))
        error = _calibration_error(confidence[rows], (predicted == labels)[rows])
        assert draws["ece"][r] == pytest.approx(error, abs=1e-6)


def test_accuracy_interval_is_close_to_the_binomial_one():
    labels = np.zeros(1000, dtype=int)
    labels[:100] = 1  # predicted 0 everywhere: accuracy 0.9
    low, high = evaluate(labels, np.tile([0.9, 0.1], (1000, 1)), ("a", "b"))["intervals"]["accuracy"]
    half = 1.96 * np.sqrt(0.9 * 0.1 / 1000)
    assert low == pytest.approx(0.9 - half, abs=0.003)
    assert high == pytest.approx(0.9 + half, abs=0.003)


def test_same_seed_same_intervals_other_seed_others():
    labels, probabilities = draw(200, 4)
    first, again, other = (evaluate(labels, probabilities, CLASSES, resamples=50, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first["intervals"] != other["intervals"]


def test_a_class_without_patches_has_zeros_and_no_intervals():
    labels, probabilities = draw(200, 4)
    labels = np.where(labels == 2, 0, labels)
    result = evaluate(labels, probabilities, CLASSES, resamples=20)
    assert result["per_class"]["water"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert result["intervals"]["per_class"]["water"] == {"precision": None, "recall": None, "f1": None}


def test_a_class_that_is_nowhere_does_not_count_in_macro_f1():
    labels, probabilities = draw(200, 3)
    wider = np.hstack([probabilities, np.zeros((200, 1))])
    three = evaluate(labels, probabilities, CLASSES[:3], resamples=0)
    assert evaluate(labels, wider, CLASSES, resamples=0)["macro_f1"] == pytest.approx(three["macro_f1"])


@settings(max_examples=20, deadline=None)
@given(N=st.integers(1, 40), K=st.integers(2, 6), seed=st.integers(0, 1000))
def test_always_finite_json_and_intervals_that_hold_the_figure(N, K, seed):
    labels, probabilities = draw(N, K, seed)
    classes = [f"c{k}" for k in range(K)]
    result = evaluate(labels, probabilities.astype(np.float32), classes, resamples=5)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    for key in ("accuracy", "macro_f1", "ece"):
        low, high = result["intervals"][key]
        assert 0 <= low <= result[key] <= high <= 1 + 1e-6
    assert sum(map(sum, result["confusion"])) == N


def test_the_interval_of_a_well_calibrated_models_error_reaches_down_to_zero():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1.0, 5000)
    labels = (rng.random(5000) > confidence).astype(int)  # class 0 is right as often as it is promised
    result = evaluate(labels, np.stack([confidence, 1 - confidence], axis=1), ["a", "b"], resamples=200)
    low, high = result["intervals"]["ece"]
    assert low < 0.2 * result["ece"] < result["ece"] <= high


def test_a_confidence_that_is_above_one_by_rounding_changes_no_error():
    """torchmetrics takes numbers above 1 for logits, and all confidences were put through a sigmoid."""
    labels, probabilities = draw(200, 3, 0)
    expected = evaluate(labels, probabilities, ["a", "b", "c"], resamples=0)["ece"]
    sure = probabilities.argmax()
    row, column = np.unravel_index(sure, probabilities.shape)
    probabilities[row] = 0
    probabilities[row, column] = 1
    exactly = evaluate(labels, probabilities, ["a", "b", "c"], resamples=0)["ece"]
    probabilities[row, column] = np.float32(1.0000001)
    assert evaluate(labels, probabilities, ["a", "b", "c"], resamples=0)["ece"] == pytest.approx(exactly, abs=1e-6)
    assert exactly == pytest.approx(expected, abs=0.01)


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
