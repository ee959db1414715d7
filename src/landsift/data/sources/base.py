"""Where patches come from: a name (`synthetic`, `eurosat`), a folder of class folders, or a table.

A source lists its records, sorted by class and path, before any pixel is decoded, and gives a record's
pixels when asked, from any thread. Its fingerprint tells whether a store or a run made from it still
holds; it does not depend on where the files lie.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from landsift.bands import BandSpec
from landsift.config import BUILT_IN_SOURCES, DataConfig, SyntheticConfig, digest
from landsift.data.decoding.decode import quiet_pillow, read_bytes, resize
from landsift.data.decoding.file_bands import NOWHERE, PICTURE, FileBands, Place
from landsift.data.decoding.gdal import has_company, suffixes
from landsift.data.decoding.patches import Patches
from landsift.data.decoding.unreadable import Reason, UnreadableError
from landsift.data.decoding.wanted import Taken, Wanted
from landsift.data.sources import eurosat, synthetic
from landsift.data.sources.folder import has_class_folders, read_folder, read_images
from landsift.data.sources.locations import content_of, places_from
from landsift.data.sources.records import Record, Records, class_order
from landsift.data.sources.scan_memo import Found, ScanMemo, code_of_scans
from landsift.data.sources.table import TABLE_SUFFIXES, check_paths, has_labels, read_table
from landsift.data.sources.walk import PassedOver
from landsift.errors import DataError, nearest
from landsift.runs import STORE_META
from landsift.runtime.parallel import map_rows
from landsift.runtime.progress_bar import progress_bar

T = TypeVar("T")

_KNOWN = (
    "known sources: synthetic, eurosat, a folder with one folder per class, a CSV or Parquet table, or a patch store"
)
STORE_FORMAT = 3
"""Version of what a store holds."""
OF_PICTURES = 2
"""The version before, which is read too: its stores hold 8-bit RGB, and say nothing of bands."""
_HASHED = OF_PICTURES
"""What fingerprints begin with: those of 8-bit RGB are as they were, so that what was made of such patches is found."""


class Scan(NamedTuple):
    """What one reading of a file's bytes tells."""

    sha256: str
    """Of the bytes; empty where there are none."""
    size: tuple[int, int] | None
    """Height and width in pixels; None where the header cannot be read."""
    reason: Reason | None = None
    """Why `size` is missing."""
    notes: tuple[str, ...] = ()
    """What is to be said of how the file is read."""
    bands: FileBands = PICTURE
    """What the file says of its bands."""
    place: Place = NOWHERE


@dataclass(frozen=True)
class Scans:
    """What the bytes of all records tell."""

    sizes: NDArray[np.int32]
    """Height and width in pixels, [N, 2]; 0 where the header cannot be read."""
    reasons: dict[int, Reason]
    """Why, by row."""
    notes: dict[str, int]
    """What is to be said of how files are read, and of how many of them."""
    doubts: dict[str, int]
    """The same, of what was not known."""
    content: str
    """What all bytes, paths, labels, splits, groups and the places beside them amount to."""
    places: NDArray[np.float64] | None
    """Longitude and latitude of the patches' centres in degrees (WGS 84), [N, 2], NaN where a file does not tell; None
    where none does."""


class Source(Protocol):
    """Labelled patches that can be decoded."""

    name: str
    """`synthetic`, `eurosat`, `folder` or `table`."""
    root: Path | None
    """The folder that the records' paths are relative to; None where there are no files."""
    records: Records
    """All patches, sorted by class and path."""
    left_out: Sequence[PassedOver]
    """Files and folders of the source that are no records, and might have been; paths as in `records`."""
    known_content: str | None
    """What all patches amount to, where that is known without reading them."""
    bands: BandSpec
    """What the numbers of a patch mean; of files that is known when they were scanned."""

    def scan(self, row: int) -> Scan:
        """Read a record's bytes once: their hash, and height and width from the header."""

    def pixels(self, row: int, size: tuple[int, int]) -> NDArray[Any]:
        """Decode a record to [H, W, C] of the bands' type and the given height and width; raises UnreadableError."""


