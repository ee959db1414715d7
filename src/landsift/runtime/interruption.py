"""Signals with which a machine is taken back: work is put in order, then the process ends.

SIGTERM is what systems send. Batch systems announce the end of a job's time with SIGUSR1 or SIGUSR2 where they are
asked to, and a terminal that is closed sends SIGHUP.
"""

from __future__ import annotations

import signal
from types import FrameType

STATUS = 128 + signal.SIGTERM
"""Exit status of a process that SIGTERM ended, as shells give it."""
ENDING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
"""What ends a run; all but the first only where they would end the process anyway (nohup has SIGHUP ignored)."""


class Terminated(SystemExit):
    """One of `ENDING` has come. Who lets it pass leaves Python with its status and without a traceback."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(128 + number)
        self.number = signal.Signals(number)


def ending_signals() -> list[signal.Signals]:
    """Those of `ENDING` that nobody else has a handler for."""
    return [s for s in ENDING if s == signal.SIGTERM or signal.getsignal(s) in (signal.SIG_DFL, _end)]


def end_on_signals() -> None:
    """Have the signals raise `Terminated` in the main thread, once; for a process of landsift's own."""
    for number in ending_signals():
        signal.signal(number, _end)


def _end(number: int, _frame: FrameType | None) -> None:
    for other in ENDING:
        if signal.getsignal(other) is _end:
            signal.signal(other, signal.SIG_IGN)  # cleaning up is not to be cut short; SIGKILL still does
    raise Terminated(number)


class Notice:
    """Whether such a signal has come, and which: for work that ends at a moment of its own choosing."""

    def __init__(self) -> None:
        self.given = False
        self.number: int = signal.SIGTERM

    def note(self, number: int = signal.SIGTERM, _frame: FrameType | None = None) -> None:
        """Take note of it; a signal handler."""
        self.given = True
        self.number = number
