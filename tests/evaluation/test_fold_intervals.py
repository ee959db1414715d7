"""Intervals over folds cover the accuracy on new places at least as often as they say, by simulation."""

import numpy as np
import pytest

from landsift.evaluation.comparison import Cell, compare_cells
from landsift.evaluation.finished_comparison import pooled
from landsift.evaluation.recommendation import Rule

WAY = np.array([0.8, 0.24, 0.0])  # from between the classes to each of them


def patches(rng, blocks, each, effect):
    """Features [blocks, each, 3] that lie otherwise in every block, and classes [blocks, each]."""
    classes = rng.integers(0, 2, (blocks, each))
    place = rng.normal(0, effect, (blocks, 1, 3))
    return place + rng.normal(0, 1, (blocks, each, 3)) + WAY * (2 * classes[..., None] - 1), classes


def trained(features, classes):
    """A classifier by the nearer mean: its direction and threshold."""
    x, y = features.reshape(-1, 3), classes.ravel()
    a, b = x[y == 0].mean(axis=0), x[y == 1].mean(axis=0)
    return b - a, (b - a) @ (a + b) / 2


def predicted(model, features):
    return (features.reshape(-1, 3) @ model[0] > model[1]).astype(np.int64)


def cross_validated(rng, blocks, each, folds, effect):
    """The interval of a classifier, and p of its difference to an equal one, each trained on half of the blocks."""
    features, classes = patches(rng, blocks, each, effect)
    fold = rng.permutation(np.arange(blocks) % folds)
    cells = []
    for k in range(folds):
        train = rng.permutation(np.flatnonzero(fold != k))
        half = len(train) // 2
        labels = classes[fold == k].ravel()
        for row, of_row in (("a", train[:half]), ("b", train[half : 2 * half])):
            guess = predicted(trained(features[of_row], classes[of_row]), features[fold == k])
            cells.append((k, Cell(row, 10, 0, labels, guess, np.eye(2), ("0", "1"), 1.0, 1.0, 1, 1)))
    whole, numbers = pooled(cells, folds)
    found = compare_cells(whole, lambda _: None, Rule(), None, numbers)
    return found["results"][0]["accuracy_interval"], found["pairs"][0]["p"]


@pytest.mark.parametrize(("folds", "effect"), [(3, 0.6), (5, 0.0), (5, 0.6), (10, 1.0)])
def test_the_truth_is_in_the_intervals_and_equal_rows_are_seldom_found_different(folds, effect):
    rng, blocks, each = np.random.default_rng(5), 30, 8
    features, classes = patches(rng, 2000, each, effect)
    size = (blocks - blocks // folds) // 2
    truth = np.mean(
        [np.mean(predicted(trained(*patches(rng, size, each, effect)), features) == classes.ravel()) for _ in range(40)]
    )
    found = [cross_validated(rng, blocks, each, folds, effect) for _ in range(200)]
    covered = np.mean([low <= truth <= high for (low, high), _ in found])
    assert covered >= 0.95
    assert np.mean([p <= 0.05 for _, p in found]) <= 0.05
    assert np.mean([high - low for (low, high), _ in found]) < 0.45  # and still say something