class FileSource:
    """Patches in files.

    Args:
        name: The kind of source.
        root: The folder that the records' paths are relative to.
        records: All patches, in any order.
        left_out: Files and folders that are no records.
        content: What identifies the content, where that is known without reading the files.
        wanted: What is wanted of the bands.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        records: Records,
        left_out: Sequence[PassedOver] = (),
        content: str | None = None,
        wanted: Wanted = Wanted(),  # noqa: B008 (immutable)
    ) -> None:
        self.name = name
        self.root: Path | None = root
        self.records = records.sorted()
        self.left_out = left_out
        self.known_content = content
        self.patches = Patches(wanted)
        self.bands = self.patches.spec

    def scan(self, row: int, memo: ScanMemo | None = None) -> Scan:
        """Read a record's bytes once: their hash, and height and width from the header; not what `memo` knows."""
        sha256, file = "", self._file(row)
        state = _state(file) if memo is not None else None
        if memo is not None and state is not None and (known := _known(memo, row, file, state)):
            return Scan(known.sha256, known.size, None, known.notes, known.bands, known.place)
        try:
            raw = read_bytes(file)
            sha256 = hashlib.sha256(raw).hexdigest()
            seen = self.patches.look(file, raw)
            if seen.beside:
                sha256 = hashlib.sha256(f"{sha256} {seen.beside}".encode()).hexdigest()
            elif memo is not None and state is not None:  # files beside it may change while it stays
                memo.note(row, str(file), state, Found(sha256, seen.size, seen.notes, seen.bands, seen.place))
            return Scan(sha256, seen.size, None, seen.notes, seen.bands, seen.place)
        except UnreadableError as error:
            return Scan(sha256, None, error.reason)

    def pixels(self, row: int, size: tuple[int, int]) -> NDArray[Any]:
        """Decode a record to [H, W, C] of the bands' type and the given height and width; raises UnreadableError."""
        file = self._file(row)
        return self.patches.read(file, size, read_bytes(file)).array

    def _file(self, row: int) -> Path:
        assert self.root is not None
        return self.root / self.records.path(row)


class SyntheticSource:
    """Patches generated on demand."""

    def __init__(self, config: SyntheticConfig) -> None:
        self.name = "synthetic"
        self.root: Path | None = None
        self.left_out: Sequence[PassedOver] = ()
        self._config = config
        total, classes = synthetic.count(config), len(synthetic.CLASSES)
        self._numbers = np.concatenate([np.arange(c, total, classes) for c in range(classes)])
        self.records = Records.of(
            Record(synthetic.file_name(i, config.bands), synthetic.class_of(i)) for i in self._numbers
        )
        told = config.model_dump(mode="json") | {"patches": len(self.records)}
        if config.bands == "rgb":
            del told["bands"]  # which fingerprints of pictures do not say
        self.known_content: str | None = digest(told)
        self.bands = synthetic.bands_of(config)

    def scan(self, row: int) -> Scan:
        """The size of a patch; there are no bytes to hash."""
        return Scan("", (self._config.size, self._config.size))

    def pixels(self, row: int, size: tuple[int, int]) -> NDArray[Any]:
        """Generate a record as [H, W, C] of the bands' type and the given height and width."""
        from landsift.resampling import resample_patch

        patch = synthetic.patch(self._config, int(self._numbers[row]))
        return resize(patch, size) if patch.dtype == np.uint8 else resample_patch(patch, size)


