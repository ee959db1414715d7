"""Signals that end work: what is half done is put in order first.

SIGTERM is what systems send that take a machine back. Batch systems announce the end of a job's time with SIGUSR1 or
SIGUSR2 where they are asked to, and a terminal that is closed sends SIGHUP. SIGINT is a person's Ctrl+C, or a
notebook's Stop: it ends the work, but not the process, which may be somebody else's.
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

logger = logging.getLogger("landsift")

STATUS = 128 + signal.SIGTERM
"""Exit status of a process that SIGTERM ended, as shells give it."""
ENDING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
"""What ends a run; all but the first only where they would end the process anyway (nohup has SIGHUP ignored)."""
AGAIN = 40.0
"""Seconds after which an interrupt is raised once more, because a library may have swallowed the one before.

Longer than the 30 s that torch's agent gives its processes to end in.
"""


class Terminated(SystemExit):
    """One of `ENDING` has come, or SIGINT. Who lets it pass leaves Python with its status and without a traceback."""

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


@contextlib.contextmanager
def interruptible(said: str = "") -> Iterator[None]:
    """Have SIGINT end what is done in here at once, in order, and raise KeyboardInterrupt when all is in order.

    asyncio would wait for its task to yield, Lightning would ignore all interrupts from then on, and a second one would
    cut short what the first has begun: it would leave processes at work, and a notebook lives on with them. So the
    first one is raised as `Terminated`, and those after it are answered.

    A handler of the caller's stays, unless it is there for an event loop that runs in this thread, as in a notebook:
    that loop does nothing before its code returns.

    Args:
        said: what the KeyboardInterrupt says.
    """
    before = signal.getsignal(signal.SIGINT)
    theirs = before is not signal.default_int_handler and not (callable(before) and loop_waits())
    if threading.current_thread() is not threading.main_thread() or isinstance(before, _Interrupts) or theirs:
        yield
        return
    signal.signal(signal.SIGINT, _Interrupts())
    try:
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
    except Terminated as ended:
        signal.signal(signal.SIGINT, before)  # it may have come while that was being done
        if ended.number == signal.SIGINT:
            raise KeyboardInterrupt(said) from None
        raise


def loop_waits() -> bool:
    """Whether this code was called from within an event loop of this thread, which waits for it to return."""
    asyncio: Any = sys.modules.get("asyncio")  # who has not imported it runs no loop; importing it takes a while
    return asyncio is not None and asyncio._get_running_loop() is not None


class _Interrupts:
    """A handler of SIGINT."""

    def __init__(self) -> None:
        self._raised = -math.inf

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._raised < AGAIN:
            logger.warning("already stopping; what was trained is kept")
            return
        self._raised = now
        raise Terminated(number)
