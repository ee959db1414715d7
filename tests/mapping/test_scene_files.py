"""Scenes of several files, STAC items and Sentinel-2 products: which band lies where, and what its numbers are."""

import functools
import http.server
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import calculate_default_transform, reproject
from scene_models import NAMED, NORTH_UP, RGB, SENTINEL, described, numbers, raster

from landsift.bands import BandSpec
from landsift.errors import DataError
from landsift.mapping.scene_files import when_of
from landsift.mapping.scenes import Scene, open_scene
from landsift.mapping.stacked_bands import token_bands

SIZE = (48, 40)
VALUES = numbers(4, size=SIZE)
SAID = {"scale": 1e-4, "units": "reflectance"}
COARSE = from_origin(500_000, 5_500_000, 20, 20)
MODEL = described(SENTINEL, sensor="sentinel2_l2a")


def whole(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    return scene.read(slice(0, scene.grid.shape[0]), slice(0, scene.grid.shape[1]))


def read(sources, model=MODEL, **how) -> np.ndarray:
    with open_scene(sources, model, **how) as scene:
        return whole(scene)[0]


def bands(folder: Path, names=NAMED, values=VALUES, pattern="{}.tif", **options) -> list[Path]:
    """A file for each band."""
    return [
        raster(folder / pattern.format(name), values[..., i : i + 1], **SAID | options) for i, name in enumerate(names)
    ]


class TestFiles:
    @pytest.mark.parametrize(
        "pattern", ["{}.tif", "T31UDQ_20200614T105031_{}_10m.tif", "S2A_x_{}.tif", "scene-{}.TIF", "a.{}.tif"]
    )
    def test_bands_are_found_by_the_names_of_files(self, pattern, tmp_path, caplog):
        caplog.set_level(logging.INFO, "landsift")
        files = bands(tmp_path, pattern=pattern)
        np.testing.assert_array_equal(read(files[::-1]), VALUES)
        assert "bands by the names of their files" in caplog.text

    def test_by_what_a_file_says_before_its_name(self, tmp_path):
        files = [
            raster(tmp_path / f"B0{9 - i}.tif", VALUES[..., i : i + 1], **SAID, names=[name])
            for i, name in enumerate(NAMED)
        ]
        np.testing.assert_array_equal(read(files), VALUES)

    def test_by_their_order_where_data_bands_says_so(self, tmp_path):
        files = bands(tmp_path, "wxyz")
        told = {"bands": ["B02=1", "B03=2", "B04=3", "B08=4"]}
        np.testing.assert_array_equal(read(files, reading=told), VALUES)

    def test_of_other_resolutions(self, tmp_path, caplog):
        caplog.set_level(logging.INFO, "landsift")
        files = bands(tmp_path, NAMED[:3])
        rows = np.arange(SIZE[0] // 2, dtype=np.uint16)[:, None, None] * 100 + 1000
        rows = np.broadcast_to(rows, (SIZE[0] // 2, SIZE[1] // 2, 1))
        files.append(raster(tmp_path / "B08.tif", np.ascontiguousarray(rows), **SAID, transform=COARSE))
        found = read(files)
        np.testing.assert_array_equal(found[..., :3], VALUES[..., :3])
        expected = 1000 + (np.arange(SIZE[0]) - 0.5) * 50
        np.testing.assert_allclose(found[4:-4, 5, 3], expected[4:-4], atol=2)
        assert "resampled to the pixels of B02.tif: B08.tif" in caplog.text

    def test_of_another_part(self, tmp_path):
        files = bands(tmp_path, NAMED[:3])
        files.append(
            raster(tmp_path / "B08.tif", VALUES[8:, 8:, 3:], **SAID, transform=from_origin(500_080, 5_499_920, 10, 10))
        )
        with open_scene(files, MODEL) as scene:
            found, valid = whole(scene)
        np.testing.assert_array_equal(found[8:, 8:], VALUES[8:, 8:])
        assert valid[8:, 8:].all()
        assert not valid[:8].any()
        assert not valid[:, :8].any()

    def test_of_three_bytes(self, tmp_path):
        values = numbers(3, "uint8", SIZE)
        files = bands(tmp_path, ("blue", "green", "red"), values[..., ::-1], scale=1.0, units="")
        np.testing.assert_array_equal(read(files, described(RGB)), values)

    @pytest.mark.parametrize(
        ("names", "said"),
        [
            (["B02", "B03", "B04", "x_B03"], "band B03 is in B03.tif and in x_B03.tif"),
            (["B02", "B03", "B04", "B08_B8A"], "its name may mean band B08 or B8A"),
            (["B02", "B03", "B04", "other"], "which band is in other.tif is not known"),
            (["B02", "B03", "B04", "B05"], "no band B08 among B02, B03, B04, B05"),
            (["B02", "B03", "B04", "LC08_L2SP_191031_20200601_02_T1_SR_B5"], "by its name a file of Landsat"),
        ],
    )
    def test_what_would_have_to_be_guessed_is_refused(self, names, said, tmp_path):
        with pytest.raises(DataError) as error:
            open_scene(bands(tmp_path, names), MODEL)
        assert said in str(error.value)
        assert len(str(error.value).splitlines()) == 2

    def test_files_that_are_not_alike_are_refused(self, tmp_path):
        files = bands(tmp_path, NAMED[:3])
        other = raster(tmp_path / "B08.tif", VALUES[..., 3:].astype(np.float32), **SAID)
        with pytest.raises(DataError, match=r"B02.tif has numbers of uint16, and B08.tif numbers of float32"):
            open_scene([*files, other], MODEL)
        far = raster(tmp_path / "far" / "B08.tif", VALUES[..., 3:], **SAID, transform=from_origin(0, 0, 10, 10))
        with pytest.raises(DataError, match=r"it does not overlap B02\.tif"):
            open_scene([*files, far], MODEL)

    def test_a_damaged_file_is_named(self, tmp_path):
        file = raster(tmp_path / "a.tif", numbers(4, size=(256, 256)), names=NAMED, **SAID, compress="deflate")
        content = file.read_bytes()
        file.write_bytes(content[:100_000] + bytes(9000) + content[109_000:])
        with open_scene(file, MODEL) as scene, pytest.raises(DataError, match=r"a\.tif: damaged"):
            whole(scene)
        file.write_bytes(content[:-9000])
        with pytest.raises(DataError, match=r"a\.tif: damaged"):
            open_scene(file, MODEL)

    def test_files_of_several_dates_are_said(self, tmp_path, caplog):
        files = bands(tmp_path, NAMED[:3], pattern="20200101_{}.tif")
        files += bands(tmp_path, NAMED[3:], VALUES[..., 3:], pattern="20210101_{}.tif")
        with open_scene(files, MODEL) as scene:
            assert scene.when == datetime(2020, 1, 1, tzinfo=UTC)
        assert "files of different dates: 2020-01-01, 2021-01-01" in caplog.text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("T33TWL_20230810T094549_B8A_20m.jp2", ["B8A"]),
        ("LC08_L2SP_016039_20200102_20200113_02_T1_SR_B4.TIF", ["SR_B4"]),
        ("m_4709963_se_14_1_20090818.tif", []),
        ("RGB.byte.tif", []),
        ("nir.tif", ["nir"]),
        ("red_edge_1.tif", ["red_edge"]),
        ("T31_water.tif", []),
    ],
)
def test_bands_in_names(name, expected):
    found = token_bands(name)
    assert found[:1] == expected[:1] if expected else not found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("S2B_MSIL2A_20230810T094549_N0509", datetime(2023, 8, 10, 9, 45, 49, tzinfo=UTC)),
        ("Boadella_2020-01-13.tif", datetime(2020, 1, 13, tzinfo=UTC)),
        ("m_4709963_se_14_1_20090818", datetime(2009, 8, 18, tzinfo=UTC)),
        ("tile_20231399.tif", None),
        ("33TWL.tif", None),
    ],
)
def test_dates_in_names(text, expected):
    assert when_of(text) == expected


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


