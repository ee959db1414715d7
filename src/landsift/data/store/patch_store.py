"""The patch store: labelled patches decoded once into a memory-mapped array.

    STORE/
      images.npy      uint8, uint16, int16 or float32 [N, H, W, C], sorted by class and path
      index.parquet   one row per patch: path, label (-1: none), sha256 (of the decoded pixels), group, split, lon, lat
      store.json      fingerprint, classes, what the bands mean and their statistics, what was left out and why

A store is built whole or not at all (write_store.py), and read by every later stage in place of the files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence, Sized
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from landsift.bands import BandSpec
from landsift.config import BUILT_IN_SOURCES, DataConfig
from landsift.data.decoding.wanted import Taken, Wanted
from landsift.data.sources.arrays import ArraySource, Dataset, read_dataset
from landsift.data.sources.base import (
    OF_PICTURES,
    STORE_FORMAT,
    bands_of,
    content_fingerprint,
    fingerprint_of,
    open_source,
    refuse_locations_of_store,
    root_of,
    store_folder,
)
from landsift.data.sources.records import UNLABELLED
from landsift.data.sources.scanning import scan
from landsift.data.sources.source import Source
from landsift.data.store.index import COLUMNS, read_column, read_contents, read_places
from landsift.data.store.write_store import IMAGES, INDEX, META, check_classes, check_new, new_store, write_store
from landsift.errors import DataError, RunError
from landsift.image_sizes import by
from landsift.runs import write_json
from landsift.runtime.links import share
from landsift.runtime.outputs import absolute, check_outside
from landsift.version import __version__

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T", bound=Sized)


class PatchStore:
    """Decoded patches on disk; opened with `PatchStore.open`, made with `build_store`.

    Attributes:
        folder: Where the store lies.
        images: The patches, [N, H, W, C] of the bands' type, memory-mapped and read-only.
        bands: What their numbers mean.
        classes: Names of the classes; a label is a position in it.
        mean: Per-band mean of all pixels with data, in units of the bands (of pictures in [0, 1]), C numbers.
        std: Per-band standard deviation of the same.
        fingerprint: Of the content and settings the store was built from.
        skipped: What is left out: files that could not be decoded or end in something else, folders that are no
            part of a split; `{"path", "reason"}` each.
        info: `source` (its kind), `root` (folder of the files, or None), `resized` (how many patches were), `squeezed`
            (of how many the shape changed much by that), `duplicates` (how many patches repeat the pixels of an earlier
            one), `notes` (what is to be said of how files are read, and of how many), and `numbers`, where there is any
            (the same of numbers in them).
    """

    def __init__(self, folder: Path, images: NDArray[Any], meta: dict[str, Any]) -> None:
        self.folder = folder
        self.images = images
        self.bands: BandSpec = bands_of(meta)
        self.classes: tuple[str, ...] = tuple(meta["classes"])
        self.mean: tuple[float, ...] = tuple(meta["mean"])
        self.std: tuple[float, ...] = tuple(meta["std"])
        self.fingerprint: str = meta["fingerprint"]
        self.info: dict[str, Any] = dict(meta["info"])
        self.skipped: list[dict[str, str]] = [
            {"path": self._absolute(s["path"]), "reason": s["reason"]} for s in meta["skipped"]
        ]

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Open a store in milliseconds.

        Raises:
            DataError: there is no store at `folder`, or it is damaged or incomplete.
        """
        folder = absolute(folder)
        if not (folder / META).is_file():
            kind = "has no " + META if folder.is_dir() else "does not exist"
            raise DataError(f"no patch store at {folder}: it {kind}", "build it with `landsift data build`")
        try:
            meta = json.loads((folder / META).read_text(encoding="utf-8"))
            if meta["format"] not in (OF_PICTURES, STORE_FORMAT):
                by = f"written by landsift {meta['landsift']}" if "landsift" in meta else "of an older landsift"
                raise DataError(
                    f"the patch store {folder} is of format {meta['format']}, {by}; landsift {__version__} reads "
                    f"format {STORE_FORMAT}",
                    "delete the folder and build it again",
                )
            images = np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False)
            bands = bands_of(meta)
            if list(images.shape) != meta["shape"] or images.dtype != bands.numpy_dtype:
                raise _damaged(folder, f"{IMAGES} is not {bands.dtype} {meta['shape']}")
            if (folder / INDEX).stat().st_size != meta["index_bytes"]:
                raise _damaged(folder, f"{INDEX} has not the size it was written with")
            texts = [
                *meta["classes"],
                meta["fingerprint"],
                "" if meta["info"]["root"] is None else meta["info"]["root"],
            ]
            if not all(isinstance(text, str) for text in texts):
                raise _damaged(folder, f"{META} holds values where text must be")
            "".join(texts).encode()
            if images.ndim != 4 or not len(meta["mean"]) == len(meta["std"]) == len(bands) == images.shape[-1]:
                raise _damaged(folder, f"{META} has not one mean and std per band")
            return cls(folder, images, meta)
        except DataError:
            raise
        except Exception as error:  # OSError, ValueError, KeyError, AttributeError for an archive of arrays, ...
            reason = " ".join(str(error).split()) or type(error).__name__
            if "pickle" in reason:  # numpy advises to trust the file
                reason = f"{IMAGES} is no array of numbers"
            raise _damaged(folder, reason) from error

    @classmethod
    def from_arrays(
        cls,
        images: NDArray[Any],
        labels: Sequence[int] | NDArray[np.int64],
        classes: Sequence[str],
        *,
        folder: Path | str,
        paths: Sequence[str] | None = None,
        groups: Sequence[object] | None = None,
        split: Sequence[str | None] | None = None,
        bands: BandSpec | None = None,
        locations: NDArray[np.float64] | Sequence[Sequence[float]] | None = None,
    ) -> PatchStore:
        """Write patches that are in memory into a store, in their order; or open the store of them that is there.

        Args:
            images: uint8 [N, H, W, 3], red, green and blue; or [N, H, W, C] of the type that `bands` names.
            labels: whole numbers [N], positions in `classes`; -1: nobody has labelled the patch. Such patches are kept,
                and are in no part of a split.
            classes: K names, in the order of the model's probabilities; each has at least one image, unless no image is
                labelled.
            folder: new or empty, or a store of the same patches.
            paths: what the patches are called in tables, N different texts; None: their numbers.
            groups: names of what must stay on one side of a split, such as scenes, N; None: none.
            split: train, val or test, N times, or None for a patch without a label; None: `data.split` decides.
            bands: what the numbers mean; needed for everything but 8-bit RGB, because it is not guessed.
            locations: longitude and latitude of the patches' centres in degrees (WGS 84), [N, 2], NaN where one is not
                known; a DataFrame has them by the names of its columns; None: none is known.

        Raises:
            DataError: something of this is otherwise, or `folder` cannot be written or holds something else.
        """
        source = ArraySource(
            images, labels, classes, paths=paths, groups=groups, split=split, bands=bands, locations=locations
        )
        folder = absolute(folder)
        data = DataConfig(source=source.name)
        if (folder / META).exists():
            return _reopen(data, folder, _fingerprint(data, source), "are given")
        check_new(folder)
        write_store(source, data, folder)
        return cls.open(folder)

    @classmethod
    def from_dataset(
        cls,
        dataset: Dataset,
        classes: Sequence[str] | None = None,
        *,
        folder: Path | str,
        bands: BandSpec | None = None,
    ) -> PatchStore:
        """The same for a data set of torch's kind, which is read once, into memory: as large as its pixels.

        Args:
            dataset: yields (image, label): a Pillow image in RGB, a uint8 array [H, W, 3] or a uint8 tensor
                [3, H, W], with `bands` an array [H, W, C] or a tensor [C, H, W] of their type, and a whole number;
                without random transforms.
            classes: K names; None: `dataset.classes`.
            folder: as in `from_arrays`.
            bands: as in `from_arrays`.

        Raises:
            DataError: as in `from_arrays`, or the data set yields something else.
        """
        names = getattr(dataset, "classes", None) if classes is None else classes
        if names is None:
            raise DataError("the data set does not name its classes", "give classes=['forest', 'water', ...]")
        images, labels = read_dataset(dataset, bands)
        return cls.from_arrays(images, labels, names, folder=folder, bands=bands)

    @cached_property
    def index(self) -> pd.DataFrame:
        """One row per patch: path str, label int64, sha256 str, group and split str or None, lon and lat float64.

        A million rows take hundreds of megabytes; `labels`, `contents`, `places`, `column` and `paths` read less.
        """
        import pandas as pd

        frame = pd.DataFrame({name: self.column(name) for name in COLUMNS})
        for name in ("group", "split"):
            values = frame[name].astype(object)
            frame[name] = values.where(values.notna(), None)
        return frame

    def column(self, name: str) -> pd.Series:
        """One column of `index`, the others left unread; `group` and `split` as categories."""
        import pandas as pd

        if name in ("lon", "lat"):
            return pd.Series(self.places()[:, ("lon", "lat").index(name)])
        values = self._read(read_column, name)
        if name == "path":
            return pd.Series([self._absolute(path) for path in values.to_pylist()], dtype=str)
        return pd.Series(values.to_pandas())

    def paths(self, rows: NDArray[np.int64]) -> list[str]:
        """The files of these patches."""
        return [self._absolute(path) for path in self._read(read_column, "path").take(rows).to_pylist()]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Position of each patch's class in `classes`, -1 where nobody has labelled it: int64 [N]."""
        values = self._read(read_column, "label").to_numpy()
        labels = np.array(values, dtype=np.int64)  # a copy: pyarrow lends its own read-only
        if len(labels) and not UNLABELLED <= labels.min() <= labels.max() < len(self.classes):
            raise _damaged(self.folder, f"{INDEX} names classes that {META} does not")
        return labels

    @cached_property
    def unlabelled(self) -> NDArray[np.int64]:
        """Rows of the patches that nobody has labelled, which no split has: int64 [M].

        Some may have the pixels of patches that are labelled (`contents` tells).
        """
        return np.flatnonzero(self.labels < 0)

    def places(self) -> NDArray[np.float64]:
        """Longitude and latitude of each patch's centre in degrees (WGS 84), [N, 2]; NaN where it is not known."""
        return self._read(read_places)

    def contents(self) -> NDArray[np.int64]:
        """A number per patch, equal for patches with equal pixels: int64 [N]."""
        return self._read(read_contents)

    def _read(self, read: Callable[..., T], *column: str) -> T:
        """What `read` finds in the index, one value per patch."""
        try:
            values = read(self.folder / INDEX, *column)
            if len(values) != len(self):
                raise ValueError(f"{INDEX} has {len(values)} rows for {len(self)} patches")
            return values
        except Exception as error:  # pyarrow's errors are of five bases
            raise _damaged(self.folder, " ".join(str(error).split())) from error

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"PatchStore({str(self.folder)!r}: {self.images.shape}, {len(self.classes)} classes)"

    def __reduce__(self) -> tuple[Any, ...]:
        return PatchStore.open, (self.folder,)  # a worker process maps the file, it is not sent the pixels

    def _absolute(self, path: str) -> str:
        root = self.info["root"]
        return path if root is None else os.path.join(root, path)


