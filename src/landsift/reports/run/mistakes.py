"""The most confident mistakes, and small images of them that live inside the page."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from landsift.bands import BandSpec
from landsift.config import READING, DataConfig
from landsift.errors import RunError
from landsift.runs import MISTAKES, Run

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from PIL.Image import Image

    from landsift.data.decoding.wanted import Taken
    from landsift.data.store.patch_store import PatchStore


LARGEST = 160
"""Longest side of a thumbnail in pixels."""
HEAT = (255.0, 60.0, 0.0)
"""Colour of what speaks for a class, over a thumbnail."""
ELSEWHERE = "outside the run's folder"


def confident_mistakes(predictions: pd.DataFrame, limit: int | None = 24) -> pd.DataFrame:
    """The misclassified test patches with the highest confidence, highest first.

    Args:
        predictions: Columns path, split, label, predicted and `p_<class>` (predictions.parquet).
        limit: Rows at most; None: all.

    Returns:
        Columns path, label, predicted, probability (of the predicted class).
    """
    return _surest(predictions[predictions["label"] != predictions["predicted"]]).head(limit or len(predictions))


def correct_examples(predictions: pd.DataFrame, classes: Sequence[str], limit: int = 24) -> pd.DataFrame:
    """Of each class as many of its most confident correct test patches, by class; columns as `confident_mistakes`.

    Args:
        predictions: As in `confident_mistakes`.
        classes: Names of those that are asked for.
        limit: Rows at most, one per class at least.
    """
    each = max(1, min(3, limit // max(1, len(classes))))
    right = _surest(predictions[predictions["label"] == predictions["predicted"]])
    right = right[right["label"].isin(classes)].groupby("label", sort=False).head(each)
    place = {name: number for number, name in enumerate(classes)}
    return right.sort_values("label", key=lambda names: names.map(place), kind="stable").head(limit)


def _surest(predictions: pd.DataFrame) -> pd.DataFrame:
    tested = predictions[predictions["split"] == "test"]
    table = tested[["path", "label", "predicted"]].assign(probability=tested.filter(regex="^p_").max(axis=1))
    return table.sort_values(["probability", "path"], ascending=[False, True]).reset_index(drop=True)


def common_folder(paths: Sequence[str]) -> str:
    """The folder above all class folders that paths share, with its closing slash; empty where there is none."""
    try:
        folder = os.path.commonpath([os.path.dirname(os.path.dirname(path)) for path in paths])  # noqa: PTH120
    except ValueError:  # no paths, or absolute and relative ones together
        return ""
    return folder.rstrip(os.sep) + os.sep if folder else ""


class Picture(NamedTuple):
    """A small image of a patch."""

    uri: str | None
    """`data:image/png`; None where there is none."""
    reason: str = ""
    """Why there is none."""


def heat_maps(paths: Sequence[str], run: Run) -> list[str | None]:
    """Where the classes of mistakes come from: a picture to lie over each thumbnail, or None where there is none.

    Raises:
        RunError: the run's maps cannot be read.
    """
    from PIL import Image
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = run.path / MISTAKES
    if not file.is_file():
        return [None] * len(paths)
    try:
        maps = load_file(file)
    except (OSError, ValueError, SafetensorError) as error:
        raise RunError(f"cannot read {file}: {' '.join(str(error).split())[:160]}") from None
    found: list[str | None] = []
    for path in paths:
        if path not in maps or maps[path].ndim != 2:
            found.append(None)
            continue
        heat = maps[path].astype(np.float32) / 255
        colour = np.stack([*(np.full(heat.shape, value) for value in HEAT), 200 * heat], axis=-1)
        found.append(_png(Image.fromarray(np.rint(colour).astype(np.uint8), "RGBA")))
    return found


def thumbnails(paths: Sequence[str], run: Run, store: PatchStore | None, source: str | None = None) -> list[Picture]:
    """Small images of patches, from files that the run does not choose: it may come from elsewhere.

    They are taken from the store given, or from the one in this machine's cache that the run was trained from, then
    from `source`, and then from files below the run's own folder.

    Args:
        paths: As in predictions.parquet.
        run: Names the store that it was trained from in its manifest.
        store: None where the caller has none.
        source: As `data.source`: the run's patches on this machine; None where the caller does not say.

    Returns:
        One picture per path.

    Raises:
        DataError: there is no such source.
    """
    from landsift.data.store.store_of_run import store_of_run

    store = store or store_of_run(run)
    found = _from_store(paths, store) if store is not None else {}
    missing = [path for path in paths if path not in found]
    found |= _from_source(missing, run, source) if source and missing else {}
    inside = run.path.resolve()
    for path in paths:
        if path not in found:
            found[path] = _below(inside, path, Picture(None, "not in the source given" if source else ELSEWHERE))
    return [found[path] for path in paths]


def _from_store(paths: Sequence[str], store: PatchStore) -> dict[str, Picture]:
    wanted = set(paths)
    index = store.column("path")
    return {str(path): picture_of(store.images[row], store.bands) for row, path in enumerate(index) if path in wanted}


def _from_source(paths: Sequence[str], run: Run, name: str) -> dict[str, Picture]:
    """Pictures of the patches of a source that have the paths, or, on another machine, the ends of them."""
    from landsift.data.decoding.decode import quiet_pillow
    from landsift.data.decoding.unreadable import UnreadableError
    from landsift.data.sources.base import open_source, store_folder
    from landsift.data.store.patch_store import PatchStore

    data, taken = _read_as(run)
    data = data.model_copy(update={"source": name, "synthetic": run.config.data.synthetic})
    if (stored := store_folder(data)) is not None:
        return _from_store(paths, PatchStore.open(stored))
    source = open_source(data, taken)
    rows = {source.records.path(row): row for row in range(len(source.records))}
    found = {}
    with quiet_pillow():
        for path in paths:
            parts = Path(path).parts
            ends = [path, *(Path(*parts[start:]).as_posix() for start in range(1, len(parts)))]
            row = next((rows[end] for end in ends if end in rows), None)
            if row is None:
                continue
            scanned = source.scan(row)
            if scanned.size is None:
                found[path] = Picture(None, scanned.reason.text if scanned.reason else "")
                continue
            try:
                found[path] = picture_of(source.pixels(row, _small(scanned.size)), source.bands)
            except UnreadableError as error:
                found[path] = Picture(None, str(error))
    return found


def _read_as(run: Run) -> tuple[DataConfig, Taken | None]:
    """How the files of a run's patches were read, and what they became, as its manifest says; defaults where not."""
    from landsift.data.decoding.wanted import Taken

    said = run.manifest.get("data")
    said = said if isinstance(said, dict) else {}
    try:
        keys = said.get("reading") or {}
        data = DataConfig(**{key: keys[key] for key in READING if key in keys})
        return data, Taken(BandSpec.from_dict(said["bands"])) if "bands" in said else None
    except (ValueError, TypeError):  # a manifest that somebody changed
        return DataConfig(), None


