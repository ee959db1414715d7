"""One reading of all of a source's files: their sizes, what they say of bands and places, and what they amount to."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landsift.config import digest
from landsift.data.decoding.decode import quiet_pillow
from landsift.data.decoding.file_bands import FileBands
from landsift.data.decoding.unreadable import Reason
from landsift.data.sources.records import class_order
from landsift.data.sources.scan_memo import ScanMemo, code_of_scans
from landsift.data.sources.source import FileSource, Scan, Source
from landsift.runtime.parallel import map_rows
from landsift.runtime.progress_bar import progress_bar


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