def build_store(
    data: DataConfig | Path | str, folder: Path | str, least_classes: int = 2, taken: Taken | None = None
) -> PatchStore:
    """Decode a source into `folder`, or open the store of it that is there already.

    Downloads if need be. Two processes may build the same folder at once: both end with the store that was
    finished first.

    Args:
        data: The source and how its patches are decoded, or the source alone. A store is a source too, whose files
            then stand in both folders, as one on the disk where that can be.
        folder: A new or empty folder, or a store built from the same content.
        least_classes: How many classes there must be; a training needs two.
        taken: What a model takes, which files are brought to; None: they stay as they are.

    Raises:
        DataError: the source cannot be used (its message says why), more than `data.max_unreadable` of its files
            cannot be decoded, or `folder` cannot be written or holds something else.
        RunError: `folder` lies among the patches, or is no path.
    """
    given: object = data
    if not isinstance(given, DataConfig | str | os.PathLike):
        hint = "give a path, the name of a source or a DataConfig; a RunConfig has it as .data"
        raise DataError(f"a {type(given).__name__} is no source of patches", hint)
    data = data if isinstance(data, DataConfig) else DataConfig(source=str(data))
    folder = absolute(folder)
    if (folder / META).exists():
        return _reopen(data, folder, content_fingerprint(data, taken), f"data.source={data.source} has now")
    moved_later = folder.name.startswith(".") and folder.suffix == ".partial"  # a result of the pipeline's
    if data.source not in BUILT_IN_SOURCES and not moved_later:
        check_outside(folder, [data.source])
    check_new(folder)
    if (stored := store_folder(data)) is not None:
        return _link(PatchStore.open(stored), data, folder, least_classes)
    source = open_source(data, taken)
    check_classes(source.records.classes, source.root or source.name, least_classes)
    write_store(source, data, folder)
    return PatchStore.open(folder)