def item(folder: Path, **changes) -> Path:
    """A STAC item as earth-search writes them, with files that say nothing themselves."""
    assets = {}
    for key, band, i in (("blue", "B02", 0), ("green", "B03", 1), ("red", "B04", 2), ("nir", "B08", 3)):
        raster(folder / f"{band}.tif", VALUES[..., i : i + 1] + 1000, crs=None, transform=None)
        assets[key] = {
            "href": f"{band}.tif", "type": "image/tiff; application=geotiff", "roles": ["data", "reflectance"],
            "eo:bands": [{"name": key, "common_name": key}], "proj:shape": list(SIZE),
            "proj:transform": [10, 0, 500_000, 0, -10, 5_500_000],
            "raster:bands": [{"nodata": 0, "data_type": "uint16", "scale": 1e-4, "offset": -0.1}],
        }  # fmt: skip
        assets[f"{key}-jp2"] = {**assets[key], "href": f"s3://bucket/{band}.jp2", "type": "image/jp2"}
    scl = np.full((SIZE[0] // 2, SIZE[1] // 2, 1), 4, np.uint8)
    scl[:5] = 8
    raster(folder / "SCL.tif", scl, crs=None, transform=None)
    assets["scl"] = {
        "href": "SCL.tif",
        "proj:shape": list(scl.shape[:2]),
        "proj:transform": [20, 0, 500_000, 0, -20, 5_500_000],
    }
    assets["thumbnail"] = {"href": "t.jpg", "roles": ["thumbnail"]}
    assets["granule_metadata"] = {"href": "m.xml", "roles": ["metadata"]}
    stored = {
        "type": "Feature", "stac_version": "1.0.0", "id": "S2B_31UDQ", "bbox": [3, 49, 4, 50], "links": [],
        "geometry": {"type": "Point", "coordinates": [3, 49]}, "assets": assets,
        "properties": {"datetime": "2023-08-10T09:58:11.590000Z", "proj:epsg": 32631,
                       "s2:processing_baseline": "05.09"},
    }  # fmt: skip
    stored["properties"] |= changes.pop("properties", {})
    for key, change in changes.items():
        assets[key] |= change
    file = folder / "item.json"
    file.write_text(json.dumps(stored))
    return file


class TestItems:
    def test_bands_places_numbers_time_and_clouds_are_as_the_item_says(self, tmp_path, caplog):
        caplog.set_level(logging.INFO, "landsift")
        with open_scene(item(tmp_path), MODEL) as scene:
            found, valid = whole(scene)
        np.testing.assert_array_equal(found[10:], VALUES[10:])
        np.testing.assert_array_equal(valid.any(axis=1), np.arange(SIZE[0]) >= 10)
        assert scene.when == datetime(2023, 8, 10, 9, 58, 11, 590000, tzinfo=UTC)
        assert scene.name == "S2B_31UDQ"
        assert scene.grid.crs.to_epsg() == 32631
        assert tuple(scene.grid.affine)[:6] == (10, 0, 500_000, 0, -10, 5_500_000)
        assert "CRS and transform from its STAC item" in caplog.text
        with open_scene(tmp_path / "item.json", MODEL, mask="none") as scene:
            assert whole(scene)[1].all()

    def test_by_common_names(self, tmp_path):
        spec = BandSpec(("nir", "red"), "uint16", (1e-4,) * 2, (0.0,) * 2, None, "reflectance", 10.0)
        np.testing.assert_array_equal(read(item(tmp_path), described(spec), mask="none"), VALUES[..., [3, 2]])

    def test_of_stac_1_1(self, tmp_path):
        file = item(tmp_path)
        stored = json.loads(file.read_text())
        stored["stac_version"] = "1.1.0"
        stored["properties"]["proj:code"] = "EPSG:32631"
        del stored["properties"]["proj:epsg"]
        for asset in stored["assets"].values():
            if bands := asset.pop("eo:bands", None):
                asset["bands"] = [{"name": bands[0]["name"], "eo:common_name": bands[0]["common_name"],
                                   "raster:scale": 1e-4, "raster:offset": -0.1, "nodata": 0}]  # fmt: skip
                del asset["raster:bands"]
        file.write_text(json.dumps(stored))
        np.testing.assert_array_equal(read(file, mask="none"), VALUES)

    def test_an_offset_that_was_taken_out_is_not_taken_out_again(self, tmp_path, caplog):
        found = read(item(tmp_path, properties={"earthsearch:boa_offset_applied": True}), mask="none")
        np.testing.assert_array_equal(found, VALUES + 1000)
        assert "offset is no longer in the numbers" in caplog.text

    def test_a_baseline_without_an_offset_is_refused(self, tmp_path):
        file = item(tmp_path, **{key: {"raster:bands": []} for key in ("blue", "green", "red", "nir")})
        with pytest.raises(DataError, match="no tag that says whether its offset of 1,000"):
            open_scene(file, MODEL)
        np.testing.assert_array_equal(
            read(file, mask="none", reading={"reflectance": [1e-4, -0.1], "sensor": "sentinel2_l2a"}), VALUES
        )

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("{", "no JSON"),
            ("[]", "no STAC item"),
            ('{"type": "FeatureCollection", "features": []}', "a FeatureCollection of STAC, where one item is read"),
            ('{"type": "Collection"}', "a Collection of STAC"),
            ('{"type": "Feature", "geometry": null, "properties": {}}', "no STAC item"),
            ('{"type": "Feature", "assets": {}}', "no STAC item"),
        ],
    )
    def test_what_is_no_item_is_refused(self, text, said, tmp_path):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(DataError, match=said) as error:
            open_scene(tmp_path / "a.json", MODEL)
        assert len(str(error.value).splitlines()) == 2

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"red": {"href": "https://example.com/B04.tif"}}, "nothing is fetched from the network"),
            ({"red": {"href": "s3://bucket/B04.tif"}}, "nothing is fetched from the network"),
            ({"red": {"href": "gone.tif"}}, "its asset red is not there"),
            ({"red": {"eo:bands": [], "href": "x.tif", "roles": ["thumbnail"]},
              "red-jp2": {"roles": ["thumbnail"]}}, "no asset that is band B04"),
            ({"properties": {"proj:epsg": None}}, "no CRS"),
            ({key: {"proj:shape": [50, 80]} for key in ("blue", "green", "red", "nir")}, "no place of its own"),
        ],
    )  # fmt: skip
    def test_what_is_missing_is_named(self, changes, said, tmp_path):
        with pytest.raises(DataError, match=said) as error:
            open_scene(item(tmp_path, **changes), MODEL, mask="none")
        assert len(str(error.value).splitlines()) == 2

    def test_reduced_files_take_the_place_of_the_whole(self, tmp_path, caplog):
        caplog.set_level(logging.INFO, "landsift")
        whole_size = {key: {"proj:shape": [SIZE[0] * 2, SIZE[1] * 2]} for key in ("blue", "green", "red", "nir")}
        model = described(replace(SENTINEL, gsd=20.0), sensor="sentinel2_l2a")
        with open_scene(item(tmp_path, **whole_size), model, mask="none") as scene:
            np.testing.assert_array_equal(whole(scene)[0], VALUES)
            assert scene.grid.resolution.x == 20
        assert "of which each pixel is 2 × 2" in caplog.text

    def test_a_url_of_this_machine(self, tmp_path, served):
        item(tmp_path)
        np.testing.assert_array_equal(read(f"{served}/item.json", mask="none"), VALUES)
        with pytest.raises(DataError, match="404"):
            open_scene(f"{served}/other.json", MODEL)

    def test_a_url_elsewhere_is_refused(self):
        with pytest.raises(DataError, match="nothing is fetched from the network"):
            open_scene("https://example.com/item.json", MODEL)

    def test_a_picture(self, tmp_path):
        values = numbers(3, "uint8", SIZE)
        raster(tmp_path / "TCI.tif", values, photometric="RGB")
        file = item(tmp_path)
        stored = json.loads(file.read_text())
        stored["assets"]["visual"] = {"href": "TCI.tif", "roles": ["visual"]}
        file.write_text(json.dumps(stored))
        np.testing.assert_array_equal(read(file, described(RGB), mask="none"), values)


