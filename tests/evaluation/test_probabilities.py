"""A temperature is applied where it helps, sets hold what they promise, and few of the answers are wrong."""

import numpy as np
import pytest
from scipy.special import softmax

from landsift.config import EvaluationConfig
from landsift.evaluation.abstention import answered_figures, choose_confidence, risk_curve
from landsift.evaluation.calibration_figures import IN_A_BIN, calibration_figures, mean_interval, reliability
from landsift.evaluation.conformal import expected_range, halves, least_probability, set_figures, thresholds
from landsift.evaluation.temperature import choose_temperature, fit_temperature, scaled
from landsift.evaluation.trust import Answers, calibrating_half, fit_distances, fit_trust, trust_figures

CLASSES = ("a", "b", "c", "d")


def drawn(N, K=4, sharpness=2.0, seed=0):
    """Probabilities that are exactly right, [N, K], and labels drawn from them."""
    rng = np.random.default_rng(seed)
    probabilities = softmax(sharpness * rng.normal(size=(N, K)), axis=1)
    labels = (rng.random(N)[:, None] > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, K - 1)
    return probabilities, labels


@pytest.mark.parametrize("temperature", [0.4, 2.5])
def test_the_temperature_is_found_and_applied(temperature):
    probabilities, labels = drawn(4000)
    told = scaled(probabilities, 1 / temperature)  # what needs this temperature to be right
    assert fit_temperature(told, labels) == pytest.approx(temperature, rel=0.1)
    chosen = choose_temperature(told, labels)
    assert chosen.applied
    assert chosen.value == pytest.approx(temperature, rel=0.1)
    assert chosen.log_loss[1] < chosen.log_loss[0]
    assert chosen.ece[1] < chosen.ece[0]


def test_a_calibrated_model_is_left_as_it_is():
    for seed in range(5):
        chosen = choose_temperature(*drawn(1000, seed=seed))
        assert chosen.value is None
        assert chosen.reason.startswith("not applied")


def test_a_temperature_that_raises_the_calibration_error_is_not_applied():
    """Most patches are sure and right as often as they say; a few are told the wrong class with certainty."""
    rng = np.random.default_rng(0)
    probabilities = np.tile([0.95, 0.05], (4000, 1))
    labels = (rng.random(4000) > 0.95).astype(int)
    probabilities[:40] = [1 - 1e-9, 1e-9]
    labels[:40] = 1
    chosen = choose_temperature(probabilities, labels)
    assert chosen.log_loss[1] < chosen.log_loss[0]
    assert chosen.ece[1] > chosen.ece[0]
    assert not chosen.applied
    assert "raises the calibration error" in chosen.reason


def test_patches_that_are_all_right_ask_for_no_certainty():
    probabilities = np.tile([0.7, 0.2, 0.1], (50, 1))
    fitted = fit_temperature(probabilities, np.zeros(50, int))
    assert scaled(probabilities, fitted)[0, 0] == pytest.approx(51 / 52, abs=0.01)


def test_few_patches_and_one_group_get_no_temperature():
    probabilities, labels = drawn(3)
    assert choose_temperature(probabilities[:1], labels[:1]).value is None
    assert choose_temperature(probabilities, labels, np.zeros(3, int)).value is None
    assert choose_temperature(np.ones((5, 1)), np.zeros(5, int)).value is None


def test_folds_keep_groups_together():
    """Of 20 groups of equal patches, what holds for the groups of a fold is not fitted on them."""
    probabilities, labels = drawn(20, sharpness=1.0, seed=3)
    told = scaled(np.repeat(probabilities, 50, axis=0), 0.5)
    labels = np.repeat(labels, 50)
    grouped = choose_temperature(told, labels, np.repeat(np.arange(20), 50))
    alone = choose_temperature(told, labels)
    assert grouped.fitted == alone.fitted
    assert grouped.gain[1] - grouped.gain[0] > 3 * (alone.gain[1] - alone.gain[0])


def test_calibration_figures_by_hand():
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.9, 0.1]])
    labels = np.array([0, 1, 1, 0])
    found = calibration_figures(labels, probabilities, draws=10)
    assert found["brier"] == pytest.approx(2 * np.mean([0.04, 0.36, 0.09, 0.01]))
    assert found["log_loss"] == pytest.approx(-np.mean(np.log([0.8, 0.4, 0.7, 0.9])))
    assert found["ece"] == pytest.approx(np.mean([0.2, 0.6, 0.3, 0.1]))
    # Of two classes the error of the second is that of the first, here a bin for each patch.
    assert found["classwise_ece"] == pytest.approx(np.mean([0.2, 0.6, 0.3, 0.1]), abs=1e-6)
    assert found["intervals"]["brier"][0] < found["brier"] < found["intervals"]["brier"][1]