def open_source(data: DataConfig, taken: Taken | None = None) -> Source:
    """List the patches of `data.source`, with the places that `data.locations` names; downloads EuroSAT if need be.

    Args:
        data: the source, and how it is read.
        taken: what a model takes, which files are brought to; None: they stay as they are.

    Raises:
        DataError: there is no such source, it holds no usable patches, or the file of their places does not fit.
    """
    wanted = Wanted.of(data, taken)
    source = _opened(data, wanted)
    if data.locations is not None:
        if source.records.places is not None:
            raise DataError(
                f"{data.source} has places itself, and data.locations names others", "leave one of them out"
            )
        source.records.places = places_from(data.locations, source.records, source.root)
    return source


def _opened(data: DataConfig, wanted: Wanted) -> Source:
    if data.source == "synthetic" and data.locations is not None:
        raise DataError("generated patches have no locations, so data.locations cannot be used", "leave it out")
    if data.source == "synthetic":
        if wanted.anything:
            raise DataError(f"{wanted.said} says how files are read, and generated patches are in none", "leave it out")
        return SyntheticSource(data.synthetic)
    if data.source == "eurosat":
        folder = eurosat.ensure(data.eurosat)
        records, left_out = read_folder(folder)
        content = eurosat.known_content(data.eurosat, folder)
        if content is None:
            eurosat.tell_incomplete(folder, len(records))
        return FileSource("eurosat", folder, records, left_out, content, wanted)
    if not data.source.strip():
        raise DataError("data.source is empty", _KNOWN)
    path = _path(data.source)
    if not _is_text(path):
        raise DataError(f"the path {path} is not valid UTF-8, as the paths in a run's tables must be", "rename it")
    if path.is_dir():
        endings = suffixes(rasters=wanted.anything)
        listed = read_folder(path, endings) if data.labels else read_images(path, endings)
        return FileSource("folder", path, *listed, wanted=wanted)
    if path.suffix.lower() in TABLE_SUFFIXES and path.is_file():  # reading a named pipe would block for ever
        records = read_table(path, labels=data.labels)
        check_paths(path, (record.path for record in records), len(records))
        return FileSource("table", path.parent, records, wanted=wanted)
    raise _unknown(data.source, path)


def can_have_labels(data: DataConfig) -> bool:
    """Whether a source may say what its patches are: a folder with images in folders, a table with a column of labels.

    Raises:
        DataError: the folder cannot be read.
    """
    if data.source in BUILT_IN_SOURCES or not data.source.strip() or store_folder(data) is not None:
        return True
    path = _path(data.source)
    if path.is_dir():
        return has_class_folders(path, suffixes(rasters=True))
    if path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
        return has_labels(path)
    return True


def store_folder(data: DataConfig) -> Path | None:
    """The patch store that `data.source` names; None where it names something else."""
    if data.source in BUILT_IN_SOURCES or not data.source.strip():
        return None
    path = _path(data.source)
    return path if (path / STORE_META).is_file() else None


def root_of(data: DataConfig) -> Path | None:
    """The folder that the paths of `data.source` are relative to, as far as it is there; None where there is none."""
    if data.source in BUILT_IN_SOURCES:
        return eurosat.find(data.eurosat) if data.source == "eurosat" else None
    if store_folder(data) is not None:
        return None  # the store says where its files were
    path = _path(data.source)
    return path if path.is_dir() else path.parent


def content_fingerprint(data: DataConfig, taken: Taken | None = None) -> str:
    """A hex digest that changes when what a store is built from changes.

    That is any file's bytes, name, label, split, group or place, what is left out, or a setting that shapes the store.
    Generated patches are known by their settings, and the EuroSAT archive, unpacked by landsift or not yet
    downloaded, by its checksum; nothing is downloaded.

    A store has the fingerprint that it was made with.

    Args:
        data: the source, and how it is read.
        taken: as of `open_source`.

    Raises:
        DataError: there is no such source, or it holds no usable patches.
    """
    if (stored := store_folder(data)) is not None:
        refuse_locations_of_store(data)
        return _fingerprint_of_store(stored)
    Wanted.of(data)  # before a download, not after it
    if data.source == "eurosat" and eurosat.find(data.eurosat) is None:
        return fingerprint_of(data, "eurosat", eurosat.archive_content(data.eurosat))
    source = open_source(data, taken)
    if taken is None and source.known_content:
        return fingerprint_of(data, source.name, source.known_content, source.bands)
    return fingerprint_of(data, source.name, scan(source).content, source.bands)


