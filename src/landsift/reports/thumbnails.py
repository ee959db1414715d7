"""The most confident mistakes, and small images of them that live inside the page."""

from __future__ import annotations

import base64
import io
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift.errors import LandsiftError
from landsift.runs import Run

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from landsift.data.store import PatchStore

logger = logging.getLogger("landsift")

LARGEST = 160
"""Longest side of a thumbnail in pixels."""


def confident_mistakes(predictions: pd.DataFrame, limit: int = 24) -> pd.DataFrame:
    """The wrong test predictions with the highest probability, highest first.

    Args:
        predictions: Columns path, split, label, predicted and `p_<class>` (predictions.parquet).
        limit: Rows at most.

    Returns:
        Columns path, label, predicted, probability (of the predicted class).
    """
    wrong = predictions[(predictions["split"] == "test") & (predictions["label"] != predictions["predicted"])]
    probability = wrong.filter(regex="^p_").max(axis=1)
    table = wrong[["path", "label", "predicted"]].assign(probability=probability)
    return table.sort_values(["probability", "path"], ascending=[False, True]).head(limit).reset_index(drop=True)


def common_folder(paths: Sequence[str]) -> str:
    """The folder above all class folders that paths share, with its closing slash; empty where there is none."""
    try:
        folder = os.path.commonpath([os.path.dirname(os.path.dirname(path)) for path in paths])  # noqa: PTH120
    except ValueError:  # no paths, or absolute and relative ones together
        return ""
    return folder.rstrip(os.sep) + os.sep if folder else ""


def thumbnails(paths: Sequence[str], run: Run, store: PatchStore | None) -> list[str | None]:
    """Data URIs of patches: from the store given or the one the run was trained from, else from the files.

    Args:
        paths: As in predictions.parquet.
        run: Names the store it was trained from in its manifest.
        store: None where the caller has none.

    Returns:
        One `data:image/png` URI per path, or None where no image can be had.
    """
    store = store or _store_of(run)
    found: dict[str, str] = _from_store(paths, store) if store is not None else {}
    for path in paths:
        # A relative path names a generated patch; a file of that name would be another.
        if path not in found and Path(path).is_absolute() and (uri := _from_file(Path(path))):
            found[path] = uri
    return [found.get(path) for path in paths]


def _store_of(run: Run) -> PatchStore | None:
    folder = run.manifest.get("data", {}).get("store")
    if not folder or not Path(folder).is_dir():
        return None
    from landsift.data.store import PatchStore

    try:
        return PatchStore.open(Path(folder))
    except LandsiftError as error:
        logger.info("thumbnails: %s", error.message)
        return None


def _from_store(paths: Sequence[str], store: PatchStore) -> dict[str, str]:
    wanted = set(paths)
    index = store.column("path")
    return {str(path): _png(store.images[row]) for row, path in enumerate(index) if path in wanted}


def _png(patch: NDArray[Any]) -> str:
    """A patch uint8 [H, W, C] as a data URI; of more than three bands the first three, of two the first."""
    from PIL import Image

    bands = patch[..., :3] if patch.shape[-1] >= 3 else patch[..., 0]
    return _uri(Image.fromarray(bands))


def _from_file(file: Path) -> str | None:
    from PIL import Image

    try:
        with Image.open(file) as image:
            return _uri(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for bad files
        return None


def _uri(image: Any) -> str:
    image.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
