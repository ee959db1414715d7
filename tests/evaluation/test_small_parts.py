"""What a handful of patches cannot show is not claimed, and is said."""

import numpy as np
import pytest

from landsift.config import EvaluationConfig
from landsift.evaluation.abstention import choose_confidence
from landsift.evaluation.conformal import least_probability, patches_for
from landsift.evaluation.temperature import choose_temperature, scaled
from landsift.evaluation.trust import Answers, calibrating_half, fit_distances, fit_trust, shortfalls, trust_figures
from landsift.reports.run import trust as page

CLASSES = ("a", "b", "c")


def answers(N, *, right=1.0, groups=None, seed=0, classes=3):
    """Answers that are as sure as they are right, the last class with two patches."""
    rng = np.random.default_rng(seed)
    labels = np.where(np.arange(N) < 2, classes - 1, rng.integers(0, classes - 1, N))
    predicted = np.where(rng.random(N) < right, labels, (labels + 1) % classes)
    confidence = rng.uniform(0.7, 0.9, N)
    probabilities = np.repeat(((1 - confidence) / (classes - 1))[:, None], classes, axis=1)
    probabilities[np.arange(N), predicted] = confidence
    return Answers(labels, probabilities.astype(np.float32), rng.random(N), groups)


def judged(val, test, **settings):
    """The thresholds and figures of a test."""
    config = EvaluationConfig(**settings)
    half = calibrating_half(np.arange(len(test.labels)), test.groups, 0)
    distances = fit_distances(np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32), np.arange(60) % 3)
    trust = fit_trust(config, CLASSES, None, distances, val, test, half)
    return trust, trust_figures(trust, val, test, half, fitted_on=60)


@pytest.mark.parametrize("N", [5, 10, 40])
@pytest.mark.parametrize("sure", [0.8, 0.9, 0.95])
def test_a_calibrated_model_keeps_its_probabilities_whatever_chance_leaves_out(N, sure):
    """In small validations chance often leaves out all mistakes, and patches that are as sure hide that from t."""
    applied = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        confidence = np.clip(sure + 0.02 * rng.normal(size=N), 0.5, 0.99)
        probabilities = np.stack([confidence, 1 - confidence], axis=1)
        labels = (rng.random(N) > confidence).astype(int)
        applied += choose_temperature(probabilities, labels, seed=seed).applied
    assert applied <= 1


def test_a_validation_that_is_too_small_is_the_reason():
    probabilities = np.tile([0.8, 0.2], (8, 1))
    chosen = choose_temperature(probabilities, np.zeros(8, int))
    assert chosen.value is None
    assert chosen.gain[0] > 0  # what was seen alone would have done
    assert "validation is too small to show it (8 patches): 2 more mistakes" in chosen.reason
    in_groups = choose_temperature(np.repeat(probabilities, 5, axis=0), np.zeros(40, int), np.arange(40) // 5)
    assert "(40 patches in 8 groups)" in in_groups.reason


def test_a_model_that_is_far_too_unsure_gets_a_temperature_from_few_patches():
    val = answers(60, right=0.95)
    chosen = choose_temperature(scaled(val.probabilities, 3.0), val.labels)
    assert chosen.applied


def test_groups_that_could_not_show_a_risk_do_not_end_the_search():
    """Of 250 groups in the surest half none is wrong, which shows 2 % but not 1 %: all 500 do."""
    confidence, groups = np.linspace(1, 0.5, 1000), np.arange(1000) // 2
    right = np.ones(1000, bool)
    assert choose_confidence(confidence, right, 0.01, groups) == 0.5
    right[-200:] = False
    found = choose_confidence(confidence, right, 0.01, groups)
    assert found is not None
    assert found > confidence[-200]


@pytest.mark.parametrize(("coverage", "needed"), [(0.9, 9), (0.95, 19), (0.99, 99)])
def test_a_coverage_needs_so_many_patches(coverage, needed):
    assert patches_for(coverage) == needed
    assert least_probability(np.full(needed, 0.5), coverage) == 0.5
    assert least_probability(np.full(needed - 1, 0.5), coverage) == 0.0


def test_what_few_patches_cannot_show_is_said():
    """Forty test patches and sets of 99 %: all classes in every set, and a person should hear of it."""
    _, figures = judged(answers(40), answers(40, seed=1), coverage=0.99)
    said = shortfalls(figures)
    assert "half of the test, 20 patches, is too small for a threshold, which needs 99 patches" in said[0]
    assert "every set holds all classes" in said[0]
    assert "below 1 %: validation has too few patches (40)" in said[1]
    assert "about 1 in 41 is" in said[2]
    texts = page.texts(figures)
    assert "Validation has only 40 patches" in texts["ood_note"]
    assert "Too few patches for a threshold, so in every set: a, b, c." in texts["sets_note"]


def test_a_class_of_two_patches_is_in_every_set_by_class_and_is_named():
    _, figures = judged(answers(1000), answers(1000, seed=1), sets="class", risk=0.01)
    (said,) = shortfalls(figures)
    assert "by class: in every set is c: a threshold needs 19 patches of a class" in said


def test_enough_patches_leave_nothing_to_say():
    val, test = answers(1000), answers(1000, seed=1)
    _, figures = judged(val, test)
    assert shortfalls(figures) == []
    assert "only" not in page.texts(figures)["ood_note"]


def test_without_a_mistake_no_risk_is_shown_by_a_handful():
    """A perfect validation: 380 patches cannot show 1 %, and 400 can."""
    for N, shown in ((30, False), (380, False), (400, True)):
        trust, figures = judged(answers(N), answers(400, seed=1))
        assert (trust.thresholds.confidence is not None) == shown
        row = next(row for row in figures["abstention"]["rows"] if row["risk"] == 0.01)
        if shown:
            assert row["val"]["interval"][1] <= 0.01
            assert row["val"]["risk"] == 0.0


def test_halves_of_groups_have_no_range_that_chance_allows():
    """Of 10 scenes, 5 calibrate: patches of one scene are alike, so that a range of patches would be too narrow."""
    groups = np.arange(600) // 60
    _, figures = judged(answers(600, groups=groups), answers(600, groups=groups, seed=1))
    rows = figures["sets"]["rows"]
    assert all(row["by_threshold"].get("expected") is None for row in rows)
    texts = page.texts(figures)
    assert {row["expected"] for row in texts["set_rows"]} == {"–"}
    assert "there is no range" in texts["sets_note"]
    alone = judged(answers(600), answers(600, seed=1))[1]
    assert "–" not in {row["expected"] for row in page.texts(alone)["set_rows"]}


def test_one_patch_to_test_on_is_said():
    _, figures = judged(answers(500), answers(1, seed=1))
    assert "the test has one patch" in shortfalls(figures)[0]
    assert page.texts(figures)["set_rows"]
