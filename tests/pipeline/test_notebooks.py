"""Runs and comparisons in a notebook's kernel: Stop ends them, and the kernel lives on as if nothing had been."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline_helpers import TINY

pytest.importorskip("ipykernel", reason="ipykernel is not installed")
pytest.importorskip("jupyter_client", reason="jupyter_client is not installed")

from notebook_kernel import Kernel

SETUP = f"""
import asyncio, json, signal, threading, time
import landsift
from torch.optim.optimizer import register_optimizer_step_post_hook

def config(*settings):
    return landsift.RunConfig.load(None, {TINY!r} + settings)

def work():  # threads beyond those of the kernel and of libraries, which come with the first run
    names = [thread.name for thread in threading.enumerate()]
    return sorted(name for name in names if not name.startswith("Dask-Offload"))  # an idle pool of that library

landsift.run(config(), "first")
"""
ENDLESS = "strategy=[{name: head, epochs: 100000, lr_head: 0.002}]"
SECONDS = 15.0
"""That a training may take to stop; on a machine that has nothing else to do it takes one."""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory) -> Iterator[Kernel]:
    """A kernel in which a run has ended well."""
    kernel = Kernel(tmp_path_factory.mktemp("notebook"))
    try:
        reply = kernel.run(SETUP)
        assert reply["status"] == "ok", reply
        yield kernel
    finally:
        kernel.close()


def unfinished(kernel: Kernel) -> list[Path]:
    return list(kernel.home.glob("unfinished/*/checkpoints/last.ckpt"))


def children(kernel: Kernel) -> list[str]:
    """The commands of the kernel's processes that run Python."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rsplit(")", 1)[1].split()[1])
            command = status.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended meanwhile
            continue
        if parent == kernel.pid and "python" in command:
            found.append(command)
    return found


def stopped(kernel: Kernel, code: str, times: int = 1, trainings: int = 1) -> dict[str, object]:
    """Begin a cell, stop it after the first epoch, and check that nothing of it goes on; the cell's reply."""
    before, known = state(kernel), len(unfinished(kernel))
    cell = kernel.start(code)
    kernel.wait(lambda: len(unfinished(kernel)) == known + trainings)
    began = time.monotonic()
    for _ in range(times):
        kernel.stop()
        time.sleep(0.002)  # one that comes after the cell has ended would take the kernel its reply
    reply = kernel.end(cell)
    assert time.monotonic() - began < SECONDS
    assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt"), kernel.complained
    assert reply["evalue"].startswith("stopped; the same call resumes")
    assert "the same command resumes it" in kernel.complained
    assert "Traceback" not in kernel.complained
    assert state(kernel) == before
    assert len(unfinished(kernel)) == known + trainings
    assert [*kernel.folder.rglob("*.partial")] == []
    return reply


def state(kernel: Kernel) -> tuple[str, list[str]]:
    """The kernel's threads and its handler of interrupts, and its processes."""
    reply = kernel.run("print(json.dumps([work(), str(signal.getsignal(signal.SIGINT))]))")
    assert reply["status"] == "ok"
    return kernel.printed, children(kernel)


@pytest.mark.parametrize("times", [1, 3])
def test_stop_ends_a_training_and_the_same_cell_goes_on_with_it(kernel, times):
    setting = "strategy=[{name: head, epochs: 5, lr_head: 0.002}]"
    code = f"landsift.run(config({setting!r}, 'seed={times}'), 'goes-on-{times}')"
    assert kernel.run("slowed = register_optimizer_step_post_hook(lambda *_: time.sleep(0.4))")["status"] == "ok"
    stopped(kernel, code, times)
    kernel.run("slowed.remove()")
    reply = kernel.run(code)
    assert reply["status"] == "ok", reply
    run = kernel.folder / f"goes-on-{times}"
    assert json.loads((run / "manifest.json").read_text())["interruptions"] == 1
    assert len(json.loads((run / "metrics.json").read_text())) == 5


def test_stop_ends_a_training_in_a_cell_that_awaits(kernel):
    """There the kernel's own handler of interrupts waits for an event loop that waits for the training."""
    stopped(kernel, f"await asyncio.sleep(0)\nlandsift.run(config({ENDLESS!r}, 'seed=11'), 'out')")
    assert kernel.run("await asyncio.sleep(0)")["status"] == "ok"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
def test_stop_ends_the_processes_of_a_training(kernel):
    settings = (ENDLESS, "training.devices=2", "training.accelerator=cpu", "seed=12")
    stopped(kernel, f"landsift.run(config(*{settings!r}), 'out')", times=3)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
def test_stop_ends_the_processes_of_a_comparison(kernel):
    rows = (
        "{slow: [{name: head, epochs: 100000, lr_head: 0.002}], other: [{name: head, epochs: 100000, lr_head: 0.001}]}"
    )
    options = "strategies=['slow', 'other'], seeds=[0], workers=2"
    stopped(kernel, f"landsift.compare(config('strategies={rows}'), 'out', {options})", times=3, trainings=2)


def test_stop_ends_what_comes_before_the_training(kernel):
    """Patches that are being made; nothing half done stays."""

    def stores() -> list[str]:
        return sorted(path.name for path in (kernel.home / "stores").iterdir())

    before = stores()
    cell = kernel.start("landsift.run(config('data.synthetic.patches=50000', 'data.synthetic.size=64'), 'out')")
    kernel.wait(lambda: len(stores()) > len(before))
    kernel.stop()
    assert kernel.end(cell)["ename"] == "KeyboardInterrupt"
    assert stores() == before
    assert not (kernel.folder / "out").exists()
