"""Signals that end a process of landsift's own."""

import subprocess
import sys

import pytest

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
