"""t-SNE frames are reproducible, follow each other and survive small or odd inputs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from landsift.data.balanced import balanced_rows
from landsift.errors import ModelError
from landsift.evaluation.tsne import tsne_frame
from landsift.reports.run.tsne_figure import tsne_figure


def clusters(classes=4, each=20, D=16, seed=0):
    """Features [M, D] in well separated groups, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    return (rng.normal(size=(classes, D)) * 8)[labels] + rng.normal(size=(len(labels), D)), labels


@given(labels=st.lists(st.integers(0, 5), max_size=60), per_class=st.integers(1, 10), seed=st.integers(0, 99))
def test_rows_are_balanced_distinct_and_sorted(labels, per_class, seed):
    labels = np.array(labels, dtype=np.int64)
    rows = balanced_rows(labels, per_class, seed)
    assert rows.dtype == np.int64
    assert np.all(np.diff(rows) > 0)
    for label in range(6):
        assert (labels[rows] == label).sum() == min(per_class, (labels == label).sum())


def test_rows_depend_on_the_seed_and_not_on_other_classes():
    labels = np.arange(300) % 3
    rows = balanced_rows(labels, 10, seed=0)
    assert not np.array_equal(rows, balanced_rows(labels, 10, seed=1))
    merged = np.where(labels == 2, 1, labels)
    again = balanced_rows(merged, 10, seed=0)
    assert np.array_equal(rows[labels[rows] == 0], again[merged[again] == 0])


def test_same_seed_same_bits():
    features, _ = clusters()
    first = tsne_frame(features, seed=5)
    assert first.dtype == np.float32
    assert first.tobytes() == tsne_frame(features, seed=5).tobytes()
    follow = tsne_frame(features + 0.1, seed=5, previous=first)
    assert follow.tobytes() == tsne_frame(features + 0.1, seed=5, previous=first).tobytes()


def test_neighbours_in_the_frame_are_of_one_class():
    features, labels = clusters()
    frame = tsne_frame(features, seed=0)
    distances = cdist(frame, frame)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(axis=1)] == labels).mean() > 0.95


def test_the_next_frame_keeps_the_places_of_the_one_before():
    features, labels = clusters()
    before = tsne_frame(features, seed=0)
    moved = features + 0.3 * np.random.default_rng(1).normal(size=features.shape)
    after = tsne_frame(moved, seed=1, previous=before)
    places = [np.stack([frame[labels == k].mean(axis=0) for k in range(4)]) for frame in (before, after)]
    assert np.array_equal(cdist(*places).argmin(axis=1), np.arange(4))


def test_a_mirrored_start_is_mirrored_back():
    features, labels = clusters()
    before = tsne_frame(features, seed=0) * np.array([-1, 1], dtype=np.float32)
    after = tsne_frame(features, seed=0, previous=before)
    corner = [np.stack([frame[labels == k].mean(axis=0) for k in range(3)]) for frame in (before, after)]
    turns = [np.sign(np.linalg.det(place[1:] - place[0])) for place in corner]
    assert turns[0] == turns[1]


@pytest.mark.parametrize("M", [0, 1, 2, 3, 4, 7, 40])
def test_few_patches_still_make_a_frame(M):
    frame = tsne_frame(np.random.default_rng(0).normal(size=(M, 5)), seed=0)
    assert frame.shape == (M, 2)
    assert np.isfinite(frame).all()
    assert np.isfinite(tsne_frame(np.zeros((M, 5)), seed=0, previous=frame)).all()


@pytest.mark.parametrize("features", [np.ones((20, 5)), np.arange(20.0)[:, None]], ids=["all alike", "one feature"])
def test_degenerate_features_still_make_a_frame(features):
    assert np.isfinite(tsne_frame(features, seed=0)).all()


def test_features_of_a_diverged_backbone_are_an_error():
    with pytest.raises(ModelError, match="diverged"):
        tsne_frame(np.full((10, 3), np.nan), seed=0)


def test_figure_has_a_trace_for_each_class():
    figure = tsne_figure(np.zeros((3, 2), np.float32), np.array([0, 0, 2]), ("a", "b", "<c>"), title="epoch 1")
    assert [len(trace.x) for trace in figure.data] == [2, 0, 1]
    assert figure.data[2].name == "&lt;c&gt;"
    assert len({trace.marker.color for trace in figure.data}) == 3
