"""A window of a scene holds what `predict` reads from a file of the same pixels."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.windows import Window
from scene_models import EMPTY, NAMED, RGB, SENTINEL, as_predict_reads, described, numbers, raster, whole

from landsift.bands import BandSpec
from landsift.errors import DataError
from landsift.mapping.scenes import open_scene

ROWS, COLS = slice(16, 32), slice(32, 48)
SIZE = (64, 80)
SAID = {"names": NAMED, "scale": 1e-4, "units": "reflectance"}

HOLED = np.where(numbers(4, size=SIZE) % 7, numbers(4, size=SIZE), 0)


def cut(file: Path, rows: slice = ROWS, cols: slice = COLS) -> Path:
    """A window of a raster as a file of its own, with all that the raster says."""
    out = file.with_name("cut.tif")
    window = Window.from_slices(rows, cols)
    with rasterio.open(file) as whole:
        profile = whole.profile | {"driver": "GTiff", "height": window.height, "width": window.width}
        profile |= {"transform": whole.window_transform(window), "tiled": False}
        for key in ("blockxsize", "blockysize"):
            profile.pop(key, None)
        with rasterio.open(out, "w", **profile) as part:
            part.write(whole.read(window=window))
            part.descriptions, part.scales, part.offsets = whole.descriptions, whole.scales, whole.offsets
            part.units, part.colorinterp = whole.units, whole.colorinterp
            part.update_tags(**whole.tags())
            if profile.get("photometric") == "palette" or whole.colorinterp[0] == ColorInterp.palette:
                part.write_colormap(1, whole.colormap(1))
    return out


CASES = {
    "as the model has it": (SENTINEL, numbers(4, size=SIZE), SAID, {}),
    "in another order": (SENTINEL, numbers(4, size=SIZE), SAID | {"names": NAMED[::-1]}, {}),
    "with an offset": (SENTINEL, numbers(4, size=SIZE) + 1000, SAID | {"offset": -0.1}, {}),
    "in int16": (SENTINEL, numbers(4, "int16", SIZE), SAID | {"nodata": -9999}, {}),
    "in float64": (SENTINEL, numbers(4, size=SIZE) * 1e-4, SAID | {"scale": 1.0}, {"reflectance": [1, 0]}),
    "with nothing in places": (EMPTY, HOLED, SAID | {"nodata": 0}, {}),
    "with NaN": (EMPTY, np.where(HOLED, HOLED * 1e-4, np.nan).astype("float32"),
                 SAID | {"scale": 1.0}, {"reflectance": [1, 0]}),
    "of which numbers are said": (SENTINEL, numbers(6, size=SIZE), {},
                                  {"bands": ["B02=1", "B03=2", "B04=3", "B08=6"], "reflectance": [1e-4, 0]}),
    "with spectral indices": (None, numbers(4, size=SIZE), SAID, {}),
    "in colours": (RGB, numbers(3, "uint8", SIZE), {"photometric": "RGB"}, {}),
    "in colours, tiled": (RGB, numbers(3, "uint8", SIZE), {"tiled": True, "blockxsize": 16, "blockysize": 16}, {}),
    "in grey": (RGB, numbers(1, "uint8", SIZE), {}, {}),
    "in colours, named": (RGB, numbers(4, "uint8", SIZE), {"names": ("nir", "red", "green", "blue")}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_window_holds_what_predict_reads_of_it(case, tmp_path):
    bands, values, options, reading = case
    model = described(bands or SENTINEL)
    if bands is None:
        names = (*NAMED, "NDVI")
        spec = replace(SENTINEL, names=names, dtype="float32", scale=(1e-4,) * 4 + (1.0,), offset=(0.0,) * 5,
                       nodata=float("nan"))  # fmt: skip
        model = described(spec, sensor="sentinel2_l2a", indices=["NDVI"])
    file = raster(tmp_path / "scene.tif", values, **options)
    with open_scene(file, model, reading=reading) as scene:
        found, valid = scene.read(ROWS, COLS)
    expected = as_predict_reads(cut(file), model, **reading)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype == model.bands.dtype
    assert valid.mean() > 0.4
    assert scene.bands == model.bands
    with rasterio.open(file) as dataset:
        assert tuple(scene.grid.shape) == dataset.shape
        assert scene.grid.affine == dataset.transform
        assert scene.grid.crs.to_epsg() == dataset.crs.to_epsg()


def test_threads_read_what_one_does(tmp_path):
    values = numbers(4, size=(256, 256))
    file = raster(tmp_path / "a.tif", values, **SAID, compress="deflate", tiled=True, blockxsize=64, blockysize=64)
    with open_scene(file, described(SENTINEL)) as scene, ThreadPoolExecutor(8) as pool:
        rows = [slice(at, at + 8) for at in range(0, 256, 8)]
        strips = pool.map(lambda each: scene.read(each, slice(0, 256))[0], rows)
        np.testing.assert_array_equal(np.concatenate(list(strips)), values)
    assert scene.block == (64, 64)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"crs": None}, "no CRS"),
        ({"names": ()}, "4 bands of uint16 without names"),
        ({"names": ("a", "b", "c", "d")}, "no band B02 among a, b, c, d"),
        ({"units": ""}, "numbers in unknown units"),
    ],
)
def test_what_predict_refuses_is_refused(options, said, tmp_path):
    file = raster(tmp_path / "a.tif", numbers(4), **SAID | options)
    with pytest.raises(DataError, match=said) as error:
        open_scene(file, described(SENTINEL))
    assert "a.tif" in str(error.value)
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.shared
class TestRealScenes:
    def test_a_time_series_in_degrees(self, shared):
        files = sorted((shared / "data" / "scenes" / "boadella").glob("*.tif"))
        boxes = []
        for file in files[:3]:
            with open_scene(file, described(SENTINEL, sensor="sentinel2_l2a")) as scene:
                values, valid = whole(scene)
                boxes.append(scene.grid)
                assert str(scene.when.date()) in file.name
        assert {box.crs.to_epsg() for box in boxes} == {32631}
        assert len({tuple(box.affine) for box in boxes}) == 1
        assert boxes[0].resolution.x == 10
        assert valid.mean() > 0.98
        with rasterio.open(files[2]) as dataset:
            means = dataset.read([2, 3, 4, 8]).mean(axis=(1, 2))
        np.testing.assert_allclose(values[valid].mean(axis=0), means, rtol=0.01)

    def test_an_item_of_sentinel2_with_clouds(self, shared):
        (file,) = (shared / "data" / "scenes" / "s2_l2a" / "S2B_33TWL_20230810_0_L2A").glob("*.json")
        model = described(replace(SENTINEL, gsd=120.0), sensor="sentinel2_l2a")
        with open_scene(file, model) as scene:
            values, valid = whole(scene)
        assert scene.grid.crs.to_epsg() == 32633
        assert tuple(scene.grid.affine)[:6] == (120, 0, 499_980, 0, -120, 5_100_000)
        with rasterio.open(file.parent / "SCL.tif") as dataset:
            hidden = np.isin(dataset.read(1), [0, 1, 3, 8, 9, 10])
        assert abs((~valid).mean() - hidden.mean()) < 1e-3
        with rasterio.open(file.parent / "B08.tif") as dataset:
            np.testing.assert_array_equal(values[valid][:, 3], dataset.read(1)[valid])

    def test_bands_of_mixed_resolution(self, shared):
        spec = BandSpec(("B01", "B05", "B11"), "uint16", (1e-4,) * 3, (0.0,) * 3, None, "reflectance", 20.0)
        files = sorted((shared / "data" / "scenes" / "s2_l1c").glob("*.jp2"))
        with open_scene(files, described(spec, sensor="sentinel2_l1c")) as scene:
            values, valid = whole(scene)
        with rasterio.open(files[1]) as dataset:
            assert tuple(scene.grid.shape) == dataset.shape
            np.testing.assert_array_equal(values[valid][:, 1], dataset.read(1)[valid])
        assert valid.mean() > 0.99

    def test_landsat_and_aerial_images(self, shared):
        folder = shared / "data" / "scenes"
        files = sorted((folder / "landsat8").glob("*.tif"))
        spec = BandSpec(("blue", "green", "red", "nir"), "uint16", (2.75e-5,) * 4, (-0.2,) * 4, 0, "reflectance", 30.0)
        with open_scene(files, described(spec), reading={"sensor": "landsat8"}) as scene:
            values, valid = whole(scene)
        for i, file in enumerate(files):
            with rasterio.open(file) as dataset:
                np.testing.assert_array_equal(values[..., i], dataset.read(1))
        assert valid.all()
        for file in (folder / "naip").glob("*.tif"):
            with open_scene(file, described(RGB), reading={"sensor": "naip"}) as scene:
                values = whole(scene)[0]
            with rasterio.open(file) as dataset:
                np.testing.assert_array_equal(values, np.moveaxis(dataset.read([1, 2, 3]), 0, -1))
