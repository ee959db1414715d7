import pytest
from small_runs import small

from landsift.data.store.patch_store import build_store


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Of the patches that `small_runs` asks for: 72 for training, 24 for validation, 24 for the test."""
    return build_store(small().data, tmp_path_factory.mktemp("store") / "s")
