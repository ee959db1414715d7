"""Workers that others have started: what is refused, and what becomes of tasks when client, worker or scheduler go."""

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import small_tasks

import landsift
from landsift import engine
from landsift.engine import EngineLostError, EngineOptions, WorkerLostError
from landsift.errors import RunError

pytestmark = pytest.mark.slow
PACKAGE = Path(landsift.__file__).parent


class Cluster:
    """A scheduler and workers, started by the commands that people use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []
        where = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
        self.scheduler = self._start("scheduler", *where, "--scheduler-file", str(self.file))
        until(self.file.exists)

    def worker(
        self, *options: str, source: Path = PACKAGE.parent, before: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        found = ["--scheduler-file", str(self.file), "--host", "127.0.0.1", "--local-directory", str(self.folder)]
        return self._start("worker", *found, *options, source=source, before=before)

    def _start(
        self, kind: str, *options: str, source: Path = PACKAGE.parent, before: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        path = os.pathsep.join([str(source), *filter(None, sys.path)])
        with (self.folder / f"{kind}-{len(self.processes)}.log").open("wb") as log:
            program = f"from distributed.cli.dask_{kind} import main; main()"
            command = [*before, sys.executable, "-c", program, *options]
            environment = os.environ | {"PYTHONPATH": path}
            self.processes.append(
                subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
            )
        return self.processes[-1]

    @property
    def options(self) -> EngineOptions:
        return EngineOptions(json.loads(self.file.read_text())["address"])

    def end(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(happened: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def cluster(tmp_path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.end()


def test_a_worker_computes_in_the_threads_that_it_was_started_with(cluster):
    cluster.worker("--nthreads", "2")
    with engine.open(str(cluster.file)) as e:
        assert {n for _, n in e.unordered(small_tasks.torch_threads, range(4))} == {2}


def test_another_landsift_is_refused_in_a_line(cluster, tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "other" / "landsift")
    (tmp_path / "other" / "landsift" / "version.py").write_text('__version__ = "0.0.7"\n')
    cluster.worker(source=tmp_path / "other")
    with (
        engine.open(str(cluster.file)) as e,
        pytest.raises(RunError, match=r"landsift 0\.0\.7 \(\w+\) there") as caught,
    ):
        list(e.unordered(small_tasks.square, range(2)))
    assert str(caught.value).count("\n") == 1


@pytest.mark.skipif(not shutil.which("unshare") or os.geteuid() != 0, reason="a mount of its own needs root")
def test_a_worker_with_another_folder_at_the_shared_path_is_refused_in_a_line(cluster, tmp_path):
    (tmp_path / "shared").mkdir()
    hidden = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs tmpfs "{tmp_path}/shared" && exec "$@"', "sh"]
    cluster.worker(before=hidden)
    with pytest.raises(RunError, match=f"it does not see {tmp_path}/shared"):
        until(lambda: engine.check(cluster.options, [tmp_path / "shared"]))
    assert list((tmp_path / "shared").iterdir()) == []


def test_a_worker_without_landsift_is_refused_in_a_line(cluster, tmp_path):
    (tmp_path / "none" / "landsift").mkdir(parents=True)
    (tmp_path / "none" / "landsift" / "__init__.py").write_text('raise ModuleNotFoundError("no", name="landsift")\n')
    cluster.worker(source=tmp_path / "none")
    with engine.open(str(cluster.file)) as e, pytest.raises(RunError, match="landsift"):
        list(e.unordered(small_tasks.square, range(2)))


def test_one_that_joins_later_and_is_another_landsift_is_left_out(cluster, tmp_path, caplog):
    caplog.set_level(logging.INFO, "landsift")
    shutil.copytree(PACKAGE, tmp_path / "other" / "landsift")
    (tmp_path / "other" / "landsift" / "version.py").write_text('__version__ = "0.0.7"\n')
    cluster.worker("--nthreads", "1")
    with engine.open(str(cluster.file)) as e:
        list(e.unordered(small_tasks.square, range(2)))
        cluster.worker("--nthreads", "1", source=tmp_path / "other")
        until(lambda: e.slots == 2)
        assert dict(e.unordered(small_tasks.square, range(30))) == {n: n * n for n in range(30)}
    assert "is left out: landsift 0.0.7" in caplog.text


def test_a_worker_that_needs_more_memory_than_it_has_is_ended_and_its_task_named(cluster):
    cluster.worker("--nthreads", "1", "--memory-limit", "500MiB")
    with engine.open(str(cluster.file)) as e, pytest.raises(WorkerLostError, match=r"shard 900: .* died, 4 times"):
        list(e.unordered(small_tasks.fills_memory, [900], name="shard {}".format))


def test_a_scheduler_that_is_lost_ends_the_work_with_a_message_and_the_workers_stop_writing(cluster, tmp_path):
    cluster.worker("--nthreads", "1")
    file = tmp_path / "ticks"
    with engine.open(str(cluster.file)) as e:
        running = e.submit(small_tasks.ticks, str(file), "a shard")
        until(file.exists)
        cluster.scheduler.kill()
        with pytest.raises(EngineLostError, match="is lost"):
            running.result(60)
    until(lambda: is_quiet(file), 60)


def test_what_a_client_that_is_killed_has_begun_is_ended(cluster, tmp_path):
    worker = cluster.worker("--nthreads", "1")
    file = tmp_path / "ticks"
    program = f"""
from landsift import engine
import small_tasks
with engine.open({str(cluster.file)!r}) as e:
    list(e.unordered(small_tasks.ticks, [{str(file)!r}]))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *filter(None, sys.path)])}
    client = subprocess.Popen([sys.executable, "-c", program], env=environment)
    until(file.exists)
    client.kill()
    client.wait()
    until(lambda: is_quiet(file), 60)
    assert worker.poll() is None
    with engine.open(str(cluster.file)) as e:  # the worker lives on, with another process
        assert dict(e.unordered(small_tasks.square, range(3))) == {0: 0, 1: 1, 2: 4}


def test_a_worker_process_that_is_stopped_is_waited_for_and_another_takes_over_when_it_dies(cluster, tmp_path):
    first = cluster.worker("--nthreads", "1")
    with engine.open(str(cluster.file)) as e:
        list(e.unordered(small_tasks.square, range(2)))
        cluster.worker("--nthreads", "1")
        until(lambda: e.slots == 2)
        for process in psutil.Process(first.pid).children():
            process.suspend()
        results = e.unordered(small_tasks.square, range(12))
        found = dict([next(results)])
        os.killpg(first.pid, signal.SIGKILL)
        found |= dict(results)
    assert found == {n: n * n for n in range(12)}


def is_quiet(file: Path) -> bool:
    before = file.stat().st_size
    time.sleep(2)
    return file.stat().st_size == before
