"""Class probabilities for image files, from a trained model alone."""

from __future__ import annotations

import functools
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.data.decoding.decode import IMAGE_SUFFIXES, quiet_pillow, read_bytes
from landsift.data.decoding.file_bands import Place, Seen
from landsift.data.decoding.gdal import suffixes
from landsift.data.decoding.patches import Decoded, Fit, Patches
from landsift.data.decoding.unreadable import Reason, UnreadableError, in_words, summed_up
from landsift.data.decoding.wanted import Wanted
from landsift.data.sources.folder import not_patches
from landsift.data.sources.table import TABLE_SUFFIXES, read_paths
from landsift.data.sources.walk import (
    PassedOver,
    by_ending,
    cannot_read,
    counted,
    not_read,
    tell_again,
    tell_not_read,
    walk,
)
from landsift.errors import DataError, ModelError, RunError, listed
from landsift.evaluation.model_files import files_for
from landsift.evaluation.predictions import predictions_columns, write_csv
from landsift.extras import needs
from landsift.image_sizes import Size, by, is_scene, is_squeezed
from landsift.models.loading import describe, load_model
from landsift.models.predictor import Predictor, answers
from landsift.models.trust import Judged, columns, tell
from landsift.runs import write_parquet
from landsift.runtime.memory_allocator import keep_freed_memory
from landsift.runtime.outputs import as_path, check_output
from landsift.runtime.parallel import cores
from landsift.runtime.progress_bar import progress_bar

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("landsift")

