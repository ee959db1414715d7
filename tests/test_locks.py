"""Locks between processes: held by one or shared, freed by a kill, and clear words where a file system has none."""

import errno
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from landsift.errors import RunError
from landsift.runtime.locks import Lock, held, waited_for

REFUSAL = RunError("it is taken", "wait")


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "locks" / "one.lock"


@pytest.fixture
def holder(file):
    """A process that holds the lock until it is killed."""
    code = "import sys, time\nfrom pathlib import Path\nfrom landsift.runtime.locks import Lock\n"
    code += "assert Lock(Path(sys.argv[1]), shared=len(sys.argv) > 2).take()\nprint(flush=True)\ntime.sleep(600)"
    started = []

    def start(*shared: str) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-c", code, str(file), *shared], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"\n"
        return process

    yield start
    for each in started:
        each.kill()
        each.wait()
        each.stdout.close()


@pytest.mark.parametrize("theirs", [False, True])
@pytest.mark.parametrize("ours", [False, True])
def test_one_has_it_alone_or_any_number_share_it(file, holder, theirs, ours):
    holder(*["shared"] * theirs)
    lock = Lock(file, shared=ours)
    assert lock.take() is (theirs and ours)
    if theirs and ours:
        lock.release()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_ended_holds_nothing(file, holder, number):
    process = holder()
    with pytest.raises(RunError, match="it is taken"), held(Lock(file), REFUSAL):
        pass
    process.send_signal(number)
    process.wait()
    with held(Lock(file), REFUSAL):
        pass


def test_a_process_that_was_forked_meanwhile_holds_nothing_of_it(file):
    lock = Lock(file)
    assert lock.take()
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    child.start()
    lock.release()
    with held(Lock(file), REFUSAL):
        pass
    child.kill()
    child.join()


def test_it_is_given_back_after_an_error_and_leaves_no_file(file):
    with pytest.raises(ZeroDivisionError), held(Lock(file), REFUSAL):
        raise ZeroDivisionError
    with held(Lock(file), REFUSAL):
        assert file.is_file()
    assert not file.exists()


def test_who_waits_is_told_once_and_gets_it(file, caplog):
    caplog.set_level("INFO", "landsift")
    lock = Lock(file)
    assert lock.take()
    timer = threading.Timer(0.5, lock.release)
    timer.start()
    with waited_for(Lock(file), "waiting for the other"):
        timer.join()
    assert caplog.messages == ["waiting for the other"]


def _count(file: Path, number: Path, times: int) -> None:
    for _ in range(times):
        lock = Lock(file)
        while not lock.take():
            time.sleep(0.0005)
        number.write_text(str(int(number.read_text()) + 1))
        lock.release()


def test_processes_that_take_turns_never_meet_although_each_takes_the_file_away(file, tmp_path):
    number = tmp_path / "number"
    number.write_text("0")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_count, args=(file, number, 150)) for _ in range(3)]
    for each in processes:
        each.start()
    for each in processes:
        each.join()
        assert each.exitcode == 0
    assert number.read_text() == "450"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_with_what_to_do(file, monkeypatch, code):
    """As network file systems answer without their lock service."""

    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(RunError, match=r"the file system of .*locks has no locks") as caught:
        Lock(file).take()
    assert "LANDSIFT_HOME" in caught.value.hint


def test_it_is_opened_as_a_network_file_system_needs_it(file):
    """There a lock that is shared must be opened for reading, and one that is not for writing."""
    for shared in (True, False):
        lock = Lock(file, shared=shared)
        assert lock.take()
        assert fcntl.fcntl(lock._opened, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
        lock.release()


def test_a_place_that_cannot_be_written_is_named(file):
    file.parent.write_text("no folder")
    with (
        pytest.raises(RunError, match=r"cannot write .*one\.lock: (File exists|Not a directory)"),
        held(Lock(file), REFUSAL),
    ):
        pass
