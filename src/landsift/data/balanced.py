"""A few rows of every class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