CHUNK = 256
"""Files decoded at a time, fewer of large patches: memory stays the same, however many there are."""
_CHUNK_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model makes of N image files.

    Attributes:
        paths: of the files that were read, N.
        classes: K names, in the order of the probabilities.
        probabilities: float32 [N, K].
        skipped: the files left out, `{"path", "reason"}` each.
        places: longitude and latitude of their centres in degrees (WGS 84), float64 [N, 2]; NaN where a file has none.
        judged: sets of classes, where the model abstains, and what is out of distribution; None: the model has no
            thresholds for them.
    """

    paths: list[str]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    skipped: list[dict[str, str]]
    places: NDArray[np.float64]
    judged: Judged | None = None

    @property
    def predicted(self) -> list[str]:
        """The most probable class of each file, N names."""
        return [self.classes[k] for k in self.probabilities.argmax(axis=1)]

    def table(self) -> pd.DataFrame:
        """One row per file: path, predicted, p_<class> for each class; needs pandas.

        Where a file has a place, lon and lat stand after path. If the model has thresholds, set, abstain and ood stand
        after predicted (`landsift.models.trust.columns`).
        """
        needs("pandas", extra="train", what="a table of predictions")
        import pandas as pd

        return pd.DataFrame(self.columns())

    def columns(self) -> dict[str, Any]:
        """The columns of `table`, N values each."""
        known = np.isfinite(self.places).any()
        places = {"lon": self.places[:, 0], "lat": self.places[:, 1]} if known else {}
        judged = None if self.judged is None else columns(self.judged, self.probabilities, self.classes)
        return predictions_columns(self.paths, self.classes, self.probabilities, judged, **places)


def predict_files(
    model: Path | str,
    paths: Path | str | Iterable[Path | str],
    module: str | None = None,
    reading: Mapping[str, Any] | None = None,
    explain: Path | str | None = None,
) -> Predictions:
    """Classify image files, the images in folders, and those that tables name.

    Files become patches of the model's bands: by name, from another scale, offset, type or no-data value. What would
    have to be guessed is left out with its reason.

    Args:
        model: a run directory, its `model/` folder, or a file that `landsift export` wrote.
        paths: Image files of any size, folders that hold some, and CSV or Parquet tables with a column `path`; one or
            several. Of a folder the same files are taken as for a training.
        module: as of `load_model`.
        reading: how these files are read, `bands`, `sensor`, `reflectance` and `indices` as in the section `data` of
            the configuration; what is missing is as for the training's files.
        explain: a new or empty folder for pictures that show where in a patch its class comes from; None: no pictures.

    Raises:
        ConfigError: `reading` has another key, or a value that is none.
        DataError: a path does not exist, a table cannot be used, or no image among them can be read.
        ModelError: there is no model, or it is damaged.
        RunError: the pictures cannot be written.
    """
    given = list(_paths(paths))
    if not given:
        raise DataError("no paths are given", "give image files, folders or tables with a column path")
    try:
        description = describe(model)
    except ModelError:
        image_files(given, suffixes(rasters=True))  # what is wrong with the paths is said first
        raise
    patches = Patches(Wanted.of(*files_for(description, reading or {})))
    files, passed_over = image_files(given, suffixes(rasters=patches.wanted.anything))
    keep_freed_memory()
    predictor = load_model(model, module=module)
    if str(predictor.description) != str(description):  # files would be read for another model; NaN is no NaN's equal
        raise ModelError(f"{model} was replaced while it was read", "run the command again")
    if predictor.trust is not None:
        tell(predictor.trust)
    drawing: AbstractContextManager[Any] = nullcontext()
    if explain is not None:
        if not isinstance(predictor, Predictor):
            raise ModelError(
                f"{model} is an exported model, which gives no explanations", "give the run that it was exported from"
            )
        from landsift.evaluation.explanations import pictures

        drawing = pictures(predictor, check_output(explain, "--explain"))
    patch = predictor.description.patch_size
    tables: list[NDArray[np.float32]] = []
    distances: list[NDArray[np.float64]] = []
    kept: list[str] = []
    places: list[Place] = []
    left_out: list[tuple[str, Reason]] = []
    told = _Told(patch, patches)
    with (
        quiet_pillow(),
        drawing as drawn,
        progress_bar("Classifying", len(files)) as advance,
        ThreadPoolExecutor(cores()) as pool,
    ):
        decoded = functools.partial(_decoded, patches=patches, size=patch)
        each = len(patches.spec) * patches.spec.numpy_dtype.itemsize * math.prod(patch)
        count = max(1, min(CHUNK, _CHUNK_BYTES // each))
        for start in range(0, len(files), count):
            chunk = files[start : start + count]
            images: list[NDArray[Any]] = []
            for file, found in zip(chunk, pool.map(decoded, chunk), strict=True):
                if isinstance(found, Reason):
                    left_out.append((str(file), found))
                else:
                    seen, read = found
                    told.add(str(file), seen)
                    images.append(read.array)
                    kept.append(str(file))
                    places.append(read.place)
            if images:
                probabilities, distance = answers(predictor, np.stack(images))
                tables.append(probabilities)
                distances.append(distance)
                if drawn is not None:
                    drawn.add(np.stack(images), kept[-len(images) :])
            advance(len(chunk))
    groups = summed_up(left_out)
    for group in groups:
        logger.warning("%s", group)
    told.say()
    patches.tell()
    if not kept:
        raise DataError(
            f"none of the {len(files)} images can be read; {in_words(groups)}", groups[0].reason.cause.value
        )
    skipped = [entry._asdict() for entry in passed_over]
    skipped += [{"path": path, "reason": reason.text} for path, reason in left_out]
    where = np.array([place[:2] for place in places], dtype=np.float64)
    probabilities = np.concatenate(tables)
    judged = None if predictor.trust is None else predictor.trust.judge(probabilities, np.concatenate(distances))
    return Predictions(kept, predictor.classes, probabilities, skipped, where, judged)


def _paths(given: Path | str | Iterable[Path | str]) -> Iterator[Path]:
    each: Iterable[object] = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    for path in each:
        if not isinstance(path, str | os.PathLike):
            raise DataError(
                f"a path is needed, not {type(path).__name__}", "pixels go to landsift.load_model(...)(images)"
            )
        yield as_path(path)


def image_files(
    paths: Iterable[Path], endings: Collection[str] = IMAGE_SUFFIXES
) -> tuple[list[Path], list[PassedOver]]:
    """The given files, the images below the given folders in order of their names, and the files that tables name.

    Args:
        paths: of files, folders and tables.
        endings: (lower case) of the files in folders that are images.

    Returns:
        The files; and those in the folders that are left out for their ending.

    Raises:
        DataError: a path does not exist, a folder holds no image, or a table cannot be used.
    """
    files: list[Path] = []
    left_out: list[PassedOver] = []
    for path in paths:
        if path.is_dir():
            below, unread = _images_below(path, endings)
            if not below:
                others = counted(by_ending(entry.path for entry in unread))
                instead = f", only files that are not read ({others})" if unread else ""
                hint = f"images end in {', '.join(sorted(endings))}"
                raise not_patches(path) or DataError(f"no images in {path}{instead}", hint)
            files += below
            left_out += unread
        elif path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
            files += read_paths(path)
        elif path.exists():
            files.append(path)
        else:
            raise DataError(f"no such file or folder: {path}")
    each = _each_once(files)
    if again := len(files) - len(each):
        logger.warning("%d of %d files are named more than once and classified once", again, len(files))
    for file in each:
        try:
            str(file).encode()
        except UnicodeEncodeError:
            raise DataError(
                f"the name {str(file)!r} is not valid UTF-8, as a table's text must be", "rename it"
            ) from None
    return each, left_out


def _each_once(files: list[Path]) -> list[Path]:
    """The files in their order, those named again left out; a link and what it leads to are two."""
    folders: dict[Path, str] = {}
    each: dict[tuple[str, str], Path] = {}
    for file in files:
        if file.parent not in folders:
            folders[file.parent] = os.path.realpath(file.parent)
        each.setdefault((folders[file.parent], file.name), file)
    return list(each.values())


def _images_below(root: Path, endings: Collection[str]) -> tuple[list[Path], list[PassedOver]]:
    """The images in and below a folder, and the files left out; says what was passed over."""
    unread: list[PassedOver] = []
    links: list[str] = []
    images: list[tuple[str, list[str]]] = []
    try:
        for folder in walk(root, endings):
            images.append((folder.path, sorted(folder.images)))
            unread += not_read(folder)
            links += [folder.path] * folder.again
    except OSError as error:
        raise cannot_read(error, root) from None
    tell_not_read(root, unread)
    tell_again(root, links)
    files = [root / path / name for path, names in sorted(images) for name in names]
    return files, [PassedOver(str(root / path), reason) for path, reason in unread]


def table_writer(out: Path) -> Callable[[Predictions], None]:
    """A writer of predictions for `out` by its ending, .csv or .parquet; raises RunError if it could not be written."""
    if out.suffix not in {".csv", ".parquet"}:
        raise RunError(f"--out {out}: the ending must be .csv or .parquet")
    if not out.absolute().parent.is_dir():
        raise RunError(f"--out {out}: there is no folder {out.absolute().parent}")
    if out.suffix == ".parquet":
        needs("pandas", "pyarrow", extra="train", what="a Parquet table")
        return lambda predictions: write_parquet(out, predictions.table())
    return lambda predictions: write_csv(out, predictions.columns())


def _decoded(file: Path, patches: Patches, size: Size) -> tuple[Seen, Decoded] | Reason:
    """What a file says of itself and its patch at the size of the model's, or the reason why not."""
    try:
        return patches.look_and_read(file, size, read_bytes(file))
    except UnreadableError as error:
        return error.reason


