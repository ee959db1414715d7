"""Work on many small files with all cores: Pillow, hashing and reading let go of the interpreter lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from landsift.runtime.threads import cores as cores

T = TypeVar("T")

CHUNK = 64
"""Rows per task; with one row per task handing over takes longer than decoding a small JPEG."""


def map_rows(function: Callable[[int], T], rows: range | NDArray[np.int64], chunk: int = CHUNK) -> Iterator[T]:
    """`function` of each row, in order; at most two chunks per core wait to be taken."""

    def work(start: int) -> list[T]:
        return [function(row) for row in rows[start : start + chunk]]

    waiting: deque[Future[list[T]]] = deque()
    with ThreadPoolExecutor(cores()) as pool:
        try:
            for start in range(0, len(rows), chunk):
                waiting.append(pool.submit(work, start))
                if len(waiting) >= 2 * cores():
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
