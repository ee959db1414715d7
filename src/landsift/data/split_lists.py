"""A split that lists name: `data.split.lists`, a file for each part, as official ones of data sets are published."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from landsift.config import SplitLists
from landsift.data.decoding.decode import IMAGE_SUFFIXES
from landsift.data.path_lookup import UNKNOWN, look_up
from landsift.data.sources.table import TABLE_SUFFIXES, read_names
from landsift.errors import DataError
from landsift.runtime.notices import once

if TYPE_CHECKING:
    import pandas as pd

    from landsift.data.store.patch_store import PatchStore

_KEY = "data.split.lists"
_MOST_BYTES = 2**30
_SHOWN = 3
_ENDINGS = "|".join(map(re.escape, sorted(IMAGE_SUFFIXES)))
_NAMES = re.compile(rf"(?:{_ENDINGS})(?:[\s,;]|$)", re.IGNORECASE)
_FOLLOWED = re.compile(rf"(.+?(?:{_ENDINGS}))[\s,;]+\S.*", re.IGNORECASE)
"""A line that goes on after the name of an image."""


def listed_split(store: PatchStore, lists: SplitLists) -> pd.Series:
    """What the lists say of each patch of a store, in the store's order; missing where none names the patch.

    Entries that are no patches of the store, because it holds a part of the data set, are counted and said, and so are
    those that a list repeats.

    Args:
        store: the patches.
        lists: a file for each part: a path or name of a file a line, or CSV or Parquet tables with a column of them.

    Raises:
        DataError: a list cannot be read, is empty, names no patch of the store, or one that another list names too.
    """
    import pandas as pd

    paths, root = store.column("path"), store.info["root"] or ""
    split = np.full(len(store), None, dtype=object)
    for part, file in lists:
        if file is None:
            continue
        entries = read_list(file)
        rows = look_up(file, entries, paths, root, f"{_KEY}.{part}")
        found = np.unique(rows[rows != UNKNOWN])
        if repeated := int(np.count_nonzero(rows != UNKNOWN)) - len(found):
            once(logging.WARNING, f"{file} names {_patches(repeated)} more than once")
        if strange := int(np.count_nonzero(rows == UNKNOWN)):
            first = entries[int(np.argmax(rows == UNKNOWN))]
            text = f"{strange:,} of the {len(entries):,} entries of {file} are no patches of the data"
            once(logging.WARNING, f"{text}; the first: {first[:200]}")
        both = found[[value is not None for value in split[found]]]
        if len(both):
            other, named = split[both[0]], ", ".join(paths.iloc[both[:_SHOWN]])
            raise DataError(
                f"{_KEY}: {_patches(len(both))} in the lists of both {other} and {part}: {named}",
                "a patch belongs to one part: take them out of one list",
            )
        split[found] = part
    series = pd.Series(split, dtype=object)
    if missing := int(series.isna().sum()):
        once(logging.WARNING, f"{missing:,} of {len(series):,} patches are in no part of the split: no list names them")
    if store.column("split").notna().any():
        once(logging.INFO, f"the split is taken from {_KEY}; that of the source is passed over")
    return series


def read_list(file: Path) -> list[str]:
    """The entries of a list, as they are written: lines of text that are not blank, or a table's column of files.

    Raises:
        DataError: it cannot be read, or is empty.
    """
    if file.suffix.lower() in TABLE_SUFFIXES:
        return read_names(file)
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise DataError(f"{_KEY}: {file} is larger than 1 GiB", "is it a list of patches?")
        raw = file.read_bytes()
        encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        lines = [line.strip() for line in raw.decode(encoding).splitlines()]
    except (OSError, UnicodeError) as error:
        reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "it is no text in UTF-8"
        hint = "give a text file with a path a line, or a CSV or Parquet table"
        raise DataError(f"{_KEY}: cannot read {file}: {reason}", hint) from None
    if not any(lines):
        raise DataError(f"{_KEY}: {file} is empty", "a list has the path or name of a file on each line")
    entries = [line for line in lines if line]
    followed = [_FOLLOWED.match(line) for line in entries]
    if all(followed[1:]) and (followed[0] or len(entries) > 1):  # by a class or its number; the first may be a header
        if any(_NAMES.search(line[found.end(1) :]) for line, found in zip(entries, followed, strict=True) if found):
            raise DataError(f"{_KEY}: {file} has several names of images on a line", "write one on each line")
        once(logging.INFO, f"{file}: of each line the name of a file is read, and what follows it is not")
        return [found[1] for found in followed if found]
    return entries


def _patches(count: int) -> str:
    return f"{count:,} patch" if count == 1 else f"{count:,} patches"
