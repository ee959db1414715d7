"""A store to look into, without a run: what a run has decoded already, else decoded for the moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from landsift.config import DataConfig, cache_folder
from landsift.data.decoding.wanted import Taken
from landsift.data.sources.base import content_fingerprint
from landsift.data.store.patch_store import PatchStore, build_store
from landsift.pipeline.cache import keys, locks, results
from landsift.pipeline.stage_table import DECODE
from landsift.runs import STORE_META
from landsift.runtime.whole import beside, writing


@contextmanager
def opened(data: DataConfig, least_classes: int = 2, taken: Taken | None = None) -> Iterator[PatchStore]:
    """Open the patches of `data.source`; what is decoded for it lies in the cache folder and is deleted in the end.

    Args:
        data: The source, which may be a store's folder as well, and how its patches are decoded.
        least_classes: As of `build_store`.
        taken: As of `build_store`; not of a store, which is as it is.

    Raises:
        DataError: the source or the store cannot be used.
        RunError: the cache folder cannot be written.
    """
    if (Path(data.source).expanduser() / STORE_META).is_file():
        yield PatchStore.open(data.source)
        return
    settings = keys.store_settings(data)
    folder = results.place(DECODE, keys.store_key(data, content_fingerprint(data, taken)), local=True)
    with locks.using(cache_folder()):
        if not results.damage(folder):
            yield PatchStore.open(folder)
            return
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with beside(folder) as partial:
        yield build_store(settings, partial, least_classes, taken)
