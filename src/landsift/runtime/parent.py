"""A process that ends with the one that started it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time

PR_SET_PDEATHSIG = 1
LEFT_ALONE = 2.0
"""Seconds between looks whether the process that started this one still lives."""


def end_with_parent() -> None:
    """End this process when the one that started it is gone, so that it does not write on into a folder of others.

    Linux does it at once; elsewhere a thread looks every few seconds.
    """
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):  # no libc, or one without prctl
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LEFT_ALONE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
