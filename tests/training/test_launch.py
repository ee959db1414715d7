"""What ends one of several processes ends all, and is told; nodes meet."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import distributed_process
import pytest

from landsift.errors import ModelError, RunError
from landsift.runtime.threads import cores
from landsift.training import launch, worker

SCRIPT = distributed_process.__file__


def started(what: str, folder: Path) -> None:
    launch.run_ranks([SCRIPT, what, str(folder)], devices=2)


def test_an_error_for_people_comes_back_as_itself(tmp_path):
    with pytest.raises(ModelError) as caught:
        started("raise_known", tmp_path)
    assert (caught.value.message, caught.value.hint) == ("the loss is no longer a number", "lower the rates")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            "raise_unknown",
            r"training process 1 of 2 failed: ZeroDivisionError: what was that\nit happened at .*\.py:\d+",
        ),
        ("die", "training process 1 of 2 was ended by SIGKILL\ndid memory run out"),
        pytest.param("leave", "training process 1 of 2 exited with 3\nno space left on device", marks=pytest.mark.slow),
    ],
)
def test_a_process_that_fails_ends_the_others_and_is_named(tmp_path, what, message):
    began = time.monotonic()
    with pytest.raises(RunError, match=message):
        started(what, tmp_path)
    assert time.monotonic() - began < 60


def test_afterwards_signals_and_environment_are_as_before(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    before = dict(os.environ), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    started("environment", tmp_path)
    assert (dict(os.environ), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert (tmp_path / "1.txt").read_text() == "3"  # the user's word counts
    monkeypatch.delenv("OMP_NUM_THREADS")
    started("environment", tmp_path)
    assert int((tmp_path / "1.txt").read_text()) == max(1, cores() // 2)


def test_ranks_import_nothing_from_the_working_folder(tmp_path, monkeypatch):
    """Whose random.py would be run by each of them, in place of Python's."""
    for name in ("random", "json", "logging", "signal", "numpy", "torch"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(RunError, match=r"no-task\.json"):  # which a rank looks for when it has imported what it needs
        launch.run_ranks(["-m", worker.__name__, "no-task.json"], devices=2)
    assert not (tmp_path / "ran").exists()


def test_an_interruption_ends_the_ranks_and_interrupts_the_caller(tmp_path):
    code = f"""if True:
        import distributed_process
        from landsift.training import launch, worker
        try:
            launch.run_ranks([{SCRIPT!r}, "wait", {str(tmp_path)!r}], devices=2)
        except KeyboardInterrupt:
            print("interrupted")
    """
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(SCRIPT).parent, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    while len(list(tmp_path.glob("*.pid"))) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == b"interrupted\n"
    for file in tmp_path.glob("*.pid"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.stem), 0)


# Nodes


def on_two_nodes(what: str, folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    nodes = [
        subprocess.Popen(
            [sys.executable, SCRIPT, what, str(folder)],
            env=os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": str(number)},
        )
        for number in (0, 1)
    ]
    assert [node.wait(timeout=60) for node in nodes] == [0, 0]


def test_two_nodes_meet_where_master_addr_says(tmp_path):
    on_two_nodes("one_node", tmp_path)
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"0.txt": "3.0 of 2", "1.txt": "3.0 of 2"}


def test_other_nodes_get_the_first_ones_checkpoint_to_go_on_from(tmp_path):
    """They have no folder of their own from one attempt to the next."""
    for node in (0, 1):
        (tmp_path / f"node-{node}" / "checkpoints").mkdir(parents=True)
    for name in ("last.ckpt", "settled.json"):
        (tmp_path / "node-0" / "checkpoints" / name).write_text(f"the first's {name}")
    on_two_nodes("one_node_of_shared", tmp_path)
    found = {f.name: f.read_text() for f in (tmp_path / "node-1" / "checkpoints").iterdir()}
    assert found == {name: f"the first's {name}" for name in ("last.ckpt", "settled.json")}
