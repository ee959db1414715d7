"""An engine of processes of this machine: what they are given, what of them dies, and what stays behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import small_tasks

from landsift import engine
from landsift.engine import Engine, WorkerLostError
from landsift.runtime.threads import share

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")


@pytest.fixture(scope="module")
def two() -> Iterator[Engine]:
    """Two processes, which find the functions of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        with engine.open(workers=2) as e:
            list(e.unordered(small_tasks.square, range(2)))  # for a single task no process is started
            yield e


def below(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def until(happened: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_tasks_run_in_processes_of_their_own_that_share_the_cores(two):
    pids = {pid for _, pid in two.unordered(small_tasks.process, range(20))}
    assert os.getpid() not in pids
    assert pids <= {process.pid for process in below(os.getpid())}
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
    found = dict(two.unordered(small_tasks.environment, names))
    assert found == {name: os.environ.get(name) for name in names} | {"OMP_NUM_THREADS": share(2)}


def test_temporary_files_of_the_processes_lie_where_they_are_deleted_and_compiled_networks_where_they_are_kept(two):
    """The processes are ended without time to delete what they and libraries have made."""
    names = ["TMPDIR", "TORCHINDUCTOR_CACHE_DIR"]
    found = dict(two.unordered(small_tasks.environment, names))
    assert Path(str(found["TMPDIR"])).parent == Path(tempfile.gettempdir())
    assert "landsift-engine-" in str(found["TMPDIR"])
    assert "landsift-engine-" not in str(found["TORCHINDUCTOR_CACHE_DIR"])


def test_all_ports_are_of_this_machine_alone(two):
    list(two.unordered(small_tasks.square, range(2)))
    ours = [psutil.Process(), *below(os.getpid())]
    listening = [c.laddr.ip for p in ours for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert listening
    assert set(listening) <= {"127.0.0.1", "::1"}


def test_what_a_killed_process_was_at_is_done_by_another(two, tmp_path):
    flags = [str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "c")]
    assert sorted(item for item, _ in two.unordered(small_tasks.killed_once, flags)) == flags


@pytest.mark.slow
def test_what_kills_every_process_is_named(two):
    with pytest.raises(WorkerLostError, match=r"shard 7: the worker that ran it died, 4 times; .* ended by SIGKILL"):
        list(two.unordered(small_tasks.always_killed, [7], name="shard {}".format))
    assert list(two.unordered(small_tasks.square, [3])) == [(3, 9)]


@pytest.mark.slow
def test_the_process_that_watches_the_workers_is_started_again(two, caplog):
    list(two.unordered(small_tasks.square, [3]))
    next(p for p in psutil.Process().children() if "landsift.engine.nannies" in p.cmdline()).kill()
    assert dict(two.unordered(small_tasks.square, range(10))) == {n: n * n for n in range(10)}
    assert "starting them again" in caplog.text


@pytest.mark.slow
def test_each_process_computes_in_the_threads_that_it_is_given(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    with engine.open(workers=2, threads=2) as e:
        assert {n for _, n in e.unordered(small_tasks.torch_threads, range(2))} == {2}


PROGRAM = """
import sys
from landsift import engine
from landsift.runtime import interruption
import small_tasks
interruption.end_on_signals()
with interruption.interruptible("stopped"), engine.open(workers=2) as e:
    list(e.unordered(small_tasks.ticks, sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, -2), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_signal_ends_all_within_seconds_and_leaves_nothing(tmp_path, number, status):
    """Even where the process has no time to end the others."""
    files = [tmp_path / "a", tmp_path / "b"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM, *map(str, files)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True) as client:
        try:
            until(lambda: all(file.exists() for file in files))
            others = below(client.pid)
            assert len(others) >= 3
            began = time.monotonic()
            client.send_signal(number)
            ended = client.wait(20)
        finally:
            client.kill()
    assert ended == status
    until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in others), 10)
    assert time.monotonic() - began < 15
    if number != signal.SIGKILL:  # which leaves no time for a folder of temporary files
        assert [path.name for path in tmp_path.iterdir() if path not in files] == []
