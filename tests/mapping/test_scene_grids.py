"""Pixels of another size, in degrees, turned or placed by points: each comes to lie where it is on the ground."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine, from_origin
from scene_models import NAMED, RGB, SENTINEL, described, numbers, raster, whole

from landsift.errors import DataError
from landsift.mapping.scenes import Scene, open_scene

HEIGHT, WIDTH = 60, 80
SAID = {"names": NAMED, "scale": 1e-4, "units": "reflectance"}
AFFINES = {
    "north up": ("EPSG:32631", from_origin(500_000, 5_500_000, 10, 10)),
    "south up": ("EPSG:32631", Affine(10, 0, 500_000, 0, 10, 5_500_000)),
    "from the east": ("EPSG:32631", Affine(-10, 0, 500_800, 0, -10, 5_500_000)),
    "turned": ("EPSG:32631", Affine(8.66, 5, 500_000, 5, -8.66, 5_500_000)),
    "of 20 m": ("EPSG:32631", from_origin(500_000, 5_500_000, 20, 20)),
    "of 4 m": ("EPSG:32631", from_origin(500_000, 5_500_000, 4, 4)),
    "of 10 by 20 m": ("EPSG:32631", from_origin(500_000, 5_500_000, 10, 20)),
    "in feet": ("EPSG:2225", from_origin(6_000_000, 2_000_000, 50, 50)),
    "in Web Mercator": ("EPSG:3857", from_origin(1_000_000, 6_000_000, 30, 30)),
    "near a pole": ("EPSG:3413", from_origin(0, -100_000, 10, 10)),
    "in degrees": ("EPSG:4326", from_origin(11, 46, 1e-4, 1e-4)),
    "in degrees, turned": ("EPSG:4326", Affine(1e-4, 3e-5, 11, 3e-5, -1e-4, 46)),
    "at the edge of a zone": ("EPSG:4326", from_origin(11.996, 46, 1e-4, 1e-4)),
    "across the antimeridian": ("EPSG:4326", from_origin(179.996, -17, 1e-4, 1e-4)),
    "across it from the east": ("EPSG:4326", from_origin(-180.004, -17, 1e-4, 1e-4)),
    "with longitudes up to 360": ("EPSG:4326", from_origin(200, -17, 1e-4, 1e-4)),
    "across the equator": ("EPSG:4326", from_origin(30, 0.003, 1e-4, 1e-4)),
    "in degrees of another datum": ("EPSG:4269", from_origin(-100, 46, 1e-4, 1e-4)),
}


def slopes(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Values [H, W, 4] that rise with the row, with the column, and stay."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([1000 + 20 * rows, 1000 + 20 * columns, 0 * rows + 1500, 0 * rows + 2500], axis=-1).astype(
        np.uint16
    )


def check_places(scene: Scene, crs: str, affine: Affine, within: float = 0.3) -> None:
    """Compare each pixel with the row and the column of the file that it lies in; `within` pixels of the file."""
    values, valid = whole(scene)
    rows, columns = np.nonzero(valid)
    assert len(rows)
    xs, ys = scene.grid.affine * (columns + 0.5, rows + 0.5)
    there = pyproj.Transformer.from_crs(scene.grid.crs.to_wkt(), crs, always_xy=True).transform(xs, ys)
    lon = there[0]
    if pyproj.CRS(crs).is_geographic:  # the same place has several longitudes
        middle = affine.c + affine.a * WIDTH / 2
        lon = (lon - middle + 180) % 360 - 180 + middle
    column, row = ~affine * (lon, there[1])
    inside = (row > 2) & (row < HEIGHT - 2) & (column > 2) & (column < WIDTH - 2)
    found = values[rows, columns][inside]
    assert inside.sum() > 0.5 * inside.size
    np.testing.assert_allclose((found[:, 0] - 1000) / 20, row[inside] - 0.5, atol=within)
    np.testing.assert_allclose((found[:, 1] - 1000) / 20, column[inside] - 0.5, atol=within)
    np.testing.assert_array_equal(found[:, 2:], [[1500, 2500]] * len(found))


@pytest.mark.parametrize("kind", AFFINES)
def test_each_pixel_lies_where_it_is(kind, tmp_path):
    crs, affine = AFFINES[kind]
    file = raster(tmp_path / "a.tif", slopes(), **SAID, crs=crs, transform=affine)
    with open_scene(file, described(SENTINEL)) as scene:
        check_places(scene, crs, affine)
        assert scene.grid.affine.b == scene.grid.affine.d == 0
        assert scene.grid.affine.a > 0 > scene.grid.affine.e
        assert scene.grid.crs.projected


@pytest.mark.parametrize("kind", ["north up", "south up", "from the east"])
def test_pixels_of_the_models_size_are_not_resampled(kind, tmp_path):
    crs, affine = AFFINES[kind]
    values = numbers(4, size=(HEIGHT, WIDTH))
    file = raster(tmp_path / "a.tif", values, **SAID, crs=crs, transform=affine)
    with open_scene(file, described(SENTINEL)) as scene:
        found = whole(scene)[0]
    turned = values[:: -1 if affine.e > 0 else 1, :: -1 if affine.a < 0 else 1]
    np.testing.assert_array_equal(found, turned)


@pytest.mark.parametrize("bent", [False, True])
def test_a_raster_of_ground_control_points(bent, tmp_path, caplog):
    affine = from_origin(11, 46, 1e-4, 1e-4)
    points = []
    for row in np.linspace(0, HEIGHT, 4):
        for column in np.linspace(0, WIDTH, 4):
            x, y = affine * (column, row)
            points.append(GroundControlPoint(row, column, x + (3e-8 * (row - 30) ** 2 if bent else 0) * 10, y))
    file = tmp_path / "a.tif"
    with rasterio.open(file, "w", driver="GTiff", height=HEIGHT, width=WIDTH, count=4, dtype="uint16") as dataset:
        dataset.write(np.moveaxis(slopes(), -1, 0))
        dataset.descriptions, dataset.scales, dataset.units = SAID["names"], (1e-4,) * 4, ("reflectance",) * 4
        dataset.gcps = (points, rasterio.CRS.from_epsg(4326))
    caplog.set_level(logging.INFO, "landsift")
    with open_scene(file, described(SENTINEL)) as scene:
        if not bent:
            check_places(scene, "EPSG:4326", affine)
        else:
            values, valid = whole(scene)
            east, north = affine * (40, 50)
            middle = pyproj.Transformer.from_crs(4326, scene.grid.crs.to_wkt(), always_xy=True)
            x, y = middle.transform(east + 3e-7 * 400, north)
            column, row = (~scene.grid.affine) * (x, y)
            found = values[int(row), int(column)]
            np.testing.assert_allclose((found[:2].astype(float) - 1000) / 20, [49.5, 39.5], atol=1.5)
            assert valid.any()
    assert "placed by its ground control points" in caplog.text
    assert ("resampled twice" in caplog.text) == bent


def test_scenes_of_one_place_in_degrees_lie_on_one_grid(tmp_path):
    boxes = []
    for i, shift in enumerate((0, 3e-5)):
        file = raster(tmp_path / f"{i}.tif", slopes(), **SAID, crs="EPSG:4326",
                      transform=from_origin(11 + shift, 46 - shift, 1e-4, 1e-4))  # fmt: skip
        with open_scene(file, described(SENTINEL)) as scene:
            boxes.append(scene.grid)
    (one, other) = (box.affine for box in boxes)
    assert (one.c - other.c) % 10 == (one.f - other.f) % 10 == 0
    assert boxes[0].resolution.x == 10


def test_what_is_beside_nothing_is_not_made_of_it(tmp_path):
    values = slopes() * 0 + 2000
    values[:20], values[:, :10, 1] = 0, 0
    file = raster(tmp_path / "a.tif", values, **SAID, nodata=0, transform=from_origin(500_000, 5_500_000, 20, 20))
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[:20] = 0
    masked = raster(tmp_path / "b.tif", np.where(values, 2000, 9000).astype(np.uint16), **SAID, mask=mask,
                    transform=from_origin(500_000, 5_500_000, 20, 20))  # fmt: skip
    model = described(SENTINEL, mean=0.1)
    with open_scene(file, model) as scene:
        found, valid = whole(scene)
    assert {*np.unique(found)} == {1000, 2000}  # the mean of the training stands where there is nothing
    rows, columns = valid[:, 60], found[80, :, 1] == 2000  # where pixels are halved, the edge lies within half of one
    assert rows[40:].all()
    assert not rows[:39].any()
    assert columns[20:].all()
    assert not columns[:19].any()
    with open_scene(masked, model) as scene:
        found, valid = whole(scene)
    assert not valid[:40].any()
    assert valid[40:].all()
    assert {*np.unique(found[40:, 24:])} == {2000}


def test_it_is_said_what_is_resampled(tmp_path, caplog):
    caplog.set_level(logging.INFO, "landsift")
    file = raster(tmp_path / "a.tif", slopes(), **SAID, transform=from_origin(500_000, 5_500_000, 30, 30))
    open_scene(file, described(SENTINEL)).close()
    assert "pixels of 30 m, resampled to the 10 m that the model takes: they show nothing finer" in caplog.text


def test_a_model_of_unknown_resolution_takes_the_scenes(tmp_path, caplog):
    file = raster(tmp_path / "a.tif", slopes(), **SAID, transform=from_origin(500_000, 5_500_000, 3, 3))
    with open_scene(file, described(replace(SENTINEL, gsd=None))) as scene:
        assert scene.grid.resolution.x == 3
    assert caplog.text.count("does not know the ground sampling distance") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"crs": None}, "no CRS"),
        ({"crs": 'LOCAL_CS["site",UNIT["metre",1]]'}, "cannot give in degrees"),
        ({"transform": from_origin(500_000, 5_500_000, 5000, 5000)}, "pixels of 5e+03 m, where the model takes 10 m"),
    ],
)
def test_what_has_no_place_is_refused(options, said, tmp_path):
    file = raster(tmp_path / "a.tif", slopes(), **SAID | options)
    with pytest.raises(DataError) as error:
        open_scene(file, described(SENTINEL))
    assert said in str(error.value)
    assert "a.tif" in str(error.value)
    assert len(str(error.value).splitlines()) == 2


def test_pictures_without_a_place_are_refused(tmp_path):
    file: Path = tmp_path / "a.png"
    Image.fromarray(numbers(3, "uint8", (64, 64))).save(file)
    with pytest.raises(DataError, match="no CRS, so a map of it would have no place"):
        open_scene(file, described(RGB))
