"""Which patch a list means by a path or the name of a file, as lists are written on other machines and systems."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landsift.errors import DataError
from landsift.runtime.notices import once

UNKNOWN = -1
"""In place of the row of an entry that names no patch."""
_WAYS = (
    "by their last three names", "by folder and file name", "by file name",
    "by their last three names without endings", "by folder and file name without endings",
    "by file name without endings",
)  # fmt: skip


def plain(path: str) -> str:
    """A path without detours, its accents in the form that most systems write them in."""
    return unicodedata.normalize("NFC", os.path.normpath(path))


def look_up(file: Path, entries: Sequence[str], paths: Iterable[str], root: str, what: str) -> NDArray[np.int64]:
    r"""The row that each entry of a list means, `UNKNOWN` for none: int64 [N].

    Entries are paths, absolute, relative to `root` or to the list's own folder. Where none of them is that of a patch,
    ends of paths are compared: the last three names, folder and file name, or the file name alone; with its ending, or
    where none fits with it, without. The first of these ways in which most entries are found is taken for all of them,
    and said. `\` is read as `/`.

    Args:
        file: the list.
        entries: as they are written there.
        paths: of all patches, absolute or relative to `root`.
        root: the folder of the patches; "" where there is none.
        what: the setting that names the list, for messages.

    Raises:
        DataError: no entry names a patch, or one could name several.
    """
    written = [entry.strip().replace("\\", "/") for entry in entries]
    known = [plain(os.path.join(root, path)) for path in paths]
    rows = {path: row for row, path in enumerate(known)}
    for folder in dict.fromkeys((root, str(file.parent))):
        found = [rows.get(plain(os.path.join(folder, entry)), UNKNOWN) for entry in written]
        if any(row != UNKNOWN for row in found):
            return np.array(found, dtype=np.int64)
    best: tuple[int, str, list[int], dict[str, int]] | None = None
    for way, (count, ending) in zip(_WAYS, ((n, e) for e in (True, False) for n in (3, 2, 1)), strict=True):
        ends = [_end(path, count, ending=ending) for path in known]
        by_end: dict[str, int] = {}
        times: dict[str, int] = {}
        for row, end in enumerate(ends):
            by_end.setdefault(end, row)
            times[end] = times.get(end, 0) + 1
        sought = [_end(entry, count, ending=ending) for entry in written]
        found = [by_end.get(end, UNKNOWN) for end in sought]
        matched = sum(row != UNKNOWN for row in found)
        if matched and (best is None or matched > best[0]):
            best = (matched, way, found, {end: times[end] for end in sought if times.get(end, 0) > 1})
        if matched == len(written):
            break
    if best is None:
        example = next((entry for entry in written if entry), "")
        hint = f"paths are absolute or relative to {root}" if root else "names are those of the store's index"
        raise DataError(
            f"{what}: none of the {len(written):,} entries of {file} is a patch; the first: {example}", hint
        )
    _, way, found, several = best
    if several:
        end = next(iter(several))
        raise DataError(
            f"{what}: {file} names '{end}', which {several[end]:,} patches are called", "write paths with their folders"
        )
    once(logging.INFO, f"{file}: patches are found {way}")
    return np.array(found, dtype=np.int64)


def _end(path: str, count: int, *, ending: bool) -> str:
    """The last names of a path: "A/1.png" of "x/A/1.png"."""
    *folders, name = plain(path).split("/")
    if not ending:
        name = name.rpartition(".")[0] or name
    return "/".join([*folders, name][-count:])
