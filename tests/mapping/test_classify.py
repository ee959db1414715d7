"""Every cell of a map is the mean over the patches that hold it, whatever the windows, and memory does not grow."""

import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from map_models import ArrayScene, MeanColour, pictures

from landsift.errors import DataError
from landsift.mapping import classify as module
from landsift.mapping.classify import classify, window_counts
from landsift.mapping.patch_grid import Axis, PatchGrid


def mapped(scene, patch, stride, min_valid=0.9):
    """Probabilities [H, W, K] and which cells are valid, of all strips."""
    grid = PatchGrid.of("a scene", scene.grid, patch, stride)
    probabilities = np.full((*grid.cells.shape, 3), np.nan, np.float32)
    valid = np.zeros(grid.cells.shape, bool)
    done = 0
    for strip in classify(scene, MeanColour(), grid, min_valid=min_valid):
        assert strip.rows.start == done
        done = strip.rows.stop
        probabilities[strip.rows], valid[strip.rows] = strip.probabilities, strip.valid
    assert done == grid.cells.height
    return probabilities, valid


def by_hand(scene, patch, stride, min_valid=0.9):
    """The same, cell by cell and patch by patch."""
    strides = patch if stride is None else (stride, stride)
    starts = []
    for length, side, step in zip(scene.values.shape[:2], patch, strides, strict=True):
        regular = list(range(0, length - side + 1, step))
        starts.append(regular + ([length - side] if (length - side) % step else []))
    height, width = (-(-length // step) for length, step in zip(scene.values.shape[:2], strides, strict=True))
    probabilities, valid = np.zeros((height, width, 3)), np.zeros((height, width), bool)
    for i, j in np.ndindex(height, width):
        ends = [
            min((k + 1) * step, length) for k, step, length in zip((i, j), strides, scene.values.shape, strict=False)
        ]
        answers = []
        for y in starts[0]:
            for x in starts[1]:
                covers = (
                    y <= i * strides[0] and ends[0] <= y + patch[0] and x <= j * strides[1] and ends[1] <= x + patch[1]
                )
                if (
                    covers
                    and scene.valid[y : y + patch[0], x : x + patch[1]].mean(dtype=np.float64) >= min_valid - 1e-7
                ):
                    sums = scene.values[y : y + patch[0], x : x + patch[1]].sum(axis=(0, 1), dtype=np.float64)
                    answers.append(sums / sums.sum())
        own = scene.valid[i * strides[0] : ends[0], j * strides[1] : ends[1]].mean() >= min_valid - 1e-7
        if answers and own:
            probabilities[i, j], valid[i, j] = np.mean(answers, axis=0), True
    return probabilities, valid


@pytest.fixture(params=["as they are", "small"])
def windows(request, monkeypatch):
    """Windows of any size, and such small ones that each holds few patches."""
    if request.param == "small":
        monkeypatch.setattr(module, "WINDOW_BYTES", 3 * 24 * 60)
        monkeypatch.setattr(module, "TALLEST", 24)
        monkeypatch.setattr(MeanColour, "side", (1, 1))


@pytest.mark.parametrize("stride", [None, 16, 12, 8, 5, 3, 1])
@pytest.mark.parametrize("size", [(16, 16), (50, 67), (48, 80)])
@pytest.mark.usefixtures("windows")
def test_a_cell_is_the_mean_over_the_patches_that_hold_it(size, stride):
    scene = ArrayScene(pictures(*size), block=(32, 32))
    found, valid = mapped(scene, (16, 16), stride)
    expected, known = by_hand(scene, (16, 16), stride)
    assert valid.all()
    assert known.all()
    np.testing.assert_allclose(found, expected, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_the_sizes_and_the_holes(data):
    patch = (data.draw(st.integers(2, 9)), data.draw(st.integers(2, 9)))
    stride = data.draw(st.one_of(st.none(), st.integers(1, min(patch))))
    size = tuple(data.draw(st.integers(side, 26)) for side in patch)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    valid = np.kron(rng.random((13, 13)) < data.draw(st.sampled_from([0.2, 0.7, 0.97])), np.ones((2, 2), bool))
    scene = ArrayScene(pictures(*size), valid[: size[0], : size[1]].astype(bool), block=(8, 8))
    least = data.draw(st.sampled_from([0.3, 0.5, 0.9, 1.0]))
    found, known = mapped(scene, patch, stride, least)
    expected, expected_known = by_hand(scene, patch, stride, least)
    np.testing.assert_array_equal(known, expected_known)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_without_overlap_a_cell_is_its_patch_exactly():
    values = pictures(64, 96)
    found, _ = mapped(ArrayScene(values), (32, 32), None)
    for i, j in np.ndindex(2, 3):
        sums = values[32 * i : 32 * i + 32, 32 * j : 32 * j + 32].sum(axis=(0, 1), dtype=np.float64)
        np.testing.assert_array_equal(found[i, j], (sums / sums.sum()).astype(np.float32))


def test_the_last_patches_are_moved_inwards_and_cover_the_edges():
    axis = Axis(length=100, patch=32, stride=32)
    assert axis.starts.tolist() == [0, 32, 64, 68]
    assert axis.cells == 4
    first, last = axis.covering
    assert first.tolist() == last.tolist() == [0, 1, 2, 3]
    assert Axis(128, 32, 32).starts.tolist() == [0, 32, 64, 96]


def test_cells_of_a_black_border_have_nothing_even_where_patches_that_reach_over_it_have():
    values = pictures(96, 96)
    valid = np.ones((96, 96), bool)
    valid[:, :8] = False  # a quarter of the patches of the first column, all of its first cell
    found, known = mapped(ArrayScene(values, valid), (32, 32), 8, min_valid=0.7)
    assert not known[:, 0].any()
    assert known[:, 1:].all()
    assert (found[:, 0] == 0).all()


def test_windows_are_whole_blocks_within_the_memory_that_is_given():
    from affine import Affine
    from odc.geo.geobox import GeoBox

    for side, channels, patch, block in [
        (10_980, 3, 64, (512, 512)), (10**5, 3, 64, (512, 512)), (10**5, 26, 224, (256, 256)),
        (10**5, 26, 64, (1, 10**5)),
        (10_980, 6, 64, (1024, 1024)), (10**5, 3, 64, (10**5, 10**5)),
    ]:  # fmt: skip
        grid = PatchGrid.of("", GeoBox((side, side), Affine.scale(10, -10), "EPSG:32631"), (patch, patch))
        tall, wide = window_counts(grid, block, (256, 256), channels, 10)
        assert tall * wide * patch**2 * channels <= 1.3 * module.WINDOW_BYTES
        assert tall * patch <= module.TALLEST
    grid = PatchGrid.of("", GeoBox((10_980, 10_980), Affine.scale(10, -10), "EPSG:32631"), (64, 64))
    assert window_counts(grid, (512, 512), (256, 256), 3, 10) == (8, 171)


class Endless(ArrayScene):
    """A scene of any height, whose pixels are made as they are read."""

    def __init__(self, height, width):
        super().__init__(np.zeros((1, 1, 3), np.uint8))
        from odc.geo.geobox import GeoBox

        self.grid = GeoBox((height, width), self.grid.affine, self.grid.crs)

    def read(self, rows, cols):
        size = (rows.stop - rows.start, cols.stop - cols.start)
        self.largest = max(self.largest, size[0] * size[1] * 3)
        return np.full((*size, 3), 7, np.uint8), np.ones(size, bool)


@pytest.mark.parametrize("stride", [32, 8])
def test_memory_does_not_grow_with_the_height(stride, monkeypatch):
    monkeypatch.setattr(module, "WINDOW_BYTES", 2**18)
    peaks, largest = [], []
    for height in (2_000, 16_000):
        scene = Endless(height, 512)
        grid = PatchGrid.of("", scene.grid, (32, 32), stride)
        tracemalloc.start()
        rows = sum(strip.rows.stop - strip.rows.start for strip in classify(scene, MeanColour(), grid))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        largest.append(scene.largest)
        assert rows == -(-height // stride)
    assert largest[0] == largest[1] <= 2 * 2**18
    assert peaks[1] < 1.6 * peaks[0]  # of a height of 8 times; what is read ahead comes earlier or later


def test_reading_stops_where_the_answers_are_not_wanted_any_more():
    scene = Endless(100_000, 512)
    strips = classify(scene, MeanColour(), PatchGrid.of("", scene.grid, (32, 32)))
    next(strips)
    strips.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("landsift-scene")]


def test_a_scene_smaller_than_a_patch_is_refused_by_name():
    scene = ArrayScene(pictures(30, 100))
    with pytest.raises(DataError, match=r"here\.tif: 30 × 100 pixels, less than one patch of 32 × 32"):
        PatchGrid.of("here.tif", scene.grid, (32, 32))
    with pytest.raises(DataError, match="--stride 33 is not between 1 and the 32"):
        PatchGrid.of("here.tif", ArrayScene(pictures(64, 64)).grid, (32, 32), 33)
