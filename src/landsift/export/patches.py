"""Real patches on which an export is quantised and checked."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landsift.data.decoding.decode import quiet_pillow, read_bytes
from landsift.data.decoding.gdal import suffixes
from landsift.data.decoding.patches import Patches
from landsift.data.decoding.unreadable import UnreadableError
from landsift.data.decoding.wanted import Wanted
from landsift.data.patch_reader import PatchReader
from landsift.data.store.patch_store import PatchStore
from landsift.data.store.store_of_run import store_of_run
from landsift.data.unlabelled.listing import image_files
from landsift.errors import DataError, LandsiftError
from landsift.evaluation.model_files import files_for
from landsift.image_sizes import Size
from landsift.models.model_json import ModelDescription
from landsift.runs import Run
from landsift.runtime.parallel import cores

logger = logging.getLogger("landsift")

MOST, LEAST = 2000, 200
"""Patches of a check: so many are enough to see a per mille, and with fewer than the second nothing is proven."""
CALIBRATION = 128
"""Patches from which the ranges of quantised values are taken."""
_SEED = 0


@dataclass(frozen=True, eq=False)
class Sample:
    """Some patches.

    Attributes:
        images: [N, H, W, C], as the model takes them.
        labels: their classes by number, int64 [N], -1 where they are not known.
        source: what they are, in words.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    source: str

    def __len__(self) -> int:
        """N."""
        return len(self.images)


def of_folder(folder: Path, description: ModelDescription, most: int) -> Sample:
    """Patches of a folder, drawn at random but always the same; labelled where they lie in folders named like classes.

    Raises:
        DataError: it holds no image that can be read.
    """
    reader = Patches(Wanted.of(*files_for(description, {})))
    files, _ = image_files([folder], suffixes(rasters=reader.wanted.anything))
    chosen = [files[i] for i in sorted(_drawn(len(files), most))]
    with quiet_pillow(), ThreadPoolExecutor(cores()) as pool:
        read = list(pool.map(lambda file: _read(file, reader, description.patch_size), chosen))
    number = {name: k for k, name in enumerate(description.classes)}
    kept = [
        (image, number.get(file.parent.name, -1)) for file, image in zip(chosen, read, strict=True) if image is not None
    ]
    if unread := len(chosen) - len(kept):
        logger.warning("%d of %d images in %s cannot be read as patches of the model", unread, len(chosen), folder)
    if not kept:
        raise DataError(f"no image in {folder} can be read as a patch of the model", f"it takes {description.bands}")
    images = np.stack([image for image, _ in kept])
    return Sample(images, np.array([label for _, label in kept], dtype=np.int64), f"images of {folder}")


def of_run(run: Run, description: ModelDescription, part: str, most: int) -> Sample | None:
    """Test or training patches of a run, drawn at random but always the same; None where they are not here any more."""
    try:
        store = store_of_run(run)
        tested = None if store is None else run.predictions
    except LandsiftError:
        return None
    if store is None or tested is None or tuple(store.images.shape[1:3]) != tuple(description.patch_size):
        return None
    paths = store.paths(np.arange(len(store)))
    split = dict(zip(tested["path"], tested["split"].astype(str), strict=True))
    # Validation and test stand in the predictions; of the others some may be in no part, and none of them is tested.
    rows = np.array([row for row, path in enumerate(paths) if split.get(path, "train") == part], dtype=np.int64)
    if not len(rows):
        return None
    rows = rows[sorted(_drawn(len(rows), most))]
    words = {"train": "training"}.get(part, part)
    return Sample(PatchReader(store.images)(rows), _labels(store, rows, description), f"{words} patches of the run")


def _labels(store: PatchStore, rows: NDArray[np.int64], description: ModelDescription) -> NDArray[np.int64]:
    known = {name: k for k, name in enumerate(description.classes)}
    number = np.array([*(known.get(name, -1) for name in store.classes), -1], dtype=np.int64)
    return number[store.labels[rows]]


def _drawn(count: int, most: int) -> list[int]:
    return [int(i) for i in np.random.default_rng(_SEED).permutation(count)[:most]]


def _read(file: Path, patches: Patches, size: Size) -> NDArray[Any] | None:
    try:
        return patches.look_and_read(file, size, read_bytes(file))[1].array
    except UnreadableError:
        return None
