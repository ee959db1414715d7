"""The store that a run was trained from, as far as this machine may know it."""

from __future__ import annotations

import logging
from pathlib import Path

from landsift.config import cache_folder
from landsift.data.store.patch_store import PatchStore
from landsift.errors import LandsiftError
from landsift.runs import Run

logger = logging.getLogger("landsift")


def store_of_run(run: Run) -> PatchStore | None:
    """The run's store, if it lies in this machine's cache and holds what the run says that it was trained on.

    Who knows the content's fingerprint has had the content.
    """
    data = run.manifest.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("store"), str):
        return None
    folder = Path(data["store"])
    try:
        if not folder.resolve().is_relative_to(cache_folder().resolve()) or not folder.is_dir():
            return None
    except (OSError, ValueError, RuntimeError):  # no path, links in a circle
        return None
    try:
        store = PatchStore.open(folder)
    except LandsiftError as error:
        logger.info("the run's store: %s", error.message)
        return None
    return store if store.fingerprint == data.get("fingerprint") else None