def _fingerprint(data: DataConfig, source: Source) -> str:
    return fingerprint_of(data, source.name, scan(source).content, source.bands)


def _reopen(data: DataConfig, folder: Path, fingerprint: str, those: str) -> PatchStore:
    store = PatchStore.open(folder)
    if store.fingerprint != fingerprint:
        raise DataError(
            f"{folder} holds a store of other patches or settings than {those}",
            "give a new folder, or delete this one",
        )
    root = root_of(data)
    if root is None or str(root) == store.info["root"]:
        return store
    # the same content has moved: the index must name files that are there
    meta = json.loads((folder / META).read_text(encoding="utf-8"))
    meta["info"]["root"] = str(root)
    with suppress(RunError):  # a shared store may be read-only; this process knows the new place all the same
        write_json(folder / META, meta)
    return PatchStore(folder, store.images, meta)


def _link(store: PatchStore, data: DataConfig, folder: Path, least_classes: int) -> PatchStore:
    """Let a new folder be the same store: its files under second names or, on another disk, copies of them."""
    refuse_locations_of_store(data)
    check_classes(store.classes, store.folder, least_classes)
    if (wanted := Wanted.of(data)).anything:
        raise DataError(
            f"{wanted.said} says how files are read, but {store.folder} is a store of decoded patches",
            "leave it out, or build another store from the files",
        )
    size = store.images.shape[1:3]
    if data.patch_size is not None and set(size) != {data.patch_size}:
        raise DataError(
            f"data.patch_size is {data.patch_size}, but the store {store.folder} holds patches of {by(size)} pixels",
            "leave data.patch_size alone, or build another store from the files",
        )
    with new_store(folder) as partial:
        for name in (IMAGES, INDEX, META):
            share(store.folder / name, partial / name)
    return PatchStore.open(folder)


def _damaged(folder: Path, reason: str) -> DataError:
    return DataError(f"the patch store {folder} is damaged: {reason}", "delete the folder; it is built again")
