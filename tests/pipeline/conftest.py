"""Fixtures of the pipeline's tests."""

from collections.abc import Iterator

import pytest
from pipeline_helpers import TINY, Processes

from landsift.config import RunConfig


@pytest.fixture
def tiny() -> RunConfig:
    """A configuration that trains in a second."""
    return RunConfig.load(None, TINY)


@pytest.fixture
def processes(tmp_path) -> Iterator[Processes]:
    """A cache folder that only this test's processes share."""
    made = Processes(tmp_path)
    yield made
    made.end()
