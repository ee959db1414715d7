"""A split that a file names: a table that says of each patch, by its path, whether it is in train, val or test."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift.config import SplitConfig
from landsift.data.path_lookup import plain
from landsift.data.sources.table import TABLE_SUFFIXES, read_split
from landsift.errors import DataError
from landsift.runtime.notices import once

if TYPE_CHECKING:
    import pandas as pd

    from landsift.data.store.patch_store import PatchStore


def named_split(store: PatchStore, file: Path) -> pd.Series:
    """What a table says of each patch of a store, in the store's order; missing where it does not name the patch.

    Paths are absolute, or relative to the folder of the patches or, where none of them leads to a patch from there, to
    the table's own.

    Args:
        store: the patches.
        file: CSV or Parquet, with the columns `path` and `split`.

    Raises:
        DataError: the table cannot be read, names a patch twice or one that the store does not have. One that could not
            be decoded, or is left out for another reason, is passed over and counted.
    """
    import pandas as pd

    if file.suffix.lower() not in TABLE_SUFFIXES:
        hint = "give a table with columns path and split"
        raise DataError(f"data.split.rows: {file} is neither CSV nor Parquet", hint)
    said = read_split(file)
    known = pd.Index([plain(path) for path in store.column("path")])
    root = store.info["root"] or ""
    named = _named(said, root)
    if not named.index.isin(known).any() and (beside := _named(said, str(file.parent))).index.isin(known).any():
        named = beside
    if named.index.has_duplicates:
        twice = named.index[named.index.duplicated()][0]
        raise DataError(f"data.split.rows: {file} names the patch {twice} twice", "keep one row per patch")
    strange = named.index[~named.index.isin(known)]
    undecoded = strange.isin([plain(entry["path"]) for entry in store.skipped])
    if not undecoded.all():
        hint = f"paths are absolute or relative to {root}" if root else "paths are those of the store's index"
        unknown = strange[~undecoded]
        text = f"names {_patches(len(unknown))} that the data does not have; the first: {unknown[0]}"
        raise DataError(f"data.split.rows: {file} {text}", hint)
    if undecoded.any():
        once(logging.WARNING, f"{file} names {_patches(len(strange))} left out of the data, and so of the split")
    split = pd.Series(named.reindex(known).to_numpy(), dtype=object)
    if missing := int(split.isna().sum()):
        text = f"{missing:,} of {len(split):,} patches are in no part of the split: {file} does not name them"
        once(logging.WARNING, text)
    if store.column("split").notna().any():
        once(logging.INFO, f"the split is taken from {file}; that of the source is passed over")
    return split


def known_by_content(split: SplitConfig) -> dict[str, Any]:
    """The settings of a split that are used, files by ending and SHA-256 of their content (hex) in place of names.

    Raises:
        DataError: a file cannot be read.
    """
    settings = split.model_dump(mode="json")
    if split.kind != "spatial":
        del settings["block_km"], settings["buffer_km"]
    if split.folds is None:
        del settings["folds"], settings["fold"]
    if split.rows is not None:
        settings["rows"] = _content("data.split.rows", split.rows)
    del settings["lists"]
    if split.lists is not None:
        files = {part: file for part, file in split.lists if file is not None}
        settings["lists"] = {part: _content(f"data.split.lists.{part}", file) for part, file in files.items()}
    return settings


def _content(key: str, file: Path) -> list[str]:
    try:
        # The ending says how it is read.
        return [file.suffix.lower(), hashlib.sha256(file.read_bytes()).hexdigest()]
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{key}: cannot read {file}: {reason}", "give the file's path") from None


def _named(said: dict[str, str], folder: str) -> pd.Series:
    """The split by absolute path, of paths relative to a folder."""
    import pandas as pd

    return pd.Series(said.values(), [plain(os.path.join(folder, path)) for path in said], dtype=object)


def _patches(count: int) -> str:
    return f"{count:,} patch" if count == 1 else f"{count:,} patches"
