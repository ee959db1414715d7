"""t-SNE frames of what the backbone has learned: the same patches, seen after several epochs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift import runs
from landsift.config import RunConfig
from landsift.errors import ModelError
from landsift.runtime.notices import said_before
from landsift.training.kept_features import drawn_rows, most_per_class, read_features

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from landsift.data.store.patch_store import PatchStore

logger = logging.getLogger("landsift")

PERPLEXITY = 30.0
"""The default of van der Maaten & Hinton 2008; lower where there are too few patches for it."""
INITIAL_SPREAD = 1e-4
"""Standard deviation of the initial layout (Kobak & Berens 2019)."""


def make_embeddings(config: RunConfig, store: PatchStore, trained: Path, folder: Path) -> None:
    """Write embeddings.parquet: the frames of a training, from the features that it has kept.

    Args:
        config: the configuration that was trained, and which frames are wanted (`tracking`).
        store: the patches that it was trained on.
        trained: what the training has left.
        folder: where the file goes; may be `trained`.

    Raises:
        RunError: a file of the training is missing or damaged, or one cannot be written.
        ModelError: a feature is not a finite number.
    """
    from landsift.data.splits import make_split

    every, per_class, most = (
        config.tracking.tsne_every,
        config.tracking.tsne_per_class,
        most_per_class(len(store.classes)),
    )
    if not every:
        runs.write_parquet(folder / runs.EMBEDDINGS, embeddings_table([], np.empty(0, np.int64), store))
        return
    if per_class > most:
        message = "t-SNE frames show %d patches per class, not %d (tracking.tsne_per_class): training caches no more"
        logger.warning(message, most, per_class)
    with said_before():
        split = make_split(store, config.data.split, config.data.budget, config.data.budget_seed)
    rows = drawn_rows(split.val, store.labels, min(per_class, most), config.seed)
    epochs, best = len(runs.read_json(trained / runs.METRICS)), runs.read_json(trained / runs.MANIFEST)["best"]["epoch"]
    frames: list[tuple[int, NDArray[np.float32]]] = []
    for epoch in sorted({*range(0, epochs, every), epochs - 1}):
        features = read_features(trained, epoch, rows)
        frames.append((epoch, tsne_frame(features, seed=config.seed, previous=frames[-1][1] if frames else None)))
    before = [frame for made, frame in frames if made < best]
    if best not in dict(frames):
        frame = tsne_frame(read_features(trained, best, rows), seed=config.seed, previous=before[-1])
        frames.insert(len(before), (best, frame))
    runs.write_parquet(folder / runs.EMBEDDINGS, embeddings_table(frames, rows, store))


def embeddings_table(
    frames: list[tuple[int, NDArray[np.float32]]], rows: NDArray[np.int64], store: PatchStore
) -> pd.DataFrame:
    """The t-SNE frames as embeddings.parquet holds them: epoch, path, label, x, y.

    Args:
        frames: epochs with their frames, float [M, 2].
        rows: store rows in the frames, int64 [M].
        store: the patches.
    """
    import pandas as pd

    columns = ["epoch", "path", "label", "x", "y"]
    classes = np.asarray(store.classes, dtype=object)
    paths, labels = store.paths(rows), classes[store.labels[rows]]
    tables = [
        pd.DataFrame({"epoch": epoch, "path": paths, "label": labels, "x": frame[:, 0], "y": frame[:, 1]})
        for epoch, frame in frames
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


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
