"""Places of patches from a file beside them: `data.locations`, a table of paths or names of files with lon and lat."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from landsift.data.geodesy import Places, known
from landsift.data.path_lookup import UNKNOWN, look_up
from landsift.data.sources.table import TABLE_SUFFIXES, read_places
from landsift.errors import DataError
from landsift.runtime.notices import once

if TYPE_CHECKING:
    from landsift.data.sources.records import Records

_KEY = "data.locations"


def places_from(file: Path, records: Records, root: Path | None) -> Places:
    """Longitude and latitude of each record, [N, 2], NaN where the file does not say.

    Args:
        file: CSV or Parquet, with a column `path` (or `filename`, `file`, `image`) and `lon, lat` or `x, y, crs`.
        records: the patches.
        root: the folder that their paths are relative to.

    Raises:
        DataError: the file cannot be read, a place is none, it names no patch, or one patch at two places.
        MissingExtraError: places are projected, and rasterio is not installed.
    """
    if file.suffix.lower() not in TABLE_SUFFIXES:
        raise DataError(f"{_KEY}: {file} is neither CSV nor Parquet", "give a table with columns path, lon and lat")
    if not file.is_file():
        raise DataError(f"{_KEY}: {file} does not exist", "give the table's path")
    names, places = read_places(file)
    paths = (records.path(row) for row in range(len(records)))
    rows = look_up(file, names, paths, str(root or ""), _KEY)
    entries = np.flatnonzero(rows != UNKNOWN)
    found = np.full((len(records), 2), np.nan)
    found[rows[entries]] = places[entries]  # of entries that name one patch, the last
    other = entries[~_same(found[rows[entries]], places[entries])]
    if len(other):
        text = f"{file} has {records.path(int(rows[other[0]]))} at two places"
        raise DataError(f"{_KEY}: {text}", "keep one row per patch")
    if strange := len(rows) - len(entries):
        once(logging.INFO, f"{file}: {strange:,} of its {len(rows):,} entries are no patches of the data")
    if missing := int(np.count_nonzero(~known(found))):
        text = f"{file} gives no location for {missing:,} of {len(found):,} patches"
        once(logging.WARNING, text)
    return found


def _same(a: Places, b: Places) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(((a == b) | (np.isnan(a) & np.isnan(b))).all(axis=1))


def content_of(file: Path) -> str:
    """SHA-256 (hex) of the file; raises DataError where it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{_KEY}: cannot read {file}: {reason}", "give the table's path") from None
