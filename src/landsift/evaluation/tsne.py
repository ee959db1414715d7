"""t-SNE frames of what the backbone has learned: the same patches, seen after several epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.errors import ModelError
from landsift.evaluation.palette import class_colours, class_symbols

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from numpy.typing import NDArray

PERPLEXITY = 30.0
"""The default of van der Maaten & Hinton 2008; lower where there are too few patches for it."""
INITIAL_SPREAD = 1e-4
"""Standard deviation of the initial layout (Kobak & Berens 2019)."""


def balanced_rows(labels: NDArray[Any], per_class: int, seed: int) -> NDArray[np.int64]:
    """Draw up to `per_class` rows of each class; a class with fewer gives all it has.

    What is drawn of one class does not depend on the others.

    Args:
        labels: int [N].
        per_class: Rows to draw of each class.
        seed: Seed of the draw.

    Returns:
        Row numbers int64 [M], sorted, none twice.
    """
    labels = np.asarray(labels)
    drawn = [
        np.random.default_rng([seed, int(label)]).permutation(np.flatnonzero(labels == label))[:per_class]
        for label in np.unique(labels)
    ]
    return np.sort(np.concatenate(drawn)).astype(np.int64) if drawn else np.empty(0, np.int64)


def tsne_frame(features: NDArray[Any], *, seed: int, previous: NDArray[Any] | None = None) -> NDArray[np.float32]:
    """Lay features out in the plane with t-SNE (van der Maaten & Hinton 2008), the same to the bit for the same seed.

    Args:
        features: float [M, D]; row i is the same patch in every frame.
        seed: Seed of the first layout.
        previous: float [M, 2], the frame before. It is the initial layout, and the new frame is turned (and, if
            need be, mirrored) onto it, which changes no distance, so that frames follow each other.

    Returns:
        Positions float32 [M, 2], centred on 0; they have no unit. Fewer than 3 patches lie on a line.

    Raises:
        ModelError: a feature is not a finite number.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    features = np.asarray(features, dtype=np.float32)
    if not np.isfinite(features).all():
        raise ModelError(
            "the backbone's features are not finite: its weights have diverged",
            "lower the learning rates, or train in float32 with --set training.precision=32",
        )
    M = len(features)
    if M < 3:  # nothing to lay out: t-SNE needs neighbours
        return np.stack([np.arange(M) - (M - 1) / 2, np.zeros(M)], axis=1).astype(np.float32)
    # Sums over several threads differ in their last bits from run to run.
    with threadpool_limits(limits=1):
        tsne = TSNE(
            perplexity=min(PERPLEXITY, (M - 1) / 3),
            init=_initial(features, seed, previous),
            random_state=seed,
            n_jobs=1,
        )
        frame = tsne.fit_transform(features)
        frame = frame - frame.mean(axis=0)
        if previous is not None:
            frame = _turned_onto(frame, np.asarray(previous))
    return np.asarray(frame, dtype=np.float32)


def tsne_figure(frame: NDArray[Any], labels: NDArray[Any], classes: Sequence[str], *, title: str = "") -> go.Figure:
    """A single frame as a scatter plot, coloured by true class.

    Args:
        frame: float [M, 2].
        labels: int [M], each a position in `classes`.
        classes: K names.
        title: Heading of the figure.
    """
    import plotly.graph_objects as go

    labels = np.asarray(labels)
    points = class_points(frame[:, 0], frame[:, 1], np.asarray(classes, dtype=object)[labels], classes)
    figure = go.Figure([go.Scatter(trace) for trace in points])
    axis = {"visible": False}
    return figure.update_layout(
        title=title or None, template="plotly_white", xaxis=axis, yaxis={**axis, "scaleanchor": "x"}
    )


def class_points(
    x: NDArray[Any], y: NDArray[Any], labels: NDArray[Any], classes: Sequence[str]
) -> list[dict[str, Any]]:
    """One Plotly scatter trace (as a dict) per class, in the class's colour; a class without points has an empty one.

    Args:
        x: float [M].
        y: float [M].
        labels: class names [M].
        classes: K names.
    """
    from html import escape

    colours, symbols = class_colours(classes), class_symbols(classes)
    return [
        {
            "x": np.asarray(x, dtype=np.float32)[labels == name],
            "y": np.asarray(y, dtype=np.float32)[labels == name],
            "mode": "markers",
            "name": escape(name, quote=False),
            "marker": {"color": colours[name], "symbol": symbols[name], "size": 7, "opacity": 0.85},
        }
        for name in classes
    ]


def _initial(features: NDArray[np.float32], seed: int, previous: NDArray[Any] | None) -> NDArray[np.float32]:
    """The initial layout [M, 2]: the previous frame, else the first two principal components, else noise."""
    from sklearn.decomposition import PCA

    layout = np.zeros((len(features), 2), dtype=np.float32)
    if previous is not None:
        layout += np.asarray(previous, dtype=np.float32)
    elif features.shape[1] > 1 and np.ptp(features, axis=0).any():
        layout += PCA(n_components=2, svd_solver="full").fit_transform(features)
    spread = float(layout[:, 0].std())
    if spread == 0.0:  # all features alike (a dead backbone), or a previous frame on one spot
        noise = np.random.default_rng(seed).normal(size=layout.shape)
        return (noise * INITIAL_SPREAD).astype(np.float32)
    return layout * np.float32(INITIAL_SPREAD / spread)


def _turned_onto(frame: NDArray[Any], previous: NDArray[Any]) -> NDArray[Any]:
    """Rotate or mirror `frame` [M, 2] to lie as close as it can to `previous` (orthogonal Procrustes)."""
    from scipy.linalg import orthogonal_procrustes

    rotation, _ = orthogonal_procrustes(frame, previous - previous.mean(axis=0))
    return np.asarray(frame @ rotation)