def known_bands(data: DataConfig) -> BandSpec:
    """What the patches of `data.source` hold, before any is decoded: as a store says, or their files.

    Raises:
        DataError: the store is damaged.
    """
    if (stored := store_folder(data)) is not None:
        return _said_by_store(stored, bands_of)
    if data.source == "synthetic":
        return synthetic.bands_of(data.synthetic)
    wanted = Wanted.of(data)
    if data.source == "eurosat" and eurosat.find(data.eurosat) is None and not (wanted.bands or wanted.indices):
        return eurosat.bands_of(data.eurosat)
    source = open_source(data)
    scan(source)  # of files that did not change it costs next to nothing
    return source.bands


def refuse_locations_of_store(data: DataConfig) -> None:
    """Refuse `data.locations` for a store, which keeps the places that it was built with; raises DataError."""
    if data.locations is not None:
        raise DataError(
            f"{data.source} is a store, which keeps its own places, and data.locations names others",
            "build the store with data.locations",
        )


def _fingerprint_of_store(folder: Path) -> str:
    def fingerprint(meta: dict[str, Any]) -> str:
        if not isinstance(meta["fingerprint"], str):
            raise TypeError("its fingerprint is no text")
        return meta["fingerprint"]

    return _said_by_store(folder, fingerprint)


