"""A map holds what was written into it: classes, confidence, place, names and colours, in a file that GDAL reads."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate
from small_maps import ABOUT, DEGREES, NAMES, UTM, codes_of, grid_of, write_map

from landsift.errors import DataError, LandsiftError, RunError
from landsift.mapping.classes import ClassTable
from landsift.mapping.map_file import MapAbout, blocks, read_classes, read_confidence, read_info
from landsift.mapping.map_writer import MapWriter

FEET = "EPSG:2263"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "map.tif"


@pytest.mark.parametrize("crs", [UTM, DEGREES, FEET, None])
def test_what_is_written_is_read(path, crs):
    grid = grid_of(300, 280, crs)
    probabilities, known = write_map(path, grid)
    info = read_info(path)
    assert info.grid == grid
    assert info.classes.names == NAMES
    assert info.about == ABOUT
    codes = read_classes(info)
    assert (codes == codes_of(probabilities, known)).all()
    confidence = read_confidence(info)
    assert np.abs(confidence - probabilities.max(axis=-1))[known].max() <= 0.00501
    assert (confidence[~known] == 0).all()


def test_windows_are_read_as_slices_and_as_rasterios(path):
    write_map(path, grid_of(60, 50))
    info = read_info(path)
    whole = read_classes(info)
    assert (read_classes(info, (slice(10, 20), slice(5, None))) == whole[10:20, 5:]).all()
    assert (read_classes(info, slice(40, 90)) == whole[40:]).all()
    assert (read_classes(info, Window(5, 10, 7, 3)) == whole[10:13, 5:12]).all()


def test_blocks_cover_every_row_once(path):
    write_map(path, grid_of(61, 5))
    rows = [*blocks(read_info(path), rows=20)]
    assert rows == [slice(0, 20), slice(20, 40), slice(40, 60), slice(60, 61)]
    assert [*blocks(read_info(path))] == [slice(0, 61)]


def test_a_map_says_how_it_was_made(path):
    about = MapAbout(
        patch=64, stride=16, gsd=0.6, when=datetime(2020, 2, 2, 10, 30, tzinfo=UTC), scenes=("ä", "b"), model="m",
        run="/runs/r", dense=True, smoothing="bayes", mask="SCL.tif", min_valid=0.5,
    )  # fmt: skip
    write_map(path, grid_of(4, 4), about=about)
    assert read_info(path).about == about
    assert read_info(path).when == about.when


def test_the_file_is_a_valid_cog_with_colours_and_descriptions(path):
    write_map(path, grid_of(600, 700))
    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(path) as file:
        assert file.descriptions == ("class", "confidence")
        assert file.colorinterp == (ColorInterp.palette, ColorInterp.gray)  # the confidence is no transparency
        assert file.nodatavals == (0, 0)
        assert file.scales == (1, 0.01)
        assert file.colormap(1)[0] == (0, 0, 0, 0)
        assert [file.colormap(1)[each.code][:3] for each in ClassTable.of(NAMES)] == [
            each.rgb for each in ClassTable.of(NAMES)
        ]


def test_overviews_are_the_most_frequent_class_and_the_mean_confidence(path):
    grid = grid_of(400, 600)
    probabilities, known = write_map(path, grid, names=("a", "b"), valid=0.7)
    codes = codes_of(probabilities, known)
    with rasterio.open(path) as file:
        assert file.overviews(1) == file.overviews(2) == [2, 4]
        confidence = file.read(2).astype(float)
    with rasterio.open(path, overview_level=0) as file:
        small, mean = file.read(1), file.read(2)
    squares = codes.reshape(200, 2, 300, 2).swapaxes(1, 2).reshape(200, 300, 4)
    a, b = (squares == 1).sum(axis=-1), (squares == 2).sum(axis=-1)
    assert (small[a > b] == 1).all()
    assert (small[b > a] == 2).all()
    assert (small[a + b == 0] == 0).all()
    four = confidence.reshape(200, 2, 300, 2).swapaxes(1, 2).reshape(200, 300, 4)
    some = (four > 0).any(axis=-1)
    expected = four.sum(axis=-1)[some] / (four > 0).sum(axis=-1)[some]
    assert np.abs(mean[some] - expected).max() <= 0.51


def test_more_than_255_classes(path):
    names = tuple(f"class {k}" for k in range(300))
    probabilities, known = write_map(path, grid_of(40, 50), names=names)
    info = read_info(path)
    assert info.classes.names == names
    assert (read_classes(info) == codes_of(probabilities, known)).all()
    with rasterio.open(path) as file:
        assert file.dtypes == ("uint16", "uint16")
    assert cog_validate(path, strict=True, quiet=True)[0]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 700), (700, 1), (256, 256), (257, 256)])
def test_maps_of_any_shape(path, height, width):
    probabilities, known = write_map(path, grid_of(height, width))
    assert (read_classes(read_info(path)) == codes_of(probabilities, known)).all()
    assert cog_validate(path, quiet=True)[0]


def test_a_map_without_any_class_is_written_with_a_warning(path, caplog):
    write_map(path, grid_of(5, 7), valid=0)
    assert (read_classes(read_info(path)) == 0).all()
    assert "has no class in any cell" in caplog.text


def test_a_rotated_grid_and_a_crs_of_its_own_are_kept(path):
    sinusoidal = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
    grid = GeoBox((20, 30), Affine(401.2, 231.6, 1e5 + 1 / 3, 231.6, -401.2, 4e6), sinusoidal)
    write_map(path, grid)
    info = read_info(path)
    assert np.allclose(info.grid.affine, grid.affine, rtol=1e-15, atol=0)
    assert info.grid.crs.proj.equals(grid.crs.proj)


def test_probabilities_and_entropy(path):
    probabilities, known = write_map(path, grid_of(30, 40), probabilities=True, entropy=True)
    with rasterio.open(path.with_name("map.probabilities.tif")) as file:
        assert file.descriptions == (*NAMES, "entropy")
        raw = file.read()
        assert set(file.scales) == {0.005}
    assert (raw[:, ~known] == 255).all()
    assert np.abs(raw[:3, known] * 0.005 - np.moveaxis(probabilities, -1, 0)[:, known]).max() <= 0.00251
    entropy = -(probabilities * np.log(probabilities)).sum(axis=-1) / np.log(3)
    assert np.abs(raw[3][known] * 0.005 - entropy[known]).max() <= 0.00251


@pytest.mark.parametrize("name", ["class.tif", "more.tif", "work.tif", "a: b & 'c' #%20 <ü>.TIFF", "n" * 200 + ".tif"])
def test_a_map_may_have_any_name(tmp_path, name):
    probabilities, known = write_map(tmp_path / "folder: <x>" / name, grid_of(300, 20), probabilities=True)
    info = read_info(tmp_path / "folder: <x>" / name)
    assert (read_classes(info) == codes_of(probabilities, known)).all()


def test_a_failure_leaves_nothing(tmp_path, path):
    grid = grid_of(10, 10)
    with pytest.raises(KeyboardInterrupt), MapWriter(path, grid, ClassTable.of(NAMES)):
        raise KeyboardInterrupt
    assert [*tmp_path.iterdir()] == []


def test_a_failure_keeps_the_map_that_was_there(tmp_path, path):
    write_map(path, grid_of(10, 10))
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    with (
        pytest.raises(ValueError, match="were not written"),
        MapWriter(path, grid_of(10, 10), ClassTable.of(["x"])) as writer,
    ):
        writer.write(slice(0, 5), np.ones((5, 10, 1), np.float32), np.ones((5, 10), bool))
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


FULL = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from small_maps import grid_of, write_map
from landsift.errors import RunError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    write_map(Path(sys.argv[2]), grid_of(700, 800))
except RunError as error:
    print(len(str(error).splitlines()), str(error).startswith(f"cannot write {sys.argv[2]}"))
"""


