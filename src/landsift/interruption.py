"""SIGTERM, which a machine sends before it is taken back: work is put in order, then the process ends with 143."""

from __future__ import annotations

import signal
from types import FrameType

STATUS = 128 + signal.SIGTERM
"""Exit status of a process that SIGTERM ended, as shells give it."""


class Terminated(SystemExit):
    """SIGTERM has come. Who lets it pass leaves Python with status 143 and without a traceback."""

    def __init__(self) -> None:
        super().__init__(STATUS)


def end_on_sigterm() -> None:
    """Have SIGTERM raise `Terminated` in the main thread, once; for a process of landsift's own."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # cleaning up is not to be cut short; SIGKILL still does
        raise Terminated

    signal.signal(signal.SIGTERM, end)


class Notice:
    """Whether SIGTERM has come: for work that ends at a moment of its own choosing."""

    def __init__(self) -> None:
        self.given = False

    def note(self, _signal: int = signal.SIGTERM, _frame: FrameType | None = None) -> None:
        """Take note of it; a signal handler."""
        self.given = True
