"""What a split is worth: distances of known places, accuracy of location alone, and who is told."""

import numpy as np
import pytest
from small_sources import random_pixels

from landsift.config import SplitConfig
from landsift.data.checks.check import check_data
from landsift.data.checks.place import distances, location_alone
from landsift.data.geodesy import blocks
from landsift.data.store.patch_store import PatchStore

KM = 1 / 111.195  # degrees of latitude in a kilometre


@pytest.fixture
def store(tmp_path):
    """600 patches in clusters a hundred kilometres apart, each of one class: location tells everything near by."""
    rng = np.random.default_rng(0)
    cluster = np.arange(600) % 60
    middle = np.stack([cluster % 10, 40 + cluster // 10], axis=1)
    images = np.stack([random_pixels(i, (8, 8)) for i in range(600)])

    def build(places=None, labels=None):
        return PatchStore.from_arrays(
            images,
            rng.permutation(60)[cluster] % 3 if labels is None else labels,
            ["a", "b", "c"],
            folder=tmp_path / "store",
            locations=middle + 0.02 * rng.random((600, 2)) if places is None else places,
        )

    return build


def section(store, gsd=None, **split):
    found = [s for s in check_data(store, SplitConfig(**split), thorough=False, gsd=gsd).sections if s.name == "places"]
    return found[0] if found else None


def test_a_random_split_beside_its_training_patches_is_told(store):
    found = section(store())
    assert found.verdict == "look"
    assert found.counts["location_accuracy"] > 0.98
    assert found.counts["majority_accuracy"] < 0.6
    assert found.counts["median_km"] < 2
    assert "A random split measures accuracy close to the training patches; data.split.kind=spatial" in found.text


def test_locations_of_which_test_has_none_are_told_and_not_passed_over(store):
    places = np.full((600, 2), np.nan)
    places[0] = 10, 50
    found = section(store(places))
    assert found.verdict == "look"
    assert "locations are known for 1 of 600 patches, but for none in t" in found.text
    assert "median_km" not in found.counts


def test_how_many_test_patches_the_figures_are_of_is_counted(store):
    places = np.stack([np.arange(600) % 20, 40 + np.arange(600) // 20], axis=1).astype(float)
    places[::2] = np.nan
    counts = section(store(places)).counts
    assert 0 < counts["test_placed"] < counts["test"] == 120


def test_a_split_by_place_is_worth_more(store):
    found = section(store(), kind="spatial", block_km=50.0, gsd=10.0)
    assert found.verdict == "ok"
    assert found.counts["location_accuracy"] < 0.6
    assert found.counts["median_km"] > 70
    assert found.counts["nearer_than_side"] == 0.0
    assert "random" not in found.text


def test_a_given_split_with_neighbours_on_two_sides_is_told(store):
    found = section(store(), kind="spatial", block_km=0.1, gsd=1000.0)  # eight kilometres a patch
    assert found.verdict == "look"
    assert found.counts["nearer_than_side"] > 0.9
    assert "nearer than the side of a patch, 8.0 km (data.gsd)" in found.text


def test_without_a_known_side_the_distance_of_neighbours_is_taken_and_said(store):
    found = section(store())
    assert "(the median distance of neighbouring patches)" in found.text
    assert 0 < found.counts["side_km"] < 2


def test_the_distance_of_neighbours_alone_is_no_reason_to_look(store):
    rng = np.random.default_rng(0)
    sparse = store(np.stack([20 * rng.random(600), 40 + 15 * rng.random(600)], axis=1))
    found = section(sparse, kind="spatial", block_km=50.0)
    assert found.counts["nearer_than_side"] > 0.01
    assert found.verdict == "ok"


def test_without_places_nothing_is_said(store):
    assert section(store(np.full((600, 2), np.nan))) is None


def test_patches_without_a_place_are_counted(store):
    places = np.stack([np.arange(600) / 100, np.arange(600) / 100 - 3], axis=1)
    places[::10] = np.nan
    found = section(store(places))
    assert found.counts["placed"] == 540
    assert "60 have no known location." in found.text


def test_one_place_for_all_is_no_error(store):
    found = section(store(np.full((600, 2), 7.0)))
    assert found.counts["median_km"] == 0
    assert found.counts["side_km"] is None


def test_distances_are_those_to_the_nearest_training_patch():
    places = np.array([[0, 0], [0, 90 * KM], [0, 1 * KM], [0, 2 * KM], [0, 50 * KM]])
    train, test = np.array([0, 1]), np.array([2, 3, 4])
    found = distances(places, train, test, 1.5)
    assert found["median_km"] == pytest.approx(2.0, rel=1e-4)
    assert found["q05_km"] == pytest.approx(1.1, rel=1e-4)
    assert found["nearer_than_side"] == pytest.approx(1 / 3)
    assert distances(places, train, test, None)["nearer_than_side"] is None


def test_location_alone_chooses_its_neighbours_on_validation():
    rng = np.random.default_rng(0)
    places = np.stack([20 * rng.random(4000), 50 * np.ones(4000)], axis=1)
    labels = ((places[:, 0] // 5).astype(np.int64) + (rng.random(4000) < 0.3)) % 4  # a third is wrong everywhere
    train, val, test = np.split(np.arange(4000), [2400, 3200])
    found = location_alone(places, labels, train, val, test)
    assert found["neighbours"] >= 10
    assert found["location_accuracy"] == pytest.approx(0.7, abs=0.04)
    few = location_alone(places, labels, train[:3], val[:0], test)
    assert few["neighbours"] == 3


def test_the_map_is_short_text_of_each_part(store):
    found = section(store(), kind="spatial", block_km=50.0)
    points = [tuple(map(float, point.split())) for point in found.counts["map"]["test"].split(", ")]
    assert 50 < len(points) <= 400
    assert all(0 <= lon <= 10 and 40 <= lat <= 46.1 for lon, lat in points)
    assert len(np.unique(blocks(np.array(points), 50.0))) < 30
