"""Which patch a list means by a path or the name of a file, as lists are written on other machines and systems."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landsift.errors import DataError
from landsift.runtime.notices import once

_SHOWN = 200  # characters of an entry
UNKNOWN = -1
"""In place of the row of an entry that names no patch."""
_WAYS = (
    "by their last three names", "by folder and file name", "by file name",
    "by their last three names without endings", "by folder and file name without endings",
    "by file name without endings",
    "by their last three names, whatever their case", "by folder and file name, whatever their case",
    "by file name, whatever its case",
)  # fmt: skip


def plain(path: str) -> str:
    """A path without detours, its accents in the form that most systems write them in."""
    return unicodedata.normalize("NFC", os.path.normpath(path))


def look_up(file: Path, entries: Sequence[str], paths: Iterable[str], root: str, what: str) -> NDArray[np.int64]:
    r"""The row that each entry of a list means, `UNKNOWN` for none: int64 [N].

    Entries are paths, absolute, relative to `root` or to the list's own folder. Where none of them is that of a patch,
    ends of paths are compared: the last three names, folder and file name, or the file name alone; with its ending, or
    where none fits with it, without, or without and in any case. The first of these ways that finds a patch is taken
    for all entries, and said: a looser one for the rest could take a patch for another of its name. `\` is read as `/`.

    Args:
        file: the list.
        entries: as they are written there.
        paths: of all patches, absolute or relative to `root`.
        root: the folder of the patches; "" where there is none.
        what: the setting that names the list, for messages.

    Raises:
        DataError: no entry names a patch, or one could name several.
    """
    written = [entry.strip().strip("\"'").replace("\\", "/") for entry in entries]
    known = [plain(os.path.join(root, path)) for path in paths]
    rows = {path: row for row, path in enumerate(known)}
    for folder in dict.fromkeys((root, str(file.parent))):
        found = [rows.get(plain(os.path.join(folder, entry)), UNKNOWN) for entry in written]
        if any(row != UNKNOWN for row in found):
            return np.array(found, dtype=np.int64)
    looser = (_with_ending, _without_ending, _in_any_case)
    for way, (written_as, count) in zip(_WAYS, product(looser, (3, 2, 1)), strict=True):
        by_end: dict[str, list[int]] = {}
        for row, path in enumerate(known):
            by_end.setdefault(_end(written_as(path), count), []).append(row)
        ends = [_end(written_as(entry), count) for entry in written]
        meant = [by_end.get(end, [UNKNOWN]) for end in ends]
        if all(rows_of == [UNKNOWN] for rows_of in meant):
            continue
        if several := next((end for end, rows_of in zip(ends, meant, strict=True) if len(rows_of) > 1), None):
            text = f"{what}: {file} names '{several}', which {len(by_end[several]):,} patches are called"
            raise DataError(text, "write paths with their folders")
        once(logging.INFO, f"{file}: patches are found {way}")
        return np.array([rows_of[0] for rows_of in meant], dtype=np.int64)
    example = next((entry[:_SHOWN] for entry in written if entry), "")
    hint = f"paths are absolute or relative to {root}" if root else "names are those of the store's index"
    raise DataError(f"{what}: none of the {len(written):,} entries of {file} is a patch; the first: {example}", hint)


def _end(path: str, count: int) -> str:
    """The last names of a path: "A/1.png" of "x/A/1.png"."""
    return "/".join(path.split("/")[-count:])


def _with_ending(path: str) -> str:
    return plain(path)


def _without_ending(path: str) -> str:
    path = plain(path)
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{name.rpartition('.')[0] or name}"


def _in_any_case(path: str) -> str:
    """Without ending and in one case, as systems see names that do not tell cases apart."""
    return _without_ending(path).casefold()
