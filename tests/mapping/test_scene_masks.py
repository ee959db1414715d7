"""Which pixels of a scene are valid: borders, alpha, masks of classes."""

import logging
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import calculate_default_transform, reproject
from scene_models import (
    COARSE,
    MODEL,
    NAMED,
    NORTH_UP,
    RGB,
    SAID,
    SENTINEL,
    SIZE,
    VALUES,
    described,
    numbers,
    raster,
    read,
    whole,
)

from landsift.errors import DataError
from landsift.mapping.scenes import open_scene


class TestValid:
    def test_a_black_border_is_not_valid(self, tmp_path, caplog):
        values = VALUES.copy()
        values[:10] = 0
        values[20, 20, 1] = 0
        with open_scene(raster(tmp_path / "a.tif", values, names=NAMED, **SAID), MODEL) as scene:
            found, valid = whole(scene)
        np.testing.assert_array_equal(found, values)
        np.testing.assert_array_equal(valid, np.arange(SIZE[0])[:, None] >= 10 + 0 * np.arange(SIZE[1]))
        assert "0 in all bands, and not declared as no data: they count as such (400 in all)" in caplog.text

    def test_nor_that_of_a_picture(self, tmp_path):
        values = numbers(3, "uint8", SIZE)
        values[:10] = 0
        values[20, 20, 0] = 0
        for name, how in (("a", {}), ("b", {"nodata": 0})):
            with open_scene(
                raster(tmp_path / f"{name}.tif", values, photometric="RGB", **how), described(RGB)
            ) as scene:
                found, valid = whole(scene)
            np.testing.assert_array_equal(found[10:], values[10:])
            assert valid[10:].all()
            assert not valid[:10].any()

    def test_what_alpha_hides_is_not_valid(self, tmp_path):
        values = numbers(4, "uint8", SIZE)
        values[..., 3] = 255
        values[:, :7, 3] = 0
        file = raster(tmp_path / "a.tif", values, photometric="RGB", alpha="YES")
        with open_scene(file, described(RGB)) as scene:
            found, valid = whole(scene)
        np.testing.assert_array_equal(found[:, 7:], values[:, 7:, :3])
        np.testing.assert_array_equal(valid.any(axis=0), np.arange(SIZE[1]) >= 7)

    def test_a_fourth_band_is_not_taken_for_alpha(self, tmp_path):
        file = raster(tmp_path / "a.tif", numbers(4, "uint8", SIZE), photometric="RGB", alpha="YES")
        with pytest.raises(DataError, match="declared as alpha, but holds values like the others"):
            open_scene(file, described(RGB))

    def test_colours_of_a_table(self, tmp_path):
        file = raster(tmp_path / "a.tif", numbers(1, "uint8", SIZE) % 4, photometric="palette")
        table = {i: (i, 10 * i, 20 * i) for i in range(4)}
        with rasterio.open(file, "r+") as dataset:
            dataset.write_colormap(1, table)
        found = read(file, described(RGB))
        np.testing.assert_array_equal(found, (numbers(1, "uint8", SIZE) % 4) * np.array([1, 10, 20], np.uint8))

    def test_single_holes_in_few_bands_are_filled(self, tmp_path):
        values = VALUES.copy()
        values[5, 5, 0], values[6, 6, :3] = 0, 0
        file = raster(tmp_path / "a.tif", values, names=NAMED, **SAID, nodata=0)
        with open_scene(file, described(SENTINEL, mean=0.3)) as scene:
            found, valid = whole(scene)
        assert found[5, 5].tolist() == [3000, *values[5, 5, 1:]]
        assert valid[5, 5]
        assert not valid[6, 6]


