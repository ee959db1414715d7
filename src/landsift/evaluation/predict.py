"""Class probabilities for image files, from a trained model alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.data.decoding.gdal import suffixes
from landsift.data.decoding.patches import Patches
from landsift.data.decoding.unreadable import LeftOut, Reason, in_words, merged, summed_up
from landsift.data.decoding.wanted import Wanted
from landsift.data.sources.walk import PassedOver
from landsift.data.unlabelled.entries import is_url
from landsift.data.unlabelled.listing import Listed, Source, list_sources
from landsift.errors import DataError, ModelError, RunError
from landsift.evaluation.in_chunks import Answered, Loaded, chunk_of, in_chunks
from landsift.evaluation.model_files import files_for
from landsift.evaluation.predictions import predictions_columns, write_csv
from landsift.evaluation.told import Told
from landsift.extras import needs
from landsift.models.loading import describe, load_model
from landsift.models.model_json import ModelDescription
from landsift.models.predictor import Predictor
from landsift.models.trust import Judged, columns, tell
from landsift.runs import write_parquet
from landsift.runtime.memory_allocator import keep_freed_memory
from landsift.runtime.outputs import as_path, check_output
from landsift.runtime.progress_bar import progress_bar

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("landsift")


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

    def columns(self, places: bool | None = None) -> dict[str, Any]:
        """The columns of `table`, N values each.

        Args:
            places: whether lon and lat are among them; None: where one is known.
        """
        known = np.isfinite(self.places).any() if places is None else places
        where = {"lon": self.places[:, 0], "lat": self.places[:, 1]} if known else {}
        judged = None if self.judged is None else columns(self.judged, self.probabilities, self.classes)
        return predictions_columns(self.paths, self.classes, self.probabilities, judged, **where)


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
        paths: Image files of any size, folders that hold some, patterns (`*`), zip and tar archives, CSV or Parquet
            tables with a column `path`, text files with a path in each line, and URLs of object stores; one or several.
            Of a folder the same files are taken as for a training.
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
    opened = open_model(model, paths, module, reading)
    with closing(opened.listed.entries) as entries, progress_bar("Classifying", entries.count) as advance:
        loaded = opened.load()
        drawing: AbstractContextManager[Any] = nullcontext()
        if explain is not None:
            if not isinstance(loaded.predictor, Predictor):
                raise ModelError(
                    f"{model} is an exported model, which gives no explanations",
                    "give the run that it was exported from",
                )
            from landsift.evaluation.explanations import pictures

            drawing = pictures(loaded.predictor, check_output(explain, "--explain"))
        told, found = Told(), list[Answered]()
        with drawing as drawn:
            for chunk in in_chunks(loaded, entries, told):
                if drawn is not None and chunk.paths:
                    drawn.add(chunk.images, chunk.paths)
                found.append(chunk._replace(images=chunk.images[:0]))
                advance(chunk.entries)
    told.heard = loaded.patches.take()
    tell_left_out(((path, reason) for chunk in found for path, reason in chunk.unreadable), told.files)
    told.say(loaded.patches, loaded.size)
    return predictions_of(loaded, found, opened.listed.passed_over)


def iter_predictions(
    model: Path | str,
    paths: Path | str | Iterable[Path | str],
    module: str | None = None,
    reading: Mapping[str, Any] | None = None,
) -> Iterator[Predictions]:
    """The same as `predict_files`, some hundred files at a time, in constant memory, for any number of files.

    Args:
        model: as of `predict_files`, as are the others.
        paths: the same.
        module: the same.
        reading: the same.

    Yields:
        Predictions, in the order of the files; files that are passed over come with the first.

    Raises:
        LandsiftError: as `predict_files`.
    """
    opened = open_model(model, paths, module, reading)
    with closing(opened.listed.entries) as entries:
        loaded = opened.load()
        told, passed_over, groups = Told(), opened.listed.passed_over, list[LeftOut]()
        for chunk in in_chunks(loaded, entries, told):
            groups = merged([*groups, *summed_up(chunk.unreadable)])
            yield predictions_of(loaded, [chunk], passed_over)
            passed_over = []
    told.heard = loaded.patches.take()
    tell_groups(groups, told.files)
    told.say(loaded.patches, loaded.size)


@dataclass(frozen=True)
class OpenedModel:
    """A model that is not loaded yet, and what is to be classified.

    Attributes:
        model: path of the model.
        module: as of `load_model`.
        description: what model.json says.
        patches: that reads files for it.
        listed: the files.
    """

    model: Path | str
    module: str | None
    description: ModelDescription
    patches: Patches
    listed: Listed

    def load(self) -> Loaded:
        """Load it, and say what its thresholds do not do.

        Raises:
            ModelError: it cannot be loaded, or is another than it was.
        """
        keep_freed_memory()
        predictor = load_model(self.model, module=self.module)
        if str(predictor.description) != str(self.description):  # as text, as NaN is no NaN's equal
            raise ModelError(f"{self.model} was replaced while it was read", "run the command again")
        if predictor.trust is not None:
            tell(predictor.trust)
        return Loaded(predictor, self.patches)


def open_model(
    model: Path | str,
    paths: Path | str | Iterable[Path | str],
    module: str | None = None,
    reading: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    chunks: int = 1,
) -> OpenedModel:
    """What a model says of itself, and the files that are to be classified; torch is not loaded for it.

    Args:
        model: as of `predict_files`, as are paths, module and reading.
        paths: the same.
        module: the same.
        reading: the same.
        folder: as of `Entries`.
        chunks: between two marks of the list.

    Raises:
        LandsiftError: as `predict_files`.
    """
    given = list(_paths(paths))
    if not given:
        raise DataError("no paths are given", "give image files, folders or tables with a column path")
    try:
        description = describe(model)
    except ModelError:
        list_sources(given, suffixes(rasters=True)).entries.close()  # what is wrong with the paths is said first
        raise
    patches = Patches(Wanted.of(*files_for(description, reading or {})))
    every = chunks * chunk_of(patches, description.patch_size)
    listed = list_sources(given, suffixes(rasters=patches.wanted.anything), folder, every)
    return OpenedModel(model, module, description, patches, listed)


def predictions_of(loaded: Loaded, found: Sequence[Answered], passed_over: Sequence[PassedOver] = ()) -> Predictions:
    """Some chunks in one, and what was passed over beside their files."""
    skipped = [entry._asdict() for entry in passed_over]
    skipped += [{"path": path, "reason": reason.text} for chunk in found for path, reason in chunk.unreadable]
    places = [place[:2] for chunk in found for place in chunk.places]
    probabilities = np.concatenate([chunk.probabilities for chunk in found])
    trust = loaded.predictor.trust
    return Predictions(
        [path for chunk in found for path in chunk.paths],
        loaded.predictor.classes,
        probabilities,
        skipped,
        np.array(places, dtype=np.float64).reshape(-1, 2),
        None if trust is None else trust.judge(probabilities, np.concatenate([chunk.distances for chunk in found])),
    )


def tell_left_out(files: Iterable[tuple[str, Reason]], classified: int) -> None:
    """Say which files cannot be read, by reason; raises DataError where none can."""
    tell_groups(summed_up(files), classified)


def tell_groups(groups: Sequence[LeftOut], classified: int) -> None:
    """The same of files that are summed up already."""
    for group in groups:
        logger.warning("%s", group)
    if not classified:
        count = sum(group.files for group in groups)
        raise DataError(f"none of the {count} images can be read; {in_words(groups)}", groups[0].reason.cause.value)


def _paths(given: Path | str | Iterable[Path | str]) -> Iterator[Source]:
    each: Iterable[object] = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    for path in each:
        if not isinstance(path, str | os.PathLike):
            raise DataError(
                f"a path is needed, not {type(path).__name__}", "pixels go to landsift.load_model(...)(images)"
            )
        yield str(path) if is_url(path) else as_path(path)


def table_writer(out: Path) -> Callable[[Predictions], None]:
    """A writer of predictions for `out` by its ending, .csv or .parquet; raises RunError if it could not be written."""
    if out.suffix not in {".csv", ".parquet"}:
        raise RunError(f"--out {out}: the ending must be .csv or .parquet", "a name without an ending is a folder")
    if not out.absolute().parent.is_dir():
        raise RunError(f"--out {out}: there is no folder {out.absolute().parent}")
    if out.suffix == ".parquet":
        needs("pandas", "pyarrow", extra="train", what="a Parquet table")
        return lambda predictions: write_parquet(out, predictions.table())
    return lambda predictions: write_csv(out, predictions.columns())
