"""Bayesian smoothing is that of sits, cell by cell, whatever the strips; single cells among others follow them."""

import numpy as np
import pytest

from landsift.errors import RunError
from landsift.mapping import smoothing
from landsift.mapping.overlap import Strip
from landsift.mapping.smoothing import Smoother, to_logits


def cells_of(height, width, classes=3, seed=0, valid=1.0):
    rng = np.random.default_rng(seed)
    probabilities = rng.random((height, width, classes), dtype=np.float32) ** 3 + 1e-3
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    known = rng.random((height, width)) < valid
    return np.where(known[..., None], probabilities, np.float32(0)), known


def strips_of(probabilities, valid, step):
    for top in range(0, len(valid), step):
        rows = slice(top, min(top + step, len(valid)))
        yield Strip(rows, probabilities[rows], valid[rows])


def smoothed(probabilities, valid, size, variance=20.0, step=4):
    smoother = Smoother(size, variance)
    found = list(smoother.smooth(strips_of(probabilities, valid, step)))
    assert [strip.rows.start for strip in found] == [0, *(strip.rows.stop for strip in found[:-1])]
    assert found[-1].rows.stop == len(valid)
    np.testing.assert_array_equal(np.concatenate([strip.valid for strip in found]), valid)
    return np.concatenate([strip.probabilities for strip in found]), smoother


def by_hand(probabilities, valid, size, variance):
    """As the formula of the paper has it, in loops."""
    clipped = np.clip(probabilities.astype(np.float64), 1e-4, 1 - 1e-4)
    logits = np.log(clipped / (clipped.sum(axis=-1, keepdims=True) - clipped))
    found = np.zeros(probabilities.shape)
    reach = size // 2
    for i, j in zip(*np.nonzero(valid), strict=True):
        rows, cols = (slice(max(0, k - reach), k + reach + 1) for k in (i, j))
        for k in range(probabilities.shape[-1]):
            near = np.sort(logits[rows, cols, k][valid[rows, cols]])[::-1]
            near = near[: int(np.ceil(0.5 * len(near)))]
            x = logits[i, j, k]
            if len(near) > 1:
                s2 = near.var(ddof=1)
                x = (s2 * x + variance * near.mean()) / (s2 + variance)
            found[i, j, k] = 1 / (1 + np.exp(-x))
        found[i, j] /= found[i, j].sum()
    return found


@pytest.mark.parametrize(("size", "step"), [(3, 1), (3, 50), (5, 2), (7, 3), (9, 20)])
@pytest.mark.parametrize("valid", [1.0, 0.6, 0.05])
def test_each_cell_is_weighed_against_the_most_probable_of_its_neighbours(size, step, valid):
    probabilities, known = cells_of(17, 11, valid=valid)
    found, smoother = smoothed(probabilities, known, size, step=step)
    np.testing.assert_allclose(found, by_hand(probabilities, known, size, 20.0), atol=1e-5)
    assert smoother.cells == known.sum()
    changed = (found.argmax(axis=-1) != probabilities.argmax(axis=-1)) & known
    assert smoother.changed == changed.sum()


def test_a_cell_of_sits_own_arithmetic():
    """Nine cells of two classes; the numbers are those of sits' C++ on the same logits, fraction 0.5, smoothness 20."""
    logits = np.array([[1.0, 2.0, 3.0], [4.0, -2.0, 0.0], [0.5, 1.5, 2.5]])
    first = 1 / (1 + np.exp(-logits))
    probabilities = np.stack([first, 1 - first], axis=-1).astype(np.float32)
    found, _ = smoothed(probabilities, np.ones((3, 3), bool), 3)
    near = np.array([4.0, 3.0, 2.5, 2.0, 1.5])
    w = near.var(ddof=1) / (near.var(ddof=1) + 20)
    a = w * -2.0 + (1 - w) * near.mean()
    near = np.array([2.0, 0.0, -0.5, -1.0, -1.5])
    w = near.var(ddof=1) / (near.var(ddof=1) + 20)
    b = w * 2.0 + (1 - w) * near.mean()
    shares = 1 / (1 + np.exp([-a, -b]))
    np.testing.assert_allclose(found[1, 1], shares / shares.sum(), atol=1e-5)


def test_a_single_cell_among_others_follows_them_and_an_edge_stays():
    probabilities = np.zeros((9, 10, 2), np.float32)
    probabilities[:, :5] = [0.9, 0.1]
    probabilities[:, 5:] = [0.1, 0.9]
    sharp = probabilities.argmax(axis=-1)
    probabilities[4, 2] = [0.4, 0.6]
    found, smoother = smoothed(probabilities, np.ones((9, 10), bool), 3)
    np.testing.assert_array_equal(found.argmax(axis=-1), sharp)
    assert smoother.changed == 1
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)


def test_little_variance_changes_little(monkeypatch):
    probabilities, known = cells_of(12, 9)
    found, _ = smoothed(probabilities, known, 5, variance=1e-9)
    np.testing.assert_allclose(found, by_hand(probabilities, known, 5, 1e-9), atol=1e-5)
    assert (found.argmax(axis=-1) == probabilities.argmax(axis=-1)).all()
    monkeypatch.setattr(smoothing, "_VALUES", 100)
    again, _ = smoothed(probabilities, known, 5, variance=1e-9)
    np.testing.assert_array_equal(found, again)


def test_certainty_has_an_end():
    assert np.isfinite(to_logits(np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]], np.float32))).all()
    assert np.isfinite(to_logits(np.ones((2, 1), np.float32))).all()


@pytest.mark.parametrize("size", [-3, 0, 1, 2, 4, 101])
def test_neighbourhoods_have_a_middle(size):
    with pytest.raises(RunError, match=f"--smooth {size} is not an odd number from 3 to 99"):
        Smoother(size)