def _below(folder: Path, path: str, outside: Picture) -> Picture:
    """The picture of a file below the folder, wherever links lead; `outside` where it is not.

    GDAL is not asked: a file may name others of this machine.
    """
    from landsift.data.decoding.decode import decode, quiet_pillow, read_bytes, read_header
    from landsift.data.decoding.unreadable import UnreadableError

    try:
        file = Path(path).resolve()
        # A relative path names a generated patch; a file of that name would be another.
        if not Path(path).is_absolute() or not file.is_relative_to(folder):
            return outside
        with quiet_pillow():
            raw = read_bytes(file)
            return picture_of(decode(raw, _small(read_header(raw).size)), BandSpec.pictures())
    except UnreadableError as error:
        return Picture(None, str(error))
    except (OSError, ValueError, RuntimeError):  # a name with a 0, links in a circle
        return outside


def _small(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a thumbnail."""
    scale = min(1.0, LARGEST / max(size))
    return max(1, round(scale * size[0])), max(1, round(scale * size[1]))


def picture_of(patch: NDArray[Any], bands: BandSpec) -> Picture:
    """A patch [H, W, C] of the bands' type."""
    from PIL import Image

    from landsift.data.pictures import as_picture

    image = Image.fromarray(as_picture(patch, bands))
    image.thumbnail((LARGEST, LARGEST))
    return Picture(_png(image))


def _png(image: Image) -> str:
    """A picture as a page holds it."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