def test_a_certain_mistake_has_a_finite_log_loss():
    found = calibration_figures(np.array([1, 0]), np.array([[1.0, 0.0], [1.0, 0.0]]), draws=10)
    assert np.isfinite(found["log_loss"])


def test_an_interval_of_a_mean_is_wider_over_groups():
    values = np.repeat(np.random.default_rng(0).normal(size=30), 20)
    alone, grouped = mean_interval(values, None), mean_interval(values, np.repeat(np.arange(30), 20))
    assert grouped[1] - grouped[0] > 4 * (alone[1] - alone[0])
    assert mean_interval(values[:1], None) is None


def test_bins_of_the_diagram_are_merged_until_each_has_patches():
    probabilities, labels = drawn(300)
    confidence = probabilities.max(axis=1)
    rows = reliability(confidence, probabilities.argmax(axis=1) == labels)
    assert sum(row["n"] for row in rows) == 300
    assert all(row["n"] >= IN_A_BIN for row in rows)
    assert [row["low"] for row in rows[1:]] == [row["high"] for row in rows[:-1]]
    assert all(row["interval"][0] <= row["accuracy"] <= row["interval"][1] for row in rows)
    (single,) = reliability(confidence[:10], np.ones(10, bool))
    assert single["n"] == 10


@pytest.mark.parametrize("coverage", [0.9, 0.95, 0.99])
def test_sets_hold_the_class_as_often_as_they_promise(coverage):
    """Over 100 draws of both halves, the mean coverage is c to c + 1 / (n + 1), and 95 % of them are in the range."""
    held = []
    for seed in range(100):
        probabilities, labels = drawn(400, seed=seed)
        least = thresholds(probabilities[:200], labels[:200], coverage, "marginal")
        sets = probabilities[200:] >= least
        held.append(set_figures(sets, labels[200:], CLASSES)["coverage"])
    error = np.std(held) / np.sqrt(len(held))
    assert coverage - 3 * error < np.mean(held) < coverage + 1 / 201 + 3 * error
    low, high = expected_range(200, 200, coverage)
    assert 0.9 < np.mean((np.array(held) >= low) & (np.array(held) <= high)) <= 1


def test_sets_by_class_hold_every_class_as_often():
    probabilities, labels = drawn(8000)
    probabilities[labels == 0] = scaled(probabilities[labels == 0], 3.0)  # a class that the model knows less of
    by_kind = {}
    for kind in ("marginal", "class"):
        sets = probabilities[4000:] >= thresholds(probabilities[:4000], labels[:4000], 0.9, kind)
        by_kind[kind] = set_figures(sets, labels[4000:], CLASSES)["per_class"]
    assert max(abs(row["coverage"] - 0.9) for row in by_kind["class"].values()) < 0.035
    assert min(row["coverage"] for row in by_kind["marginal"].values()) < 0.885


def test_a_class_with_too_few_patches_is_in_every_set():
    assert least_probability(np.full(8, 0.7), 0.9) == 0.0  # 9 patches at least
    assert least_probability(np.full(9, 0.7), 0.9) == 0.7
    assert least_probability(np.empty(0), 0.5) == 0.0
    assert least_probability(np.linspace(0.01, 1, 100), 0.9) == pytest.approx(0.1)  # the 10th of 100


def test_sets_are_those_of_mapie():
    """An independent implementation of the same sets."""
    from mapie.classification import SplitConformalClassifier
    from mapie.conformity_scores import LACConformityScore
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Known(ClassifierMixin, BaseEstimator):
        """Gives the probabilities that it is asked about."""

        classes_ = np.arange(4)

        def fit(self, X, y):
            self.fitted_ = True
            return self

        def __sklearn_is_fitted__(self):
            return True

        def predict_proba(self, X):
            return X

        def predict(self, X):
            return X.argmax(axis=1)

    probabilities, labels = drawn(600)
    known = Known().fit(probabilities, labels)
    conformal = SplitConformalClassifier(
        known, confidence_level=[0.9, 0.95], conformity_score=LACConformityScore(), prefit=True
    )
    conformal.conformalize(probabilities[:300], labels[:300])
    _, theirs = conformal.predict_set(probabilities[300:])
    for i, coverage in enumerate((0.9, 0.95)):
        ours = probabilities[300:] >= thresholds(probabilities[:300], labels[:300], coverage, "marginal")
        np.testing.assert_array_equal(ours, theirs[:, :, i])


def test_halves_keep_units_together():
    units = np.random.default_rng(0).integers(0, 30, 500)
    half = halves(units, seed=0)
    assert all(len(set(half[units == unit])) == 1 for unit in range(30))
    assert 0.35 < half.mean() < 0.65
    np.testing.assert_array_equal(half, halves(units, seed=0))
    assert (half != halves(units, seed=1)).any()
    one = calibrating_half(np.arange(9), np.zeros(9, int), 0)  # one group has no halves: its patches have
    assert 0 < one.sum() < 9