class _Told:
    """What is to be said of the files that are classified: how they are read, and what does not look like a patch."""

    def __init__(self, patch: Size, patches: Patches) -> None:
        self._patch = patch
        self._patches = patches
        self._files = 0
        self._resized = 0
        self._notes = Counter[str]()
        self._doubts = Counter[str]()
        self._other_gsd = 0
        self._scenes: list[str] = []
        self._squeezed: list[str] = []

    def add(self, path: str, seen: Seen) -> None:
        """Take note of a file."""
        self._files += 1
        self._notes.update(seen.notes)
        fit = self._patches.fit(seen.bands)
        if isinstance(fit, Fit):
            self._notes.update(fit.notes)
            self._doubts.update(fit.plan.doubts)
        self._other_gsd += self._patches.other_gsd(seen.place.gsd)
        self._resized += seen.size != self._patch
        if is_scene(seen.size, self._patch):
            self._scenes.append(f"{path} ({by(seen.size)})")
        elif is_squeezed(seen.size, self._patch):
            self._squeezed.append(f"{path} ({by(seen.size)})")

    def say(self) -> None:
        """Say it: a line for each kind, with its count and the first few files."""
        for note, count in sorted(self._notes.items()):
            logger.info("%d of %d files: %s", count, self._files, note)
        for doubt, count in sorted(self._doubts.items()):
            logger.warning("%d of %d files: %s", count, self._files, doubt)
        if self._other_gsd:
            own = self._patches.spec.gsd
            message = "%d of %d files have another ground sampling distance than the %.3g m of the model's patches"
            logger.warning(message, self._other_gsd, self._files, own)
        if self._resized:
            logger.info("%d of %d files were resized to %s pixels", self._resized, self._files, by(self._patch))
        patch = by(self._patch)
        if self._squeezed:
            logger.warning(
                "%d of %d files were resized to %s pixels with a changed aspect ratio: %s",
                len(self._squeezed),
                self._files,
                patch,
                listed(self._squeezed),
            )
        if self._scenes:
            logger.warning(
                "%d of %d files have room for several patches of %s pixels, the size the model was trained on, but "
                "each was resized to one patch with one label: %s: cut them into patches of %s pixels first, or map "
                "them with `landsift map`",
                len(self._scenes),
                self._files,
                patch,
                listed(self._scenes),
                patch,
            )
