"""Explanations as files: pictures of patches with their maps, and the maps of a test's mistakes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.data.pictures import as_picture
from landsift.errors import ModelError
from landsift.models.explain import explain, overlay
from landsift.models.predictor import Predictor
from landsift.runs import write_bytes
from landsift.runtime.whole import beside, writing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from landsift.data.store.patch_store import PatchStore

logger = logging.getLogger("landsift")

LONGEST = 160
"""Bytes of a file's name in that of its picture: names have an end."""
MISTAKES = 24
"""Wrong predictions that are explained, at most: as many as a report shows."""


class Pictures:
    """Writes a PNG per patch into a folder, named by the row of its table and its file: `000001_NAME.png`."""

    def __init__(self, predictor: Predictor, folder: Path) -> None:
        self._predictor, self._folder, self.count = predictor, folder, 0

    def add(self, images: NDArray[Any], files: Sequence[str]) -> None:
        """Explain patches [b, H, W, C] of some files and write their pictures."""
        from PIL import Image

        for patch, heat, file in zip(images, explain(self._predictor, images), files, strict=True):
            self.count += 1
            stem = Path(file).stem.encode()[:LONGEST].decode(errors="ignore")
            name = f"{self.count:06d}_{stem}.png"
            picture = overlay(as_picture(patch, self._predictor.bands), heat)
            Image.fromarray(picture).save(self._folder / name)


@contextmanager
def pictures(predictor: Predictor, out: Path) -> Iterator[Pictures]:
    """Write pictures for `out`, new or empty, which appears when all is done and there are some.

    Raises:
        RunError: they cannot be written.
    """
    with writing(out), beside(out) as partial:
        partial.mkdir(parents=True)
        drawn = Pictures(predictor, partial)
        yield drawn
        if drawn.count:
            os.replace(partial, out)


def write_mistakes(
    file: Path,
    predictor: Predictor,
    store: PatchStore,
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
) -> None:
    """Write the maps of the most confident mistakes, uint8 [h, w] by the patch's path, as safetensors.

    Nothing is written if there are none, or, with a notice, if the network has no layer to explain them by.

    Args:
        file: to write.
        predictor: the model.
        store: the patches.
        rows: of the test patches, int [N].
        labels: theirs, int [N].
        probabilities: float [N, K].
    """
    from safetensors.numpy import save

    confidence, wrong = probabilities.max(axis=1), np.flatnonzero(probabilities.argmax(axis=1) != labels)
    paths = np.asarray(store.paths(rows[wrong]), dtype=object)
    order = sorted(range(len(wrong)), key=lambda i: (-confidence[wrong[i]], paths[i]))[:MISTAKES]
    if not order:
        return
    chosen = rows[wrong[order]]
    try:
        maps = explain(predictor, np.stack([np.asarray(store.images[row]) for row in chosen]))
    except ModelError as error:
        logger.info("mistakes are not explained: %s", str(error).splitlines()[0])
        return
    by_path = {str(paths[i]): np.rint(255 * one).astype(np.uint8) for i, one in zip(order, maps, strict=True)}
    write_bytes(file, save(by_path))
