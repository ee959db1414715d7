"""STAC items as scenes: bands, places, numbers, times and clouds as an item says."""

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
from scene_models import (
    MODEL,
    RGB,
    SENTINEL,
    SIZE,
    VALUES,
    described,
    numbers,
    raster,
    read,
    whole,
)

from landsift.bands import BandSpec
from landsift.errors import DataError
from landsift.mapping.scenes import open_scene


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

    def test_of_naip(self, tmp_path):
        values = numbers(4, "uint8", SIZE)
        raster(tmp_path / "m.tif", values)
        file = item(tmp_path)
        stored = json.loads(file.read_text())
        bands = [{"name": name.upper(), "common_name": name} for name in ("red", "green", "blue", "nir")]
        del stored["properties"]["s2:processing_baseline"]
        stored["assets"] = {"image": {"href": "m.tif", "roles": ["data"], "eo:bands": bands}}
        file.write_text(json.dumps(stored))
        np.testing.assert_array_equal(read(file, described(RGB)), values[..., :3])

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
