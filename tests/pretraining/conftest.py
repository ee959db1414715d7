import numpy as np
import pytest
from tiny import patches

from landsift.data.store.patch_store import PatchStore


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> PatchStore:
    """96 patches of three kinds, of which 66 are in train by their column."""
    images, labels, split = patches()
    folder = tmp_path_factory.mktemp("patches") / "s"
    return PatchStore.from_arrays(images, labels, ["a", "b", "c"], folder=folder, split=split)


@pytest.fixture(scope="session")
def unlabelled(tmp_path_factory) -> PatchStore:
    """The same patches, of which nobody says what they show."""
    images, _, _ = patches()
    folder = tmp_path_factory.mktemp("unlabelled") / "s"
    return PatchStore.from_arrays(images, np.full(len(images), -1), [], folder=folder)
