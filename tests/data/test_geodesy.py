"""Distances know no dateline and no pole, and blocks are of equal area wherever they lie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landsift.data.geodesy import EARTH_KM, blocks, known, nearest_km, within_km

DEGREE_KM = np.pi * EARTH_KM / 180


def at(*places):
    return np.array(places, dtype=np.float64)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0.0, 0.0), (1.0, 0.0), DEGREE_KM),
        ((0.0, 60.0), (1.0, 60.0), 55.597),
        ((179.5, 0.0), (-179.5, 0.0), DEGREE_KM),  # across the dateline
        ((0.0, 89.5), (180.0, 89.5), DEGREE_KM),  # across the pole
        ((10.0, 90.0), (-130.0, 90.0), 0.0),  # the pole has any longitude
        ((28.5591161, 44.0351743), (28.5591162, 44.0351743), 8.0e-6),  # eight millimetres
        ((0.0, 0.0), (180.0, 0.0), np.pi * EARTH_KM),
        ((13.3777, 52.5163), (2.2945, 48.8584), 879.7),  # Brandenburg Gate to Eiffel Tower
    ],
)
def test_distances_are_those_of_great_circles(a, b, expected):
    found = nearest_km(at(a), at(b))[0][0, 0]
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert within_km(at(a), at(b), expected + 1)[0]


def test_the_nearest_come_in_their_order():
    kilometres, rows = nearest_km(at((0, 0)), at((3, 0), (1, 0), (2, 0)), k=3)
    assert rows.tolist() == [[1, 2, 0]]
    assert kilometres[0] == pytest.approx(DEGREE_KM * np.array([1, 2, 3]))


def test_nothing_is_near_to_nothing():
    assert within_km(at((0, 0)), np.empty((0, 2)), 10.0).tolist() == [False]
    assert known(at((0, 0), (np.nan, 1), (np.nan, np.nan))).tolist() == [True, False, False]


@pytest.mark.parametrize("block_km", [50.0, 100.0, 333.0, 1000.0])
def test_blocks_are_of_equal_area(block_km):
    rng = np.random.default_rng(0)
    everywhere = np.stack([rng.uniform(-180, 180, 2_000_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 2_000_000)))], 1)
    sizes = np.bincount(blocks(everywhere, block_km))
    area = 4 * np.pi * EARTH_KM**2 / len(sizes)
    assert area == pytest.approx(block_km**2, rel=0.1)
    assert sizes.std() / sizes.mean() < 0.05 + 1.1 / np.sqrt(sizes.mean())  # of chance, and of whole numbers of columns


def test_the_dateline_and_the_pole_cut_no_block_in_two():
    assert len(set(blocks(at((180.0, 10.0), (-180.0, 10.0), (540.0, 10.0)), 100.0).tolist())) == 1
    assert blocks(at((-180.0, 90.0), (0.0, 90.0), (179.999, 90.0), (0.0, -90.0)), 10.0).tolist() == [0, 0, 0, 1]


@given(st.floats(-180, 180), st.floats(-90, 90), st.sampled_from([0.1, 1.0, 100.0, 3000.0, 10_000.0]))
def test_every_place_lies_in_a_block_no_wider_than_two_sides(lon, lat, block_km):
    near = at((lon, lat), (lon + 1e-9, lat))
    assert blocks(near, block_km).tolist() in ([0, 0], [0, 1])
    far = at((lon, lat), (lon + 180.0, -lat))
    if block_km <= 3000:
        assert blocks(far, block_km).tolist() == [0, 1]
