"""Samples of maps: how many points, in which strata, and that every cell of a stratum has the same chance."""

from itertools import pairwise

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from landsift.errors import LandsiftError
from landsift.mapping import sampling
from landsift.mapping.sampling import allocate, draw_sample, sample_size

NAMES = ("", "Forest", "Water & reed", "Bare")
UTM, METRES = "EPSG:32631", from_origin(500000, 4650000, 100, 100)
OLOFSSON = np.array([200_000, 150_000, 3_200_000, 6_450_000])


def write_map(path, codes, crs=UTM, transform=METRES, names=NAMES):
    """A raster with category names beside it, as GDAL keeps them."""
    profile = {"driver": "GTiff", "height": codes.shape[0], "width": codes.shape[1], "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, crs=crs, transform=transform, nodata=0) as dataset:
        dataset.write(codes.astype(np.uint8), 1)
    rows = "".join(f"<Category>{name.replace('&', '&amp;')}</Category>" for name in names)
    aux = f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{rows}</CategoryNames></PAMRasterBand></PAMDataset>'
    path.with_name(path.name + ".aux.xml").write_text(aux, encoding="utf-8")
    return path


def cells(seed=0, shape=(90, 70), shares=(0.1, 0.6, 0.25, 0.05)):
    """Codes 0 (no data) to 3 of a map."""
    return np.random.default_rng(seed).choice(4, shape, p=shares)


def test_the_size_of_the_worked_example_of_olofsson_2014():
    assert sample_size(OLOFSSON, [0.70, 0.60, 0.90, 0.95], 0.01) == 641


def test_proportional_allocation_raises_rare_strata_to_the_minimum_and_shares_out_the_rest():
    points = allocate(OLOFSSON, [0.8] * 4, 640, "proportional", 75)
    assert points[:2].tolist() == [75, 75]
    assert points.sum() == 640
    assert points[2] / points[3] == pytest.approx(3.2 / 6.45, rel=0.01)


def test_equal_and_neyman_allocation():
    assert allocate(OLOFSSON, [0.8] * 4, 640, "equal", 2).tolist() == [160] * 4
    points = allocate([1000, 1000], [0.5, 0.9], 160, "neyman", 2)
    assert points.tolist() == [100, 60]


@pytest.mark.parametrize("allocation", sampling.ALLOCATIONS)
def test_allocations_keep_to_size_minimum_and_cells(allocation):
    rng = np.random.default_rng(0)
    for _ in range(200):
        K = int(rng.integers(1, 30))
        counts = (10 ** rng.uniform(0, 7, K)).astype(int)
        minimum = int(rng.integers(2, 60))
        least = np.minimum(counts, minimum)
        size = int(rng.integers(least.sum(), min(counts.sum(), least.sum() + 3000) + 1))
        points = allocate(counts, rng.uniform(0.05, 0.99, K), size, allocation, minimum)
        assert points.sum() == size
        assert (points >= least).all()
        assert (points <= counts).all()


def test_points_are_distinct_cells_of_their_strata_in_a_random_order(tmp_path):
    codes = cells()
    design = draw_sample(write_map(tmp_path / "map.tif", codes), size=300, minimum=40)
    assert [s.name for s in design.strata] == list(NAMES[1:])
    assert [s.cells for s in design.strata] == [int((codes == k).sum()) for k in (1, 2, 3)]
    assert sum(s.points for s in design.strata) == len(design.points) == 300
    assert len({(point.row, point.col) for point in design.points}) == 300
    assert all(NAMES[codes[point.row, point.col]] == point.mapped == point.stratum for point in design.points)
    assert sum(s.hectares for s in design.strata) == pytest.approx((codes > 0).sum())
    order = [point.stratum for point in design.points]
    assert sum(a != b for a, b in pairwise(order)) > 100
    table = design.table()
    assert list(table.columns) == ["id", "lon", "lat", "x", "y", "reference", "note"]
    first = design.points[0]
    assert table["x"][0] == 500000 + 100 * (first.col + 0.5)
    assert table["y"][0] == 4650000 - 100 * (first.row + 0.5)


def test_every_cell_of_a_stratum_has_the_same_chance_whatever_the_blocks(tmp_path, monkeypatch):
    codes = cells(shape=(12, 10), shares=(0.1, 0.5, 0.4, 0.0))
    path = write_map(tmp_path / "map.tif", codes)
    once = draw_sample(path, size=30, minimum=2, seed=5)
    monkeypatch.setattr(sampling, "blocks", lambda info: [slice(0, 5), slice(5, 6), slice(6, 12)])
    assert draw_sample(path, size=30, minimum=2, seed=5) == once
    drawn = np.zeros(codes.shape)
    for seed in range(60):
        for point in draw_sample(path, size=30, allocation="equal", minimum=2, seed=seed).points:
            drawn[point.row, point.col] += 1
    for k in (1, 2):
        chance = 15 / (codes == k).sum()
        spread = np.sqrt(60 * chance * (1 - chance))
        assert np.abs(drawn[codes == k] - 60 * chance).max() < 4.5 * spread
    assert drawn[codes == 0].sum() == 0


def test_the_same_seed_draws_the_same_points_and_another_draws_others(tmp_path):
    path = write_map(tmp_path / "map.tif", cells())
    first = draw_sample(path, size=200, seed=1)
    assert draw_sample(path, size=200, seed=1) == first
    assert draw_sample(path, size=200, seed=2).points != first.points


def test_strata_that_are_not_the_classes_and_no_strata_at_all(tmp_path):
    codes, regions = cells(), cells(1, shares=(0.0, 0.5, 0.5, 0.0))
    path = write_map(tmp_path / "map.tif", codes)
    other = write_map(tmp_path / "regions.tif", regions, names=("", "north", "south"))
    design = draw_sample(path, size=100, strata=other)
    assert {s.name for s in design.strata} == {"north", "south"}
    assert all(NAMES[codes[point.row, point.col]] == point.mapped for point in design.points)
    assert sum(s.cells for s in design.strata) == (codes > 0).sum()
    random = draw_sample(path, size=30, random=True)
    assert [(s.name, s.points) for s in random.strata] == [("the whole map", 30)]
    moved = write_map(tmp_path / "moved.tif", regions, transform=from_origin(0, 0, 100, 100), names=("", "n", "s"))
    with pytest.raises(LandsiftError, match="another grid"):
        draw_sample(path, size=100, strata=moved)


def test_a_stratum_of_few_cells_is_drawn_whole(tmp_path, caplog):
    codes = np.full((40, 40), 1)
    codes[3, 5:8] = 3
    with caplog.at_level("INFO", "landsift"):
        design = draw_sample(write_map(tmp_path / "map.tif", codes), size=60, minimum=20)
    assert [(s.name, s.points) for s in design.strata] == [("Forest", 57), ("Bare", 3)]
    assert "drawn whole: Bare (3)" in caplog.text
    assert "without cells have no points: Water & reed" in caplog.text


def test_expected_accuracies_change_the_allocation_and_the_size(tmp_path):
    path = write_map(tmp_path / "map.tif", cells())
    plain = draw_sample(path, error=0.05, minimum=2)
    assert len(plain.points) == sample_size([s.cells for s in plain.strata], [0.8] * 3, 0.05)
    sure = draw_sample(path, error=0.05, minimum=2, expected=0.95)
    assert len(sure.points) < len(plain.points)
    neyman = draw_sample(path, size=200, allocation="neyman", minimum=2, expected={"Bare": 0.5, "Forest": 0.99})
    share = {s.name: s.points / s.cells for s in neyman.strata}
    assert share["Bare"] > share["Water & reed"] > share["Forest"]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"size": 100}, "do not give 3 strata 50 each"),
        ({"size": 10_000_000}, "more than the map has cells"),
        ({"size": 1}, "says nothing"),
        ({"size": 200, "error": 0.01}, "both given"),
        ({"error": 0.0}, "cannot be aimed at"),
        ({"error": float("nan")}, "cannot be aimed at"),
        ({"size": 200, "minimum": 1}, "no standard error"),
        ({"size": 200, "allocation": "optimal"}, "is not known"),
        ({"size": 200, "seed": -1}, "negative"),
        ({"size": 200, "expected": {"Forrest": 0.9}}, "no stratum 'Forrest'"),
        ({"size": 200, "expected": 1.0}, "cannot be expected"),
        ({"size": 200, "random": True, "strata": "x.tif"}, "has no strata"),
        ({"size": 200, "strata": "x.tif"}, "no such file"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, how, said):
    with pytest.raises(LandsiftError, match=said):
        draw_sample(write_map(tmp_path / "map.tif", cells()), **how)


def test_a_map_without_data_or_place_is_refused(tmp_path):
    with pytest.raises(LandsiftError, match="no cells with a class"):
        draw_sample(write_map(tmp_path / "empty.tif", np.zeros((5, 5))), size=10)
    with pytest.raises(LandsiftError, match="coordinate reference system"):
        draw_sample(write_map(tmp_path / "nowhere.tif", cells(), crs=None), size=200)
