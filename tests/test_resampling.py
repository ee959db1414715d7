"""NumPy and torch resample patches alike, to the bit."""

import math

import numpy as np
import pytest
import torch

from landsift.resampling import resample, resample_patches


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("nodata", [None, 0.0, "nan"])
@pytest.mark.parametrize("size", [(16, 16), (40, 9), (20, 31)])
def test_numpy_and_torch_give_the_same_pixels(dtype, nodata, size):
    if nodata == "nan":
        nodata = math.nan if dtype == "float32" else 7.0  # no whole number is NaN
    patches = np.random.default_rng(0).integers(0, 200, (3, 20, 31, 2)).astype(dtype)
    patches[0, :7, :9] = 0 if nodata is None else nodata
    patches[1] = 0 if nodata is None else nodata
    ours, theirs = resample_patches(patches, size, nodata), resample(torch.from_numpy(patches), size, nodata).numpy()
    assert ours.dtype == theirs.dtype == np.dtype(dtype)
    assert ours.shape == (3, *size, 2)
    np.testing.assert_array_equal(ours, theirs)