@pytest.fixture
def served(tmp_path) -> Iterator[str]:
    """The address of a server of the folder."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class TestProducts:
    def product(self, folder: Path, baseline: str = "05.09", offset: int = -1000) -> Path:
        root = folder / "S2B_MSIL2A_20230810T094549_N0509_R079_T31UDQ_20230810T130104.SAFE"
        images = root / "GRANULE" / "L2A_T31UDQ_A033567_20230810T095651" / "IMG_DATA"
        start = "T31UDQ_20230810T094549"
        for i, band in enumerate(NAMED):
            values = VALUES[..., i : i + 1] + np.uint16(-offset)
            raster(
                images / "R10m" / f"{start}_{band}_10m.jp2",
                values,
                driver="JP2OpenJPEG",
                QUALITY="100",
                REVERSIBLE="YES",
            )
            if band != "B08":
                half = np.ascontiguousarray(values[::2, ::2])
                raster(images / "R20m" / f"{start}_{band}_20m.jp2", half, driver="JP2OpenJPEG", QUALITY="100",
                       REVERSIBLE="YES", transform=COARSE)  # fmt: skip
        scl = np.full((SIZE[0] // 2, SIZE[1] // 2, 1), 4, np.uint8)
        scl[:5] = 8
        raster(images / "R20m" / f"{start}_SCL_20m.jp2", scl, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES",
               transform=COARSE)  # fmt: skip
        listed = (
            "".join(f'<BOA_ADD_OFFSET band_id="{i}">{offset}</BOA_ADD_OFFSET>' for i in range(13)) if offset else ""
        )
        (root / "MTD_MSIL2A.xml").write_text(
            '<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">'
            f"<PRODUCT_START_TIME>2023-08-10T09:45:49.024Z</PRODUCT_START_TIME><PROCESSING_BASELINE>{baseline}"
            '</PROCESSING_BASELINE><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>'
            f"<BOA_ADD_OFFSET_VALUES_LIST>{listed}</BOA_ADD_OFFSET_VALUES_LIST></n1:Level-2A_User_Product>"
        )
        return root

    @pytest.mark.parametrize(("baseline", "offset"), [("05.09", -1000), ("02.14", 0)])
    def test_its_metadata_say_what_the_numbers_are(self, baseline, offset, tmp_path):
        root = self.product(tmp_path, baseline, offset)
        with open_scene(root, MODEL) as scene:
            found, valid = whole(scene)
        np.testing.assert_array_equal(found[10:], VALUES[10:])
        np.testing.assert_array_equal(valid.any(axis=1), np.arange(SIZE[0]) >= 10)
        assert scene.when == datetime(2023, 8, 10, 9, 45, 49, tzinfo=UTC)
        assert scene.grid.resolution.x == 10

    def test_files_of_a_product_are_read_with_them(self, tmp_path):
        files = sorted(self.product(tmp_path).rglob("*_10m.jp2"))
        np.testing.assert_array_equal(read(files), VALUES)

    def test_without_them_it_is_refused(self, tmp_path):
        root = self.product(tmp_path)
        (root / "MTD_MSIL2A.xml").unlink()
        with pytest.raises(DataError, match=r"no MTD_MSIL1C\.xml or MTD_MSIL2A\.xml"):
            open_scene(root, MODEL)

    def test_another_folder_is_refused(self, tmp_path):
        with pytest.raises(DataError, match="a folder, where the files of one scene are read"):
            open_scene(tmp_path, MODEL)
