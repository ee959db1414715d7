"""Class probabilities for image files, from a trained model alone."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from landsift.data.decode import IMAGE_SUFFIXES, UnreadableError, decode, quiet_pillow, read_bytes
from landsift.data.parallel import cores
from landsift.data.progress import progress_bar
from landsift.data.table import TABLE_SUFFIXES, read_paths
from landsift.data.walk import PassedOver, by_ending, cannot_read, counted, not_read, tell_again, tell_not_read, walk
from landsift.errors import DataError, RunError
from landsift.models.memory import keep_freed_memory
from landsift.models.predictor import load_model
from landsift.runs import write_parquet, write_whole

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("landsift")

CHUNK = 256
"""Files decoded at a time, fewer of large patches: memory stays the same, however many there are."""
_CHUNK_BYTES = 2**26

Skipped = list[dict[str, str]]


def predict_files(model: Path, paths: Iterable[Path]) -> tuple[pd.DataFrame, Skipped]:
    """Classify image files, the images in folders, and those that tables name.

    Args:
        model: a run directory, or its `model/` folder.
        paths: Image files of any size, folders that hold some, and CSV or Parquet tables with a column `path`. Of a
            folder the same files are taken as for a training.

    Returns:
        One row per patch: path, predicted, p_<class> for each class; and the files left out with their reason.

    Raises:
        DataError: a path does not exist, a table cannot be used, or no image among them can be read.
        ModelError: there is no model, or it is damaged.
    """
    import pandas as pd

    files, left_out = image_files(paths)
    keep_freed_memory()
    predictor = load_model(model)
    tables: list[NDArray[np.float32]] = []
    kept: list[str] = []
    skipped: Skipped = [entry._asdict() for entry in left_out]
    with quiet_pillow(), progress_bar("Classifying", len(files)) as advance, ThreadPoolExecutor(cores()) as pool:
        decoded = functools.partial(_decoded, size=predictor.description.patch_size)
        count = max(1, min(CHUNK, _CHUNK_BYTES // (3 * math.prod(predictor.description.patch_size))))
        for start in range(0, len(files), count):
            chunk = files[start : start + count]
            images: list[NDArray[np.uint8]] = []
            for file, image in zip(chunk, pool.map(decoded, chunk), strict=True):
                if isinstance(image, str):
                    skipped.append({"path": str(file), "reason": image})
                else:
                    images.append(image)
                    kept.append(str(file))
            if images:
                tables.append(predictor(np.stack(images)))
            advance(len(chunk))
    for entry in skipped[len(left_out) :]:
        logger.warning("left out %s: %s", entry["path"], entry["reason"])
    if not kept:
        raise DataError(f"none of the {len(files)} images can be read; the first: {skipped[len(left_out)]['reason']}")
    probabilities = np.concatenate(tables)
    table = pd.DataFrame({"path": kept, "predicted": np.asarray(predictor.classes)[probabilities.argmax(axis=1)]})
    for k, name in enumerate(predictor.classes):
        table[f"p_{name}"] = probabilities[:, k]
    return table, skipped


def image_files(paths: Iterable[Path]) -> tuple[list[Path], list[PassedOver]]:
    """The given files, the images below the given folders in order of their names, and the files that tables name.

    Returns:
        The files; and those in the folders that are left out for their ending.

    Raises:
        DataError: a path does not exist, a folder holds no image, or a table cannot be used.
    """
    files: list[Path] = []
    left_out: list[PassedOver] = []
    for path in paths:
        if path.is_dir():
            below, unread = _images_below(path)
            if not below:
                endings = counted(by_ending(entry.path for entry in unread))
                instead = f", only files that are not read ({endings})" if unread else ""
                raise DataError(f"no images in {path}{instead}", f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}")
            files += below
            left_out += unread
        elif path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
            files += read_paths(path)
        elif path.exists():
            files.append(path)
        else:
            raise DataError(f"no such file or folder: {path}")
    for file in files:
        try:
            str(file).encode()
        except UnicodeEncodeError:
            raise DataError(
                f"the name {str(file)!r} is not valid UTF-8, as a table's text must be", "rename it"
            ) from None
    return files, left_out


def _images_below(root: Path) -> tuple[list[Path], list[PassedOver]]:
    """The images in and below a folder, and the files left out; says what was passed over."""
    unread: list[PassedOver] = []
    links: list[str] = []
    images: list[tuple[str, list[str]]] = []
    try:
        for folder in walk(root):
            images.append((folder.path, sorted(folder.images)))
            unread += not_read(folder)
            links += [folder.path] * folder.again
    except OSError as error:
        raise cannot_read(error, root) from None
    tell_not_read(root, unread)
    tell_again(root, links)
    files = [root / path / name for path, names in sorted(images) for name in names]
    return files, [PassedOver(str(root / path), reason) for path, reason in unread]


def table_writer(out: Path) -> Callable[[pd.DataFrame], None]:
    """A writer for `out` by its ending, .csv or .parquet; raises RunError at once where it could not be written."""
    if out.suffix not in {".csv", ".parquet"}:
        raise RunError(f"--out {out}: the ending must be .csv or .parquet")
    if not out.absolute().parent.is_dir():
        raise RunError(f"--out {out}: there is no folder {out.absolute().parent}")
    if out.suffix == ".parquet":
        return lambda table: write_parquet(out, table)
    return lambda table: write_whole(out, lambda partial: table.to_csv(partial, index=False))


def _decoded(file: Path, size: tuple[int, int]) -> NDArray[np.uint8] | str:
    """uint8 [H, W, 3] at the size of the patches that the model was trained on, or the reason why not."""
    try:
        return decode(read_bytes(file), size)
    except UnreadableError as error:
        return str(error)
