"""Fixtures that every test may use."""

import signal
from pathlib import Path

import pytest
from hypothesis import settings

# Of a shell's background job SIGINT is ignored, and so it would be by the processes that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, and no deadline: a busy machine is no bug.
settings.register_profile("landsift", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("landsift")

SHARED = Path(__file__).resolve().parents[2] / "shared"


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
