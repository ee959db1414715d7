"""Features of some validation patches after every epoch: which patches, and the files that later stages read.

    validation_features/rows.npy  store rows, int64 [M], ascending
    validation_features/003.npy   float32 [M, D] after the epoch with the number 3

A training keeps more patches than one figure shows, so that other epochs and more patches can be drawn without training
again: up to `MOST`, which is 5 MB an epoch for 1,280 features. An epoch without a file has the features of the last
file before it: those of a frozen backbone are kept once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.data.balanced import balanced_rows
from landsift.errors import RunError
from landsift.runs import VALIDATION_FEATURES
from landsift.runtime.whole import write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 1000
"""Patches that a training keeps the features of, as long as every class has `LEAST_PER_CLASS`."""
MOST_PER_CLASS, LEAST_PER_CLASS = 100, 50
ROWS = "rows.npy"


def most_per_class(classes: int) -> int:
    """How many patches of each of K classes a training keeps the features of."""
    return max(LEAST_PER_CLASS, min(MOST_PER_CLASS, MOST // classes))


def drawn_rows(val: NDArray[np.int64], labels: NDArray[Any], per_class: int, seed: int) -> NDArray[np.int64]:
    """Rows of the validation, as many of each class; those of a smaller number are among those of a larger one.

    Args:
        val: store rows of the validation, int64 [V].
        labels: of all patches of the store, int [N].
        per_class: how many of each.
        seed: of the draw.

    Returns:
        Store rows int64 [M], ascending.
    """
    return np.sort(val[balanced_rows(labels[val], per_class, seed)])


def write_rows(folder: Path, rows: NDArray[np.int64]) -> None:
    """Note whose features are kept in a run's folder."""
    _write(folder / VALIDATION_FEATURES / ROWS, rows)


def write_features(folder: Path, epoch: int, features: NDArray[np.float32]) -> None:
    """Keep the features of an epoch, float32 [M, D], in a run's folder, unless they are those of the epoch before."""
    before, file = _file_of(folder, epoch - 1), folder / VALIDATION_FEATURES / f"{epoch:03d}.npy"
    if before is None or not np.array_equal(np.load(before, allow_pickle=False), features):
        _write(file, features)
    else:
        file.unlink(missing_ok=True)  # of an attempt that was killed


def read_features(folder: Path, epoch: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The features of some rows after an epoch, float32 [M, D].

    Args:
        folder: of the run.
        epoch: counted from 0.
        rows: store rows, int64 [M], all of them kept.

    Raises:
        RunError: they are not there.
    """
    file = _file_of(folder, epoch)
    try:
        if file is None:
            raise ValueError("there is no file for that epoch or an earlier one")
        kept, features = np.load(file.with_name(ROWS), allow_pickle=False), np.load(file, allow_pickle=False)
        places = np.searchsorted(kept, rows)
        if len(features) != len(kept) or not np.array_equal(kept[places], rows):
            raise ValueError("it is of other patches")
    except (OSError, ValueError, IndexError) as error:
        reason = f"the features of epoch {epoch + 1} cannot be read: {error}"
        raise RunError(f"{folder / VALIDATION_FEATURES}: {reason}", "train again") from None
    chosen: NDArray[np.float32] = features[places]
    return chosen


def _file_of(folder: Path, epoch: int) -> Path | None:
    files = [f for f in (folder / VALIDATION_FEATURES).glob("[0-9]*.npy") if int(f.stem) <= epoch]
    return max(files, key=lambda file: int(file.stem), default=None)


def _write(file: Path, array: NDArray[Any]) -> None:
    def save(partial: Path) -> None:
        with partial.open("wb") as opened:
            np.save(opened, array)

    write_whole(file, save)
