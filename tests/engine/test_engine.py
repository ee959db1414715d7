"""An engine runs functions on items; at an address, here workers in threads of this process."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import small_tasks
from distributed import Client, LocalCluster

from landsift import engine
from landsift.engine import EngineOptions, checks, cluster
from landsift.errors import ConfigError, DataError, RunError


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a scheduler with two workers."""
    options = {"processes": False, "protocol": "tcp://", "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=2, threads_per_worker=1, silence_logs=logging.CRITICAL, **options) as found:
        yield found.scheduler_address


def test_each_result_comes_with_its_item(address):
    with engine.open(address) as e:
        assert dict(e.unordered(small_tasks.square, range(20))) == {n: n * n for n in range(20)}
        assert e.slots == 2
        assert list(e.unordered(small_tasks.square, [])) == []


def test_items_are_taken_as_they_are_needed(address):
    taken = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    with engine.open(address) as e:
        for done, _ in enumerate(e.unordered(small_tasks.square, items())):
            assert len(taken) - done <= e.ahead
            if done == 20:
                break


@pytest.mark.parametrize("where", ["local", "an address"])
def test_what_a_function_raises_is_raised_as_it_is(address, where):
    with engine.open(**({"workers": 1} if where == "local" else {"address": address})) as e:
        with pytest.raises(DataError, match="patch 3 is damaged") as caught:
            list(e.unordered(small_tasks.refused, [3]))
        assert caught.value.hint == "leave it out"
        with pytest.raises(ZeroDivisionError, match=r"of [45]"):
            list(e.unordered(small_tasks.crashed, [4, 5]))
        assert list(e.unordered(small_tasks.square, [3])) == [(3, 9)]


def test_notices_of_workers_reach_the_user_once_with_the_items_name(address, caplog):
    with engine.open(address) as e:
        list(e.unordered(small_tasks.notes, ["forest"], name="shard {}".format))
    assert [r.message for r in caplog.records if "odd" in r.message and r.name == "landsift"].count(
        "shard forest: forest is odd"
    ) == 1
    caplog.clear()
    with engine.open(address, notices=logging.ERROR) as e:
        list(e.unordered(small_tasks.notes, ["forest"], name="shard {}".format))
    assert "shard forest: forest is odd" not in caplog.text


@pytest.mark.parametrize("options", [{"workers": 1}, {"workers": 2}])
def test_where_one_process_is_enough_none_is_started_and_dask_is_not_loaded(options):
    code = f"""
import os, sys
from landsift import engine
import small_tasks
with engine.open(**{options}) as e:
    assert list(e.unordered(small_tasks.process, ["one"])) == [("one", os.getpid())]
assert "distributed" not in sys.modules
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_an_address_without_a_scheduler_is_refused_in_two_lines(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT", 0.5)
    with pytest.raises(RunError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9") as caught:
        engine.check(EngineOptions("tcp://127.0.0.1:9"))
    assert str(caught.value).count("\n") == 1
    assert not [name for name in logging.root.manager.loggerDict if logging.getLogger(name).level > logging.CRITICAL]


def test_a_client_that_cannot_connect_is_closed_at_once(monkeypatch):
    """Without keys for TLS Dask left it open, and closed it when Python ended: 20 seconds, and a traceback."""
    clients = []
    monkeypatch.setattr(cluster._Client, "close", lambda self, **o: (clients.append(self), Client.close(self, **o)))
    with pytest.raises(RunError, match=r"no scheduler answers at tls://127\.0\.0\.1:9"):
        engine.check(EngineOptions("tls://127.0.0.1:9"))
    assert [client.status for client in clients] == ["closed"]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 400 Bad Request\r\n\r\n"])
def test_what_is_no_scheduler_is_refused(monkeypatch, answer):
    """Something that takes the connection: silent, or a web server."""
    monkeypatch.setattr(cluster, "CONNECT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = []

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    taken.append(server.accept()[0])
                    taken[-1].sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(RunError, match="no scheduler answers at"):
            engine.check(EngineOptions(f"127.0.0.1:{server.getsockname()[1]}"))
        server.shutdown(socket.SHUT_RDWR)
    for each in taken:
        each.close()


@pytest.mark.parametrize("text", ["", "{}", "[]", "hello", '{"a": 1}'])
def test_a_file_that_no_scheduler_has_written_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.setattr(cluster, "LOOK_EVERY", 0)
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(RunError, match=r"s\.json is no file that a scheduler has written"):
        engine.check(EngineOptions(str(tmp_path / "s.json")))


def test_a_worker_that_does_not_see_what_is_shared_is_refused(address, tmp_path, monkeypatch):
    """The workers of this process see what the client sees: only a folder that goes is missing."""
    monkeypatch.setattr(checks, "_TRIES", 1)
    shared = tmp_path / "cache"
    shared.mkdir()
    engine.check(EngineOptions(address), [shared])
    assert list(shared.iterdir()) == []
    (tmp_path / "weights").write_bytes(b"1234")
    proofs = [(str(shared), "no-such-proof"), (str(tmp_path / "weights"), "4"), (str(tmp_path / "gone"), "4")]
    assert checks.unseen(proofs) == [str(shared), str(tmp_path / "gone")]
    assert checks.unseen([(str(tmp_path / "weights"), "5")]) == [str(tmp_path / "weights")]


def test_other_versions_are_named():
    here = checks.described()
    assert here["landsift"].startswith(f"{engine.checks.__version__} (")
    assert checks.different(here, here) == []
    assert checks.different(here, {"landsift": here["landsift"]}) == []  # a worker that only predicts
    assert checks.different({"torch": "2.11.0"}, {"torch": "2.10.0"}) == ["torch 2.10.0 there and 2.11.0 here"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"address": "somewhere"}, "is no address and no file"),
        ({"address": "http://host:8786"}, "is no address and no file"),
        ({"address": "tcp://host"}, "is no address and no file"),
        ({"address": "tcp://host:port"}, "is no address and no file"),
        ({"address": "host:99999"}, "is no address and no file"),
        ({"address": ""}, "is no address and no file"),
        ({"address": "tcp://host:8786", "workers": 2}, "workers changes nothing"),
        ({"address": "host:8786", "gpus": 1}, "gpus changes nothing"),
        ({"workers": 0}, "workers is 0"),
        ({"threads": -1}, "threads is -1"),
        ({"workers": True}, "workers is True"),
    ],
)
def test_what_cannot_be_an_engine_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        EngineOptions(**options)


def test_addresses_and_scheduler_files(tmp_path):
    assert EngineOptions("host:8786").scheduler() == {"address": "tcp://host:8786"}
    assert EngineOptions("tls://[::1]:8786").scheduler() == {"address": "tls://[::1]:8786"}
    (tmp_path / "scheduler.json").write_text("{}")
    found = EngineOptions(str(tmp_path / "scheduler.json"))
    assert found.scheduler() == {"scheduler_file": str(tmp_path / "scheduler.json")}


def test_a_scheduler_file_is_waited_for_and_refused_where_it_does_not_come(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "STARTS", 0.5)
    with pytest.raises(RunError, match=r"no scheduler has written .*later\.json"):
        engine.check(EngineOptions(str(tmp_path / "later.json")))
    with pytest.raises(ConfigError, match="is no address and no file"):
        EngineOptions(str(tmp_path / "no-folder" / "later.json"))


def test_each_worker_has_gpus_of_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2,GPU-7f,5")
    assert EngineOptions(workers=2, gpus=2).devices() == ["0,2", "GPU-7f,5"]
    assert EngineOptions(workers=4).devices() == []
    with pytest.raises(ConfigError, match="3 workers with gpus=2 each need 6 GPUs, and there are 4"):
        EngineOptions(workers=3, gpus=2)