def test_the_risk_of_the_answers_is_kept():
    """In at most 3 of 40 draws more of the answers are wrong than was asked for."""
    beyond, answered = 0, []
    for seed in range(40):
        probabilities, labels = drawn(1000, sharpness=20.0, seed=seed)
        least = choose_confidence(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, 0.03)
        assert least is not None
        new, true = drawn(5000, sharpness=20.0, seed=1000 + seed)
        risk = answered_figures(new.max(axis=1) >= least, new.argmax(axis=1) == true)
        beyond += risk["risk"] > 0.03
        answered.append(risk["answered"])
    assert beyond <= 3
    assert np.mean(answered) > 0.5


def test_a_risk_that_cannot_be_shown_has_no_threshold():
    confidence, right = np.linspace(0.5, 1, 200), np.ones(200, bool)
    assert choose_confidence(confidence, right, 0.01) is None  # it takes 381 without a mistake
    assert choose_confidence(confidence, right, 0.05) == 0.5
    assert choose_confidence(confidence, np.arange(200) % 2 == 0, 0.05) is None
    assert choose_confidence(confidence, right, 0.05, np.zeros(200, int)) is None


def test_patches_that_are_as_sure_are_answered_together():
    confidence = np.repeat([0.9, 0.8, 0.6], 100)
    right = np.ones(300, bool)
    right[200:250] = False
    assert choose_confidence(confidence, right, 0.05) == 0.8
    assert [point["answered"] for point in risk_curve(confidence, right)] == pytest.approx([1 / 3, 2 / 3, 1])


def test_distances_are_about_one_for_patches_like_those_of_training():
    rng = np.random.default_rng(0)
    means, labels = 5 * rng.normal(size=(4, 40)), rng.integers(0, 4, 6000)
    spread = np.exp(rng.normal(size=40))
    features = means[labels] + spread * rng.normal(size=(6000, 40))
    fitted = fit_distances(features[:3000].astype(np.float32), labels[:3000])
    assert np.median(fitted(features[3000:])) == pytest.approx(1.0, abs=0.15)
    assert np.median(fitted(features[3000:] + 4 * spread)) > 5
    assert fitted.directions.shape == (39, 40)


@pytest.mark.parametrize(("N", "D"), [(3, 8), (40, 8), (12, 300), (5, 1)])
def test_distances_of_few_patches_and_of_constant_features(N, D):
    labels = np.arange(N) % 2
    constant = fit_distances(np.ones((N, D), np.float32), labels)
    assert np.isfinite(constant(np.ones((2, D)))).all()
    assert constant(np.full((1, D), 2.0))[0] > 1000
    few = fit_distances(np.random.default_rng(0).normal(size=(N, D)).astype(np.float32), labels)
    assert np.isfinite(few(np.zeros((1, D)))).all()


def judged(N, seed, groups=None):
    probabilities, labels = drawn(N, sharpness=5.0, seed=seed)
    distance = np.random.default_rng(seed).random(N)
    return Answers(labels, probabilities.astype(np.float32), distance, groups)


@pytest.mark.parametrize("groups", [None, np.arange(3000) // 50, np.zeros(3000, int)])
def test_what_is_chosen_from_one_part_is_reported_on_another(groups):
    val, test = judged(3000, 0, groups), judged(3000, 1, groups)
    config = EvaluationConfig(risk=0.02, coverage=0.8, sets="class")
    half = calibrating_half(np.arange(3000), groups, 0)
    distances = fit_distances(np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32), np.arange(100) % 4)
    trust = fit_trust(config, CLASSES, None, distances, val, test, half)
    figures = trust_figures(trust, val, test, half, fitted_on=100)
    assert figures["ood"]["val"] == pytest.approx(0.01, abs=0.002)
    rows = {(row["nominal"], row["kind"]): row for row in figures["sets"]["rows"]}
    assert {coverage for coverage, _ in rows} == {0.8, 0.9, 0.95, 0.99}
    assert rows[0.8, "class"]["n"] == figures["sets"]["tested_on"] == (~half).sum()
    assert rows[0.8, "class"]["by_threshold"]["coverage"] == pytest.approx(0.8, abs=0.04)
    assert rows[0.8, "class"]["coverage"] >= rows[0.8, "class"]["by_threshold"]["coverage"]
    assert figures["sets"]["from_validation"][0]["n"] == 3000
    (chosen,) = [row for row in figures["abstention"]["rows"] if row["risk"] == 0.02]
    assert chosen["confidence"] == trust.thresholds.confidence
    if chosen["confidence"] is not None:
        assert chosen["val"]["interval"][1] <= 0.02
