"""Write a patch store: whole or not at all, in constant memory, from whatever source of patches."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landsift.config import DataConfig
from landsift.data.decoding.unreadable import in_words
from landsift.data.sources.base import STORE_FORMAT, fingerprint_of
from landsift.data.sources.coordinates import joined
from landsift.data.sources.records import Records
from landsift.data.sources.scanning import scan
from landsift.data.sources.source import FileSource, Source
from landsift.data.store.index import contradictions, read_contents, write_index
from landsift.data.store.patch_size import resized, squeezed, stored_size, tell
from landsift.data.store.statistics import check_data
from landsift.data.store.writer import Unreadable, path_of, write_images
from landsift.errors import DataError, RunError
from landsift.runs import STORE_META, write_json
from landsift.runtime.whole import beside, flush
from landsift.version import __version__

IMAGES, INDEX, META = "images.npy", "index.parquet", STORE_META

_WRITABLE = "give a folder of yours on a disk with free space"
_log = logging.getLogger("landsift")


def write_store(source: Source, data: DataConfig, folder: Path) -> None:
    """Decode a source into a new or empty folder.

    Raises:
        DataError: more than `data.max_unreadable` of its files, or all of a class, cannot be decoded, or `folder`
            cannot be written.
    """
    scans = scan(source)
    unreadable = Unreadable(source, data.max_unreadable)
    for row, reason in scans.reasons.items():
        unreadable.add(row, reason)
    unreadable.check(all_seen=True)
    readable = scans.sizes[scans.sizes[:, 0] > 0]
    if not len(readable):
        groups = unreadable.summed_up()
        raise DataError(
            f"none of the {len(scans.sizes)} files can be decoded; {in_words(groups)}", groups[0].reason.cause.value
        )
    size = stored_size(readable, data.patch_size)
    places = joined(str(data.locations or data.source), source.records.places, scans.places)

    with new_store(folder) as partial:
        rows, hashes, written = write_images(partial / IMAGES, source, scans, size, unreadable)
        told = source.patches.tell() if isinstance(source, FileSource) else {}
        _check_complete(source.records, rows, unreadable)
        write_index(partial / INDEX, source.records, rows, hashes, places)
        del hashes  # as large as all else that is kept of a patch
        contents = read_contents(partial / INDEX)
        info = {
            "source": source.name,
            "root": str(source.root) if source.root else None,
            "resized": resized(scans.sizes[rows], size),
            "squeezed": len(squeezed(scans.sizes[rows], size)),
            "duplicates": len(contents) - int(contents.max()) - 1,
            "notes": scans.notes | scans.doubts,
        }
        if told:
            info["numbers"] = told
        if data.reading:
            of = {"of": source.patches.count} if data.bands and isinstance(source, FileSource) else {}
            info["reading"] = data.reading | of
        meta = {
            "format": STORE_FORMAT,
            "landsift": __version__,
            "fingerprint": fingerprint_of(data, source.name, scans.content, source.bands),
            "bands": source.bands.to_dict(),
            "classes": source.records.classes,
            "shape": written.shape,
            "mean": written.statistics.mean,
            "std": written.statistics.std,
            "index_bytes": (partial / INDEX).stat().st_size,
            "skipped": [entry._asdict() for entry in source.left_out] + unreadable.files,
            "info": info,
        }
        contradictory = contradictions(contents, source.records.labels[rows])
        check_data(written.statistics, "these patches")
        write_json(partial / META, meta)
    tell(scans.sizes[rows], size, lambda row: path_of(source, int(rows[row])), chosen=data.patch_size is not None)
    if info["resized"] and source.bands.nodata is not None:
        _log.info("pixels without data are kept out of resized ones: these have none where half of theirs had none")
    if unlabelled := int(np.count_nonzero(source.records.labels[rows] < 0)):
        _log.info(
            "%d of %d patches have no label: they are in the store, and in no part of a split", unlabelled, len(rows)
        )
    for note, count in scans.notes.items():
        _log.info("%d of %d files: %s", count, len(scans.sizes), note)
    for note, count in scans.doubts.items():
        _log.warning("%d of %d files: %s", count, len(scans.sizes), note)
    for group in unreadable.summed_up():
        _log.warning("%s", group)
    if contradictory:
        _log.warning("conflicting labels: %d images are in more than one class", contradictory)


def check_new(folder: Path) -> None:
    """Refuse a folder that a store cannot be written to."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "is not empty and holds no patch store" if folder.is_dir() else "is a file"
        raise DataError(f"{folder} {what}", "give a new or empty folder for the store")

    ancestor = next(p for p in folder.parents if p.exists())
    if not ancestor.is_dir() or not os.access(ancestor, os.W_OK | os.X_OK):  # before a download, not after it
        raise DataError(f"cannot write the patch store {folder}: no right to write in {ancestor}", _WRITABLE)


def check_classes(classes: Sequence[str], where: Path | str, least: int) -> None:
    """Refuse fewer classes than needed; raises DataError."""
    if len(classes) < least:
        only = f"one class only: '{classes[0]}'" if classes else "no class"
        raise DataError(f"{where} holds {only}", "a classifier needs at least two classes")


def _check_complete(records: Records, rows: NDArray[np.int64], unreadable: Unreadable) -> None:
    """Raise DataError if a class lost all its files."""
    named, kept = (labels[labels >= 0] for labels in (records.labels, records.labels[rows]))
    left = np.bincount(kept, minlength=len(records.classes))
    if len(named) and not left.all():
        lost = int(left.argmin())
        here = np.flatnonzero(records.labels == lost)
        groups = unreadable.summed_up(set(here.tolist()))
        name = records.classes[lost]
        raise DataError(
            f"class '{name}' is empty: none of its {len(here)} files can be decoded; {in_words(groups)}",
            f"{groups[0].reason.cause.value}; or remove the class",
        )


@contextmanager
def new_store(folder: Path) -> Iterator[Path]:
    """A folder to write a store to, which then becomes `folder`; whoever comes second leaves the first one's there.

    Raises:
        DataError: it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with beside(folder) as partial:
            partial.mkdir()
            yield partial
            flush(partial)
            try:
                partial.rename(folder)
            except OSError:
                if not (folder / META).is_file():
                    raise
    except (OSError, RunError) as error:
        why = str(getattr(error, "strerror", None) or error).lower()
        raise DataError(f"cannot write the patch store {folder}: {why}", _WRITABLE) from None
