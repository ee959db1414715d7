"""Entries answered by a model, some at a time: the next ones are read and decoded while it computes.

Memory stays the same however many there are.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landsift.data.decoding.decode import quiet_pillow
from landsift.data.decoding.file_bands import Place, Seen
from landsift.data.decoding.patches import Decoded, Patches
from landsift.data.decoding.unreadable import Reason, UnreadableError
from landsift.data.unlabelled.archives import Archives
from landsift.data.unlabelled.entries import Entry, is_url
from landsift.data.unlabelled.reading import as_file, read_entry
from landsift.evaluation.told import Told
from landsift.image_sizes import Size
from landsift.models.loading import AnyPredictor
from landsift.models.predictor import answers
from landsift.runtime.parallel import cores

CHUNK = 256
"""Patches that are answered at a time, fewer of large ones."""
AHEAD = 2
"""Chunks that are read and decoded ahead of the model."""
TASK = 16
"""Entries that a thread decodes at a time; one alone costs more to hand over than to decode."""
REQUESTS = 16
"""Threads where entries come from an object store, which mostly wait."""
_CHUNK_BYTES = 2**26
_RAW_BYTES = 2**28  # read ahead of what is decoded; one file may be as large

Read = tuple[Seen, Decoded] | Reason
"""What an entry says of itself and its patch at the size of the model's, or the reason why not."""


class Answered(NamedTuple):
    """What a model makes of some entries, of which n could be read."""

    paths: list[str]
    """Of those, n."""
    images: NDArray[Any]
    """[n, H, W, C]"""
    probabilities: NDArray[np.float32]
    """[n, K]"""
    distances: NDArray[np.float64]
    """[n]"""
    places: list[Place]
    unreadable: list[tuple[str, Reason]]
    """Paths of the others, and why."""
    seconds: float
    """That the model took."""

    @property
    def entries(self) -> int:
        """How many there were."""
        return len(self.paths) + len(self.unreadable)


@dataclass
class Loaded:
    """A model, and what reads files for it.

    Attributes:
        predictor: the model.
        patches: that reads files.
        folder: from which relative paths go; "": the working folder.
        archives: that reads members of archives.
    """

    predictor: AnyPredictor
    patches: Patches
    folder: str = ""
    archives: Archives = field(default_factory=Archives)

    @property
    def size(self) -> Size:
        """Of the model's patches."""
        return self.predictor.description.patch_size

    @property
    def at_a_time(self) -> int:
        """Patches in a chunk."""
        return chunk_of(self.patches, self.size)


def chunk_of(patches: Patches, size: Size) -> int:
    """How many patches of a size are in a chunk."""
    each = len(patches.spec) * patches.spec.numpy_dtype.itemsize * math.prod(size)
    return max(1, min(CHUNK, _CHUNK_BYTES // each))


def in_chunks(loaded: Loaded, entries: Iterable[Entry], told: Told) -> Iterator[Answered]:
    """The answers to entries in their order; what is to be said of them goes to `told`.

    Raises:
        DataError: an archive or an object store cannot be read any more.
        ModelError: the model cannot answer.
    """
    each = iter(entries)
    first = list(islice(each, loaded.at_a_time))
    waiting: deque[Future[list[Future[list[Read]]]]] = deque()
    chunks: deque[list[Entry]] = deque()
    remote = any(is_url(entry.path) and not entry.archive for entry in first)
    with quiet_pillow(), ExitStack() as closes:
        pool = ThreadPoolExecutor(REQUESTS if remote else cores(), "decoding")
        reader = ThreadPoolExecutor(1, "reading")
        room = _Room(_RAW_BYTES)
        for executor in (pool, reader):
            closes.callback(executor.shutdown, cancel_futures=True)
        closes.callback(room.close)  # first of all, so that nobody waits for it

        def begin(chunk: list[Entry]) -> list[Future[list[Read]]]:
            """Have a chunk decoded; members of archives are read here, one after another."""
            begun = []
            for some in _tasks(chunk):
                room.take(_in_memory(some))
                raws = [_member(loaded, entry) for entry in some]
                begun.append(pool.submit(_decoded, loaded, some, raws, room))
            return begun

        while True:
            while len(waiting) <= AHEAD and first:
                waiting.append(reader.submit(begin, first))
                chunks.append(first)
                first = list(islice(each, loaded.at_a_time))
            if not waiting:
                return
            found = [read for task in waiting.popleft().result() for read in task.result()]
            yield _answered(loaded, chunks.popleft(), found, told)


def _answered(loaded: Loaded, chunk: Sequence[Entry], found: Sequence[Read], told: Told) -> Answered:
    paths, images, places = list[str](), list[NDArray[Any]](), list[Place]()
    unreadable: list[tuple[str, Reason]] = []
    for entry, each in zip(chunk, found, strict=True):
        if isinstance(each, Reason):
            unreadable.append((entry.path, each))
            continue
        seen, read = each
        told.add(entry.path, seen, loaded.patches, loaded.size)
        paths.append(entry.path)
        images.append(read.array)
        places.append(read.place)
    if not images:
        none = np.empty((0, len(loaded.predictor.classes)), dtype=np.float32)
        stacked = np.empty((0, *loaded.size, len(loaded.patches.spec)), dtype=loaded.patches.spec.numpy_dtype)
        return Answered(paths, stacked, none, np.empty(0), places, unreadable, 0.0)
    stacked = np.stack(images)
    begun = time.perf_counter()
    probabilities, distances = answers(loaded.predictor, stacked)
    return Answered(paths, stacked, probabilities, distances, places, unreadable, time.perf_counter() - begun)


def _tasks(chunk: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Entries that are decoded together: a few, and fewer where they are large."""
    some: list[Entry] = []
    for entry in chunk:
        if some and (len(some) == TASK or _in_memory([*some, entry]) > _RAW_BYTES // 8):
            yield some
            some = []
        some.append(entry)
    yield some


def _in_memory(entries: Sequence[Entry]) -> int:
    """Bytes that are read before they are decoded: those of members of archives."""
    return sum(entry.size for entry in entries if entry.archive)


def _member(loaded: Loaded, entry: Entry) -> bytes | Reason | None:
    """The bytes of a member of an archive; None of what is read where it is decoded."""
    if not entry.archive:
        return None
    try:
        return loaded.archives.read(entry.within(loaded.folder))
    except UnreadableError as error:
        return error.reason


def _decoded(loaded: Loaded, entries: Sequence[Entry], raws: list[bytes | Reason | None], room: _Room) -> list[Read]:
    found: list[Read] = []
    for i, entry in enumerate(entries):
        given, raws[i] = raws[i], None
        if isinstance(given, Reason):
            found.append(given)
            continue
        try:
            there = entry.within(loaded.folder)
            raw = read_entry(there) if given is None else given
            with as_file(there, raw) as path:
                found.append(loaded.patches.look_and_read(path, loaded.size, raw))
        except UnreadableError as error:
            found.append(error.reason)
    room.give(_in_memory(entries))
    return found


class _Room:
    """Bytes that may lie in memory at a time; more than that only where nothing else does."""

    def __init__(self, size: int) -> None:
        self._size, self._used, self._closed = size, 0, False
        self._changed = threading.Condition()

    def take(self, count: int) -> None:
        """Wait until there is room; raises RuntimeError where nobody reads on."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._used or self._used + count <= self._size)
            if self._closed:
                raise RuntimeError("ended")
            self._used += count

    def give(self, count: int) -> None:
        """Let others have it."""
        with self._changed:
            self._used -= count
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