class TestMasks:
    @pytest.fixture
    def scene(self, tmp_path) -> Path:
        return raster(tmp_path / "scene.tif", VALUES, names=NAMED, **SAID)

    def classes(self, path: Path, size=SIZE, dtype=np.uint8, **options) -> Path:
        values = np.full((*size, 1), 4, dtype)
        values[: size[0] // 2] = 9
        values[: size[0] // 4] = 11
        return raster(path, values, **options)

    def expected(self) -> np.ndarray:
        rows = np.arange(SIZE[0])
        return np.broadcast_to(((rows >= SIZE[0] // 2) | (rows < SIZE[0] // 4))[:, None], SIZE)

    @pytest.mark.parametrize("name", ["SCL.tif", "T31_SCL_20m.tif", "a-scl.tif"])
    @pytest.mark.parametrize("coarse", [False, True])
    def test_the_scene_classification_of_sentinel2(self, name, coarse, scene, tmp_path, caplog):
        caplog.set_level(logging.INFO, "landsift")
        size = (SIZE[0] // 2, SIZE[1] // 2) if coarse else SIZE
        mask = self.classes(tmp_path / name, size, **({"transform": COARSE} if coarse else {}))
        with open_scene(scene, described(SENTINEL, mean=0.25), mask=mask) as opened:
            found, valid = whole(opened)
        np.testing.assert_array_equal(valid, self.expected())  # snow stays
        np.testing.assert_array_equal(found[valid], VALUES[valid])
        assert (found[~valid] == 2500).all()
        assert "10 thin cirrus" in caplog.text

    def test_in_another_crs_and_without_one(self, scene, tmp_path):
        mask = self.classes(tmp_path / "SCL.tif")
        bare = self.classes(tmp_path / "bare_SCL.tif", crs=None, transform=None)
        to, width, height = calculate_default_transform(
            "EPSG:32631", "EPSG:4326", SIZE[1], SIZE[0], 500_000, 5_499_520, 500_400, 5_500_000, resolution=5e-5
        )
        values = np.zeros((height, width), np.uint8)
        reproject(
            np.where(self.expected(), 4, 9).astype(np.uint8),
            values,
            src_transform=NORTH_UP,
            src_crs="EPSG:32631",
            dst_transform=to,
            dst_crs="EPSG:4326",
        )
        degrees = raster(tmp_path / "degrees_SCL.tif", values[..., None], crs="EPSG:4326", transform=to)
        for each in (mask, bare, degrees):
            with open_scene(scene, MODEL, mask=each) as opened:
                assert (whole(opened)[1] == self.expected())[2:-2, 2:-2].mean() > (0.95 if each == degrees else 0.999)

    def test_a_mask_of_two_numbers(self, scene, tmp_path):
        mask = raster(tmp_path / "clear.tif", np.where(self.expected(), 255, 0).astype(np.uint8)[..., None])
        with open_scene(scene, MODEL, mask=mask) as opened:
            np.testing.assert_array_equal(whole(opened)[1], self.expected())

    def test_classes_that_are_said(self, scene, tmp_path):
        mask = raster(tmp_path / "clouds.tif", np.where(self.expected(), 0, 1).astype(np.uint8)[..., None])
        with open_scene(scene, MODEL, mask=mask, mask_classes=[1]) as opened:
            np.testing.assert_array_equal(whole(opened)[1], self.expected())
        with pytest.raises(DataError, match="what the numbers of this mask mean is not known"):
            open_scene(scene, MODEL, mask=mask)

    def test_a_mask_of_a_part(self, scene, tmp_path, caplog):
        mask = raster(tmp_path / "SCL.tif", np.full((10, SIZE[1], 1), 4, np.uint8))
        with open_scene(scene, MODEL, mask=mask) as opened:
            valid = whole(opened)[1]
        np.testing.assert_array_equal(valid.all(axis=1), np.arange(SIZE[0]) < 10)
        assert f"pixels beyond the mask: they count as no data ({38 * SIZE[1]:,} in all)" in caplog.text

    @pytest.mark.parametrize(
        ("values", "options", "said"),
        [
            (np.full((9, 9, 1), 4, np.uint8), {"transform": from_origin(0, 0, 10, 10)}, "does not overlap"),
            (np.full((9, 9, 1), 0.5, np.float32), {}, "a mask of float32"),
            (np.full((9, 9, 3), 4, np.uint8), {}, "a mask of 3 bands"),
            (np.full((9, 12, 1), 4, np.uint8), {"crs": None, "transform": None}, "no place of its own, and 9 × 12"),
        ],
    )
    def test_others_are_refused(self, values, options, said, scene, tmp_path):
        with pytest.raises(DataError, match=said):
            open_scene(scene, MODEL, mask=raster(tmp_path / "SCL.tif", values, **options))
