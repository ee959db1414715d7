"""Fixtures that every test may use, and how the tests run: how many side by side, and how many of the slow ones."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from landsift.runtime import threads

# Beside other processes of tests, each has its share of the cores. Torch looks at this when it is loaded.
if side_by_side := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ[threads.THREADS] = threads.share(int(side_by_side))

# Of a shell's background job SIGINT is ignored, and so it would be by the processes that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, and no deadline: a busy machine is no bug.
settings.register_profile("landsift", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("landsift")

SHARED = Path(__file__).resolve().parents[2] / "shared"

MEMORY_EACH = 4 * 2**30
"""Memory for a process of tests and the trainings that it starts, two at a time, in bytes."""


def pytest_addoption(parser):
    parser.addoption("--complete", action="store_true", help="run slow tests too, and long ones at their full length")


def pytest_collection_modifyitems(config, items):
    """Leave out what is marked slow, without `--complete`."""
    if not config.getoption("complete"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Under `-n auto` as many processes as there are cores, and no more than memory has room for."""
    return max(1, min(threads.cores(), memory() // MEMORY_EACH))


def memory() -> int:
    """The machine's memory, or what its container may have of it, in bytes."""
    limit, whole = Path("/sys/fs/cgroup/memory.max"), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(whole, int(text)) if text.isdecimal() else whole


@pytest.fixture(scope="session")
def complete(pytestconfig) -> bool:
    """Whether long tests run at their full length (`--complete`)."""
    return pytestconfig.getoption("complete")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Give each test a cache folder of its own, so that no test meets another's artifacts or the user's."""
    monkeypatch.setenv("LANDSIFT_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("DO_NOT_TRACK", "1")


@pytest.fixture
def shared() -> Path:
    """The folder of real data and weights; skips where it is missing."""
    if not SHARED.is_dir():
        pytest.skip("the folder of real data beside the checkout is missing")
    return SHARED
