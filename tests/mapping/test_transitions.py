"""Change between maps: right to the cell, whatever the blocks."""

import numpy as np
import pytest

from landsift.errors import DataError
from landsift.mapping.transitions import Rows, change_matrix, trajectories, transition_codes


def _blocks(maps, hectares, confidence=None, size=3):
    for start in range(0, len(maps[0]), size):
        part = slice(start, start + size)
        yield Rows([m[part] for m in maps], hectares[part], None if confidence is None else confidence[part])


def test_matrix_of_known_exchanges_is_right_to_the_cell():
    before = np.full((10, 8), 1, np.uint8)
    before[:, 4:] = 2
    after = before.copy()
    after[0, :3] = 3  # three cells 1 -> 3
    after[9, 4:6] = 1  # two cells 2 -> 1
    after[5, 0] = 0  # without class on the second date
    before[6, 7] = after[6, 7] = 0
    hectares = np.arange(1.0, 11.0)  # every row of cells has an area of its own, as in degrees
    confidence = np.full(before.shape, 0.9)
    confidence[0, 0] = 0.3
    m = change_matrix(_blocks([before, after], hectares, confidence), 3)
    assert m.cells.tolist() == [[36, 0, 3], [2, 37, 0], [0, 0, 0]]
    assert m.hectares[0, 2] == 3
    assert m.hectares[1, 0] == 20
    assert m.uncertain.sum() == m.uncertain[0, 2] == 1
    assert (m.one_sided, m.empty) == (6, 7)
    assert m.hectares.sum() + m.one_sided + m.empty == hectares.sum() * 8
    assert m.per_cent.sum() == pytest.approx(100)
    margins = m.margins()
    assert margins["gain"].tolist() == [20, 0, 3]
    assert margins["loss"].tolist() == [3, 20, 0]
    assert margins["net"].tolist() == [17, -20, 3]
    assert margins["swap"].tolist() == [6, 0, 0]


def test_blocks_of_any_height_give_the_same_matrix():
    rng = np.random.default_rng(0)
    maps = [rng.integers(0, 5, (17, 11)).astype(np.uint8) for _ in range(2)]
    by_one, whole = (change_matrix(_blocks(maps, np.ones(17), size=n), 4) for n in (1, 17))
    assert (by_one.cells == whole.cells).all()
    for a in range(1, 5):
        for b in range(1, 5):
            assert whole.cells[a - 1, b - 1] == ((maps[0] == a) & (maps[1] == b)).sum()


def test_codes_of_many_classes_do_not_overflow():
    assert transition_codes(np.array([[255, 0]], np.uint8), np.array([[255, 3]], np.uint8), 255).tolist() == [
        [65025, 0]
    ]


def test_three_dates_give_trajectories_with_returns_apart():
    maps = [np.array([row], np.uint8) for row in ([1, 1, 2, 2, 0], [2, 2, 2, 1, 1], [1, 1, 2, 3, 1])]
    found = trajectories([Rows(maps, np.array([2.0]))], 3)
    assert [(t.codes, t.cells, t.hectares, t.returns) for t in found] == [
        ((1, 2, 1), 2, 4.0, True),
        ((2, 1, 3), 1, 2.0, False),
        ((2, 2, 2), 1, 2.0, False),
    ]


def test_maps_that_share_no_cell_give_zeros_not_nan():
    m = change_matrix([Rows([np.array([[1, 0]]), np.array([[0, 1]])], np.ones(1))], 2)
    assert m.per_cent.sum() == 0
    assert m.one_sided == 2


def test_other_shapes_and_foreign_codes_are_refused():
    with pytest.raises(DataError, match="different shapes"):
        transition_codes(np.ones((2, 2), int), np.ones((2, 3), int), 2)
    with pytest.raises(DataError, match="code 7"):
        transition_codes(np.ones((2, 2), int), np.full((2, 2), 7), 2)
    with pytest.raises(DataError, match="too many"):
        trajectories([Rows([np.ones((1, 1), int)] * 40, np.ones(1))], 10)
