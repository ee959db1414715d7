"""Signals that end a process of landsift's own, and interrupts."""

import asyncio
import contextlib
import signal
import subprocess
import sys

import pytest

from landsift.runtime import interruption
from landsift.runtime.interruption import interruptible

PROGRAM = """
import os, signal
from landsift.runtime.interruption import Terminated, end_on_signals
{before}
end_on_signals()
try:
    try:
        os.kill(os.getpid(), signal.{name})
    except Terminated as ended:
        print(ended.number.name, ended.code)
        for number in (signal.SIGTERM, signal.{name}):  # while what is half done is cleared away
            os.kill(os.getpid(), number)
        raise
finally:
    print("cleared")
"""


def ended(name, before=""):
    code = PROGRAM.format(name=name, before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.split()


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGUSR1", 138), ("SIGUSR2", 140), ("SIGHUP", 129)])
def test_the_first_signal_ends_it_with_its_status_and_no_other_cuts_the_cleaning_short(name, status):
    default = f"signal.signal(signal.{name}, signal.SIG_DFL)"  # whatever the tests were started with
    assert ended(name, default) == (status, [name, str(status), "cleared"])


def test_what_is_ignored_stays_so():
    """As nohup has a closed terminal's signal ignored."""
    assert ended("SIGHUP", "signal.signal(signal.SIGHUP, signal.SIG_IGN)") == (0, ["cleared"])


def interrupt():
    signal.raise_signal(signal.SIGINT)


def test_a_second_interrupt_does_not_cut_short_what_the_first_has_begun(caplog):
    in_order = []
    before = signal.getsignal(signal.SIGINT)

    def work() -> None:
        try:
            interrupt()
        finally:
            interrupt()
            interrupt()
            in_order.append(True)

    with pytest.raises(KeyboardInterrupt, match="all in order"), interruptible("all in order"), interruptible("inner"):
        work()
    assert in_order == [True]
    assert caplog.messages == ["already stopping; what was trained is kept"] * 2
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_that_somebody_has_swallowed_can_be_given_again(monkeypatch):
    monkeypatch.setattr(interruption, "AGAIN", 0.0)

    def work() -> None:
        with contextlib.suppress(BaseException):
            interrupt()
        interrupt()

    with pytest.raises(KeyboardInterrupt), interruptible():
        work()


def test_a_handler_of_the_callers_stays_and_one_of_an_event_loop_does_not():
    """A loop that waits for this code can do nothing about the interrupt before it returns."""
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(True))

    async def in_a_loop() -> None:
        with pytest.raises(KeyboardInterrupt), interruptible():
            interrupt()

    try:
        with interruptible():
            interrupt()
        assert heard == [True]
        asyncio.run(in_a_loop())
        assert heard == [True]
        interrupt()
        assert heard == [True, True]
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell's background job has it
        with interruptible():
            interrupt()
    finally:
        signal.signal(signal.SIGINT, before)
