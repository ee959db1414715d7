"""Scenes of several files: which band lies where."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from rasterio.transform import from_origin
from scene_models import COARSE, MODEL, NAMED, RGB, SAID, SIZE, VALUES, described, numbers, raster, read, whole

from landsift.errors import DataError
from landsift.mapping.scene_files import when_of
from landsift.mapping.scenes import open_scene
from landsift.mapping.stacked_bands import token_bands


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

    def test_of_another_part(self, tmp_path, caplog):
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
        assert "beyond which there is no data, lies in B08.tif" in caplog.text

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

    def test_what_is_no_raster_is_refused_with_what_is_read(self, tmp_path):
        for content, said in (
            (b"PK\x03\x04", "unpack it"),
            (b"<html>", "a web page"),
            (b"text", "no raster that is read"),
        ):
            (tmp_path / "a.tif").write_bytes(content * 9)
            with pytest.raises(DataError, match=said):
                open_scene(tmp_path / "a.tif", MODEL)
        with pytest.raises(DataError, match="the file does not exist"):
            open_scene(tmp_path / "b.tif", MODEL)


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
