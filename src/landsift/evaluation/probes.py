"""How well features tell labelled patches apart, without training a network: nearest neighbours and a linear layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
Labels = NDArray[np.int64]

NEIGHBOURS = 5
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse strengths of the linear probe's regularisation, of which the validation patches choose."""
_AT_ONCE = 1024


def knn_predict(train: Features, labels: Labels, queries: Features, k: int = NEIGHBOURS) -> Labels:
    """The class of most of the k nearest training patches by cosine similarity; of several the one with the nearest.

    Args:
        train: features [N, D].
        labels: [N].
        queries: features [M, D].
        k: how many neighbours.

    Returns:
        int64 [M].
    """
    train, queries = _normalised(train), _normalised(queries)
    k, classes = min(k, len(train)), int(labels.max()) + 1
    found = np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), _AT_ONCE):
        similar = queries[start : start + _AT_ONCE] @ train.T  # [b, N]
        nearest = np.argpartition(-similar, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(similar, nearest, axis=1), axis=1, kind="stable")
        of = labels[np.take_along_axis(nearest, order, axis=1)]  # [b, k], the nearest first
        votes = np.zeros((len(of), classes))
        for place in range(k):
            # Less than a vote for all of them together.
            votes[np.arange(len(of)), of[:, place]] += 1.0 + 0.5 * (k - place) / k**2
        found[start : start + _AT_ONCE] = votes.argmax(axis=1)
    return found


def knn_accuracy(train: Features, labels: Labels, queries: Features, answers: Labels, k: int = NEIGHBOURS) -> float:
    """Share of queries whose class `knn_predict` finds."""
    return float((knn_predict(train, labels, queries, k) == answers).mean())


def linear_probe(
    train: Features, labels: Labels, val: Features, val_labels: Labels, queries: Features
) -> tuple[Labels, dict[str, Any]]:
    """Multinomial logistic regression on standardised features; the validation patches choose its regularisation.

    Args:
        train: features [N, D].
        labels: [N].
        val: features [V, D].
        val_labels: [V].
        queries: features [M, D].

    Returns:
        The classes of the queries, int64 [M], and what was chosen: `strength`, `val_accuracy`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    best: tuple[float, float, Any] | None = None
    for strength in STRENGTHS:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300, tol=1e-3))
        model.fit(train, labels)
        right = float((model.predict(val) == val_labels).mean())
        if best is None or right > best[0]:
            best = right, strength, model
    assert best is not None
    return np.asarray(best[2].predict(queries), dtype=np.int64), {"strength": best[1], "val_accuracy": best[0]}


def pixel_statistics(images: NDArray[Any]) -> Features:
    """Mean, standard deviation, minimum and maximum of each band: what a patch says without a network.

    Args:
        images: [N, H, W, C].

    Returns:
        float32 [N, 4 * C].
    """
    pixels = images.reshape(len(images), -1, images.shape[-1]).astype(np.float32)
    parts = [pixels.mean(axis=1), pixels.std(axis=1), pixels.min(axis=1), pixels.max(axis=1)]
    return np.concatenate(parts, axis=1)


def _normalised(features: Features) -> Features:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit: Features = (features / np.maximum(length, 1e-12)).astype(np.float32)
    return unit
