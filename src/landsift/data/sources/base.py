"""Where patches come from: a name (`synthetic`, `eurosat`), a folder of class folders, or a table.

A source lists its records, sorted by class and path, before any pixel is decoded, and gives a record's
pixels when asked, from any thread. Its fingerprint tells whether a store or a run made from it still
holds; it does not depend on where the files lie.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from landsift.bands import BandSpec
from landsift.config import BUILT_IN_SOURCES, DataConfig, digest
from landsift.data.decoding.gdal import suffixes
from landsift.data.decoding.wanted import Taken, Wanted
from landsift.data.sources import eurosat, synthetic
from landsift.data.sources.folder import has_class_folders, read_folder, read_images
from landsift.data.sources.locations import content_of, places_from
from landsift.data.sources.scanning import scan
from landsift.data.sources.source import FileSource, Source, SyntheticSource
from landsift.data.sources.table import TABLE_SUFFIXES, check_paths, has_labels, read_table
from landsift.errors import DataError, nearest
from landsift.runs import STORE_META

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
