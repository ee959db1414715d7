"""Statistics of some of the patches are exact."""

import numpy as np
import pytest

from landsift.data.store import statistics
from landsift.data.store.statistics import mean_and_std


def test_they_are_those_of_the_rows_alone(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (50, 7, 5, 3), dtype=np.uint8)
    rows = np.array([40, 3, 17, 18], dtype=np.int64)
    monkeypatch.setattr(statistics, "_CHUNK_BYTES", 250)  # two patches at a time
    mean, std = mean_and_std(images, rows)
    pixels = images[rows] / 255
    assert mean == pytest.approx(pixels.mean(axis=(0, 1, 2)), rel=1e-12)
    assert std == pytest.approx(pixels.std(axis=(0, 1, 2)), rel=1e-12)
