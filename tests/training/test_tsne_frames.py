"""The model's own epoch has a t-SNE frame, whatever epochs the others were made after."""

import numpy as np
import pytest

from landsift.training.callbacks import TSNEFrames


@pytest.fixture
def frames():
    """Frames after the first, the fourth and the fifth epoch."""
    rng = np.random.default_rng(0)
    made = TSNEFrames(np.arange(12), np.arange(12) % 2, ("a", "b"), every=3, seed=0)
    made.frames = [(epoch, rng.normal(size=(12, 2)).astype(np.float32)) for epoch in (0, 3, 4)]
    return made


def features():
    return np.random.default_rng(1).normal(size=(12, 5)).astype(np.float32)


@pytest.mark.parametrize(("model", "epochs"), [(1, [0, 1, 3, 4]), (2, [0, 2, 3, 4]), (9, [0, 3, 4, 9])])
def test_an_epoch_without_a_frame_gets_one_among_the_others(frames, model, epochs):
    before = dict(frames.frames)
    frames.add_model(model, features)
    assert [epoch for epoch, _ in frames.frames] == epochs
    made = dict(frames.frames)
    assert made[model].shape == (12, 2)
    assert all(made[epoch] is frame for epoch, frame in before.items())


@pytest.mark.parametrize("model", [0, 3, 4])
def test_an_epoch_with_a_frame_needs_no_other(frames, model):
    frames.add_model(model, lambda: pytest.fail("its features are not needed"))
    assert [epoch for epoch, _ in frames.frames] == [0, 3, 4]


def test_without_frames_none_is_made():
    off = TSNEFrames(np.empty(0, np.int64), np.empty(0, np.int64), ("a",), every=1, seed=0)
    off.add_model(3, lambda: pytest.fail("its features are not needed"))
    assert off.frames == []
