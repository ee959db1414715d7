"""How the C library's allocator treats the large tensors that come and go with every batch."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h
NEVER = -1
PAD = 2**26


def keep_freed_memory() -> bool:
    """Have freed memory kept for the next batch instead of given back to the system; for the whole process.

    glibc maps every large block anew and unmaps it when it is freed, so that each batch pays for the zeroing of all
    its activations' pages, page by page: a third of the time of training MobileNetV2 at 128 pixels
    (benchmarks/memory_kept.py, docs/results-speed.md). The process then keeps the memory of its largest moment until it
    ends. Blocks that another thread than the main one takes are still mapped where they are larger than 64 MiB.

    Returns:
        Whether it was done; other C libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, PAD))
    done = [mallopt(name, value) == 1 for name, value in settings]
    return all(done)