@pytest.mark.parametrize("room", [10_000, 300_000, 700_000])
def test_where_the_disk_is_full_there_is_an_error_and_no_map(tmp_path, path, room):
    """At the first band, at the second, and when they are joined."""
    command = [sys.executable, "-c", FULL, str(Path(__file__).parent), str(path), str(room)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout == "2 True\n"
    assert [*tmp_path.iterdir()] == []


def test_a_new_map_leaves_no_probabilities_of_an_earlier_one(tmp_path, path):
    write_map(path, grid_of(10, 10), probabilities=True)
    write_map(path, grid_of(12, 10))
    assert not [*tmp_path.glob("*.probabilities.tif*")]


@pytest.mark.parametrize("wrong", [np.nan, 0.4])
def test_probabilities_that_are_none_are_refused(path, wrong):
    probabilities = np.full((2, 2, 3), wrong, np.float32)
    with pytest.raises(ValueError, match="do not add up"), MapWriter(path, grid_of(2, 2), ClassTable.of(NAMES)) as w:
        w.write(slice(0, 2), probabilities, np.ones((2, 2), bool))
    assert not path.exists()


def test_a_name_without_an_ending_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"does not end in \.tif"):
        MapWriter(tmp_path / "map", grid_of(2, 2), ClassTable.of(NAMES))


def test_a_table_of_classes_is_refused_where_it_is_none():
    for names in ([], ["a", "b", "a"]):
        with pytest.raises(DataError):
            ClassTable.of(names)


def test_files_that_are_no_maps_are_refused_in_two_lines(tmp_path):
    text, picture, fractions = tmp_path / "a.txt", tmp_path / "b.tif", tmp_path / "c.tif"
    text.write_text("no raster")
    place = {"crs": UTM, "transform": Affine(10, 0, 5e5, 0, -10, 4e6)}
    with rasterio.open(picture, "w", driver="GTiff", height=4, width=4, count=3, dtype="uint8", **place) as file:
        file.write(np.ones((3, 4, 4), np.uint8))
    with rasterio.open(fractions, "w", driver="GTiff", height=4, width=4, count=1, dtype="float32", **place) as file:
        file.write(np.ones((1, 4, 4), np.float32))
    for each, says in ((text, "cannot be read"), (picture, "no map of classes"), (fractions, "its values are float32"),
                       (tmp_path / "none.tif", "no such file")):  # fmt: skip
        with pytest.raises(LandsiftError, match=says) as refused:
            read_info(each)
        assert len(str(refused.value).splitlines()) == 2