def _said_by_store(folder: Path, of: Callable[[dict[str, Any]], T]) -> T:
    """What a store's META holds; raises DataError where it is damaged."""
    try:
        return of(json.loads((folder / STORE_META).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
    raise DataError(f"the patch store {folder} is damaged: {STORE_META}: {reason}", "build it again")


def fingerprint_of(data: DataConfig, name: str, content: str, bands: BandSpec | None = None) -> str:
    """The fingerprint of a source's content together with the settings that shape the store.

    Args:
        data: the settings.
        name: of the kind of source.
        content: what all patches amount to.
        bands: what their numbers mean; None: 8-bit RGB.
    """
    parts = {"format": _HASHED, "source": name, "patch_size": data.patch_size, "content": content}
    known = name == "eurosat" and content.startswith(eurosat.CHECKSUMS)  # of an archive, which has not been read yet
    if bands is not None and bands != BandSpec.pictures() and not known:
        parts["bands"] = bands.to_dict()
    if wanted := Wanted.of(data).key():
        parts["wanted"] = wanted
    if data.locations is not None:
        parts["locations"] = content_of(data.locations)
    return digest(parts)


def bands_of(meta: dict[str, Any]) -> BandSpec:
    """What store.json says of the bands; raises ValueError, KeyError."""
    return BandSpec.pictures() if meta["format"] == OF_PICTURES else BandSpec.from_dict(meta["bands"])


def as_stored(pixels: NDArray[Any], bands: BandSpec) -> NDArray[Any]:
    """Pixels [H, W, C] as a store keeps them: in one piece, in this machine's byte order, equal ones of equal bytes."""
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    pixels = np.array(pixels, dtype=bands.numpy_dtype, order="C")
    if pixels.dtype.kind == "f":
        pixels[np.isnan(pixels)] = np.nan  # of which there are many
        pixels += 0.0  # -0 becomes 0
    return pixels


def scan(source: Source) -> Scans:
    """Scan all records of a source in parallel; files that are as they were at an earlier scan are not read again."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()  # listing and sorting leave as much over as the records take
    rows = range(len(source.records))
    sizes = np.zeros((len(rows), 2), dtype=np.int32)
    reasons, notes = {}, Counter[str]()
    kinds, numbers = Counter[FileBands](), dict[FileBands, int]()
    kind = np.full(len(rows), -1, dtype=np.int32)
    places: NDArray[np.float64] | None = None
    doubts: dict[str, int] = {}
    converted = False
    content = _ListDigest()
    read: Callable[[int], Scan] = source.scan
    memo: ScanMemo | None = None
    if isinstance(source, FileSource) and source.root is not None:
        code = f"{code_of_scans()}{' rasters' * source.patches.wanted.anything}"  # then GDAL is asked of every TIFF
        memo = ScanMemo(source.name, source.root, code, len(rows))
        read = functools.partial(source.scan, memo=memo)
    with quiet_pillow(), progress_bar("Scanning patches", len(rows)) as advance:
        for row, record, result in zip(rows, source.records, map_rows(read, rows), strict=True):
            said = [result.bands.to_json()] if not result.bands.pillow else []
            content.add([*record, result.sha256, *said])
            notes.update(result.notes)
            if result.size is not None:
                sizes[row] = result.size
                kinds[result.bands] += 1
                kind[row] = numbers.setdefault(result.bands, len(numbers))
                if result.place.known:
                    places = np.full((len(rows), 3), np.nan) if places is None else places
                    places[row] = result.place
            elif result.reason is not None:
                reasons[row] = result.reason
            advance(1)
    if memo is not None:
        memo.keep()
    for entry in source.left_out:
        content.add(["left out", *entry])
    named = sorted({name for name in source.records.names if name is not None})
    if source.records.classes != tuple(
        named[at] for at in class_order(named)
    ):  # arrays come with an order of their own
        content.add(["classes", *source.records.classes])
    if source.records.places is not None:
        content.add(["places", hashlib.sha256(source.records.places.tobytes()).hexdigest()])
    if isinstance(source, FileSource):
        settled = source.patches.settle(kinds, () if places is None else places[:, 2])
        source.bands, doubts, converted = settled.spec, settled.doubts, settled.converted
        notes.update(settled.notes)
        for bands, reason in settled.reasons.items():
            for row in np.flatnonzero(kind == numbers[bands]).tolist():
                sizes[row], reasons[row] = 0, reason
    whole = source.known_content or content.hexdigest()
    if converted and isinstance(source, FileSource):  # else patches are what they are for a model or for nobody
        whole = digest({"content": whole, "bands": source.bands.to_dict()})
    return Scans(
        sizes,
        reasons,
        dict(sorted(notes.items())),
        doubts,
        whole,
        None if places is None else places[:, :2].copy(),
    )


def _known(memo: ScanMemo, row: int, file: Path, state: os.stat_result) -> Found | None:
    """What is known of a file; not of a raster beside which something was put since."""
    found = memo.find(row, str(file), state)
    return None if found is not None and not found.bands.pillow and has_company(file) else found


def _state(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except (OSError, ValueError):
        return None


class _ListDigest:
    """The same as `digest` of a list, from one item after the other."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._before = "["

    def add(self, item: object) -> None:
        self._hash.update(f"{self._before}{json.dumps(item)}".encode())
        self._before = ", "

    def hexdigest(self) -> str:
        whole = self._hash.copy()
        whole.update(b"]")
        return whole.hexdigest()


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _path(source: str) -> Path:
    return Path(os.path.abspath(Path(source).expanduser()))


def _unknown(name: str, path: Path) -> DataError:
    if path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".7z") and path.is_file():
        return DataError(f"{path} is an archive, which is not read as it is", "unpack it and give its folder")
    if path.exists():
        return DataError(f"{path} is neither a folder nor a CSV or Parquet table", _KNOWN)
    if os.sep in name or path.suffix:
        return DataError(f"data source {path} does not exist", "check the path; " + _KNOWN)
    return DataError(
        f"unknown data source '{name}': no source and no folder of that name",
        nearest(name.lower(), BUILT_IN_SOURCES) or _KNOWN,
    )
