"""Rasters bring their locations into the store: split, check and a table beside them use them."""

import logging
import os
import subprocess
import sys

import numpy as np
import pytest
from small_sources import random_pixels, refused

from landsift.config import DataConfig, SplitConfig
from landsift.data.checks.check import check_data
from landsift.data.splits import dependent_units, make_split
from landsift.data.store.patch_store import PatchStore, build_store

rasterio = pytest.importorskip("rasterio")

from raster_files import numbers, raster  # noqa: E402
from rasterio.transform import from_origin  # noqa: E402

SIDE = 16
COUNT = 24


def corner(i: int) -> tuple[float, float]:
    """Of patch i, in metres: pairs of neighbours, 30 km from the next pair."""
    return 5e5 + 30_000 * (i // 4) + 200 * (i % 4), 5.5e6


@pytest.fixture
def rasters(tmp_path):
    """24 patches of four bands in two classes."""
    for i in range(COUNT):
        raster(
            tmp_path / "p" / "ab"[i % 2] / f"{i:02d}.tif",
            numbers(4, size=(SIDE, SIDE), seed=i),
            names=("B02", "B03", "B04", "B08"),
            scale=1e-4,
            transform=from_origin(*corner(i), 10, 10),
        )
    return tmp_path / "p"


def checked(store, **split):
    sections = check_data(store, SplitConfig(**split), thorough=False).sections
    return next((section for section in sections if section.name == "places"), None)


def test_the_index_has_the_places_of_rasters_in_its_own_order(rasters, tmp_path):
    store = build_store(DataConfig(source=str(rasters)), tmp_path / "store")
    places = store.places()
    assert np.isfinite(places).all()
    numbers_of = [int(path[-6:-4]) for path in store.column("path")]
    east = np.argsort([corner(i)[0] for i in numbers_of], kind="stable")
    assert (np.diff(places[east, 0]) > 0).all()
    assert store.index["lon"].tolist() == places[:, 0].tolist()
    again = build_store(DataConfig(source=str(store.folder)), tmp_path / "again")
    np.testing.assert_array_equal(again.places(), places)


def test_a_split_by_place_needs_nothing_beside_rasters(rasters, tmp_path):
    store = build_store(DataConfig(source=str(rasters)), tmp_path / "store")
    parts = make_split(store, SplitConfig(kind="spatial", block_km=10))
    side = np.full(COUNT, -1)
    for p, rows in enumerate((parts.train, parts.val, parts.test)):
        side[rows] = p
    east = np.round(store.places()[:, 0], 1)
    assert (side >= 0).all()
    assert all(len(set(side[east == lon])) == 1 for lon in np.unique(east))


def test_the_side_of_a_patch_is_that_of_the_bands(rasters, tmp_path, caplog):
    store = build_store(DataConfig(source=str(rasters)), tmp_path / "store")
    assert store.bands.gsd == 10.0
    assert "the side of a patch, 160 m (10 m per pixel)" in checked(store).text
    with caplog.at_level(logging.WARNING, "landsift"):
        found = check_data(store, thorough=False, gsd=30.0).sections
    assert any("160 m (10 m per pixel)" in section.text for section in found)
    assert "data.gsd=30 is not used: the patches' bands have 10 m" in caplog.text


def test_of_resized_rasters_the_side_is_what_the_user_says(rasters, tmp_path):
    store = build_store(DataConfig(source=str(rasters), patch_size=8), tmp_path / "store")
    assert "median distance of neighbouring patches" in checked(store).text
    sections = check_data(store, thorough=False, gsd=20.0).sections
    assert any("the side of a patch, 160 m (data.gsd)" in section.text for section in sections)


class TestFileBesideRasters:
    def data(self, rasters, tmp_path, places):
        lines = [f"{i:02d}.tif,{lon},{lat}" for i, (lon, lat) in places.items()]
        (tmp_path / "l.csv").write_text("\n".join(["path,lon,lat", *lines]))
        return DataConfig(source=str(rasters), locations=tmp_path / "l.csv")

    def test_what_it_does_not_say_the_rasters_do(self, rasters, tmp_path):
        alone = build_store(DataConfig(source=str(rasters)), tmp_path / "alone")
        row = int(np.flatnonzero(alone.column("path").str.endswith("00.tif"))[0])
        lon, lat = alone.places()[row] + 0.01
        store = build_store(self.data(rasters, tmp_path, {0: (lon, lat)}), tmp_path / "store")
        expected = alone.places().copy()
        expected[row] = lon, lat
        np.testing.assert_allclose(store.places(), expected, atol=1e-9)
        assert store.fingerprint != alone.fingerprint

    def test_swapped_and_other_places_are_refused_and_nothing_is_left(self, rasters, tmp_path):
        alone = build_store(DataConfig(source=str(rasters)), tmp_path / "alone")
        swapped = {i: (49.6, 3.0 + 0.4 * (i // 4)) for i in range(COUNT)}
        refused(
            lambda: build_store(self.data(rasters, tmp_path, swapped), tmp_path / "s"),
            "l.csv: 24 of 24 places",
            "swapped",
        )
        elsewhere = dict.fromkeys(range(COUNT), (20.0, 10.0))
        refused(lambda: build_store(self.data(rasters, tmp_path, elsewhere), tmp_path / "s"), "files tell them")
        assert not (tmp_path / "s").exists()
        assert np.isfinite(alone.places()).all()


class TestUnlabelled:
    """Patches without a label, of any bands, are in no part; their places count for nothing."""

    @pytest.fixture
    def store(self, tmp_path):
        def build(labels, locations, **more):
            images = np.stack([random_pixels(i, (8, 8)) for i in range(len(labels))])
            return PatchStore.from_arrays(
                images, labels, ["a", "b"], folder=tmp_path / "s", locations=locations, **more
            )

        return build

    def places(self, count=60):
        return np.stack([3 + np.arange(count) // 4, np.full(count, 50.0)], axis=1) + np.arange(count)[:, None] * 1e-4

    def test_they_are_in_no_part_of_a_split_by_place_and_no_section_fails(self, store):
        labels = np.arange(60) % 2
        labels[::5] = -1
        made = store(labels, self.places())
        for split in (SplitConfig(kind="spatial", block_km=20), SplitConfig(kind="spatial", folds=3, fold=1)):
            parts = make_split(made, split)
            rows = np.concatenate([parts.train, parts.val, parts.test])
            assert sorted(rows) == np.flatnonzero(labels >= 0).tolist()
        section = checked(made, kind="spatial", block_km=20.0)
        assert section.verdict == "ok"
        assert section.counts["placed"] == 60
        assert 0 <= section.counts["location_accuracy"] <= 1

    def test_without_a_place_they_do_not_refuse_the_split(self, store):
        labels, places = np.arange(60) % 2, self.places()
        labels[40:] = -1
        places[40:] = np.nan
        assert len(make_split(store(labels, places), SplitConfig(kind="spatial", block_km=20)).train)

    def test_their_groups_join_no_blocks(self, store):
        labels = np.arange(60) % 2
        labels[::5] = -1
        groups = ["all" if label < 0 else f"own {i}" for i, label in enumerate(labels)]
        units = dependent_units(store(labels, self.places(), groups=groups), SplitConfig(kind="spatial", block_km=20))
        assert len(np.unique(units[labels >= 0])) == 15

    def test_a_list_may_name_them(self, store, tmp_path, caplog):
        labels = np.arange(60) % 2
        labels[::5] = -1
        made = store(labels, self.places(), paths=[f"{i}.png" for i in range(60)])
        files = {part: tmp_path / f"{part}.txt" for part in ("train", "val", "test")}
        for p, file in enumerate(files.values()):
            file.write_text("\n".join(f"{i}.png" for i in range(60) if i % 3 == p))
        with caplog.at_level(logging.INFO, "landsift"):
            parts = make_split(made, SplitConfig(lists=files))
        assert parts.train.tolist() == [i for i in range(0, 60, 3) if labels[i] >= 0]
        assert "12 of 60 patches have no label" in caplog.text


def test_another_programs_proj_is_named_and_places_are_found_without_it(rasters, tmp_path):
    """Conda, QGIS and PostGIS set PROJ_LIB for all programs; what was not found then is not noted for ever."""
    code = (
        "import sys, logging; logging.basicConfig(level=logging.INFO)\n"
        "from landsift.config import DataConfig\n"
        "from landsift.data.store.patch_store import build_store\n"
        "print(build_store(DataConfig(source=sys.argv[1]), sys.argv[2]).index['lon'].notna().sum())"
    )
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PROJ_")}
    variables["LANDSIFT_HOME"] = str(tmp_path / "home")
    found = []
    for number, more in enumerate(({"PROJ_LIB": str(tmp_path)}, {})):
        command = [sys.executable, "-c", code, str(rasters), str(tmp_path / f"store{number}")]
        found.append(subprocess.run(command, env=variables | more, capture_output=True, text=True, check=True))
    assert [each.stdout.split() for each in found] == [["0"], [str(COUNT)]]
    assert f"PROJ_LIB={tmp_path} is set" in found[0].stderr
