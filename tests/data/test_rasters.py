"""Rasters of any bands: values as they are stored, what files say of them, and what of it fits together."""

import csv
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from opened_files import Opened, open_patches
from PIL import Image
from raster_files import NORTH_UP, numbers, raster
from rasterio.enums import ColorInterp
from rasterio.transform import Affine, from_origin
from small_sources import data_config, random_pixels, refused

from landsift.bands import BandSpec
from landsift.config import DataConfig
from landsift.data.decoding import decode as decoding
from landsift.data.decoding import gdal
from landsift.data.decoding.decode import decode
from landsift.data.decoding.unreadable import UnreadableError
from landsift.data.sources import scan_memo
from landsift.data.sources.base import content_fingerprint, open_source
from landsift.data.sources.scanning import scan
from landsift.errors import DataError

TURNED = Affine(8.66, 5, 500_000, 5, -8.66, 4_000_000)
EUROSAT = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")


def opened(*files: Path, **settings: object) -> Opened:
    return open_patches(files, DataConfig(**settings))


def as_rasterio_reads(file: Path) -> np.ndarray:
    with rasterio.open(file) as dataset:
        return np.moveaxis(dataset.read(), 0, -1)


class TestValues:
    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
    @pytest.mark.parametrize("count", [1, 2, 4, 13])
    def test_all_bands_of_every_type_are_as_they_are_stored(self, tmp_path, dtype, count):
        values = numbers(count, dtype)
        file = raster(tmp_path / "a.tif", values)
        found = opened(file, bands="all")
        decoded = found.read(file)
        np.testing.assert_array_equal(decoded.array, values)
        assert decoded.array.dtype == dtype == found.spec.dtype
        assert decoded.array.flags.c_contiguous
        assert found.spec.names == tuple(f"band_{i + 1}" for i in range(count))

    @pytest.mark.parametrize(
        ("name", "driver", "options"),
        [
            ("a.tif", "GTiff", {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}),
            ("b.tif", "GTiff", {"interleave": "band", "compress": "lzw", "predictor": 2}),
            ("c.tif", "COG", {}),
            ("d.jp2", "JP2OpenJPEG", {"QUALITY": "100", "REVERSIBLE": "YES"}),
            ("e.bsq", "ENVI", {}),
            ("f.img", "HFA", {}),
            ("g.tif", "GTiff", {"BIGTIFF": "YES", "ENDIANNESS": "BIG"}),
        ],
    )
    def test_so_are_those_of_other_formats(self, tmp_path, name, driver, options):
        values = numbers(5, size=(32, 48))
        file = raster(tmp_path / name, values, driver=driver, **options)
        decoded = opened(file, bands="all").read(file)
        np.testing.assert_array_equal(decoded.array, values)
        assert decoded.place.known

    def test_a_vrt_is_what_its_sources_are(self, tmp_path):
        values = numbers(2)
        raster(tmp_path / "a.tif", values)
        body = "".join(
            f'<VRTRasterBand dataType="UInt16" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">a.tif'
            f"</SourceFilename><SourceBand>{3 - band}</SourceBand></SimpleSource></VRTRasterBand>"
            for band in (1, 2)
        )
        file = tmp_path / "b.vrt"
        file.write_text(f'<VRTDataset rasterXSize="12" rasterYSize="16">{body}</VRTDataset>')
        np.testing.assert_array_equal(opened(file, bands="all").read(file).array, values[..., ::-1])

    def test_a_vrt_of_itself_is_refused(self, tmp_path):
        file = tmp_path / "a.vrt"
        file.write_text(
            '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
            '<SourceFilename relativeToVRT="1">a.vrt</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
        )
        refused(lambda: opened(file, bands="all"), "a VRT of VRTs")

    def test_what_gdal_says_is_heard(self, tmp_path):
        file = raster(tmp_path / "a.tif", numbers(2), names=("a", "b"))
        file.write_bytes(file.read_bytes().replace(b"<GDALMetadata>", b"<GDALMetadat >"))
        seen = opened(file, bands="all").patches.look(file, file.read_bytes())
        assert seen.bands.names == (None, None)
        assert any(note.startswith("GDAL: Line ") for note in seen.notes)

    def test_png_of_16_bits(self, tmp_path):
        values = numbers(1)
        Image.fromarray(values[..., 0]).save(tmp_path / "a.png")
        np.testing.assert_array_equal(opened(tmp_path / "a.png", bands="all").read(tmp_path / "a.png").array, values)

    def test_many_threads_read_what_one_does(self, tmp_path):
        files = [raster(tmp_path / f"{i}.tif", numbers(6, seed=i), compress="deflate") for i in range(60)]
        found = opened(*files, bands="all")
        with ThreadPoolExecutor(8) as pool:
            for seed, decoded in enumerate(pool.map(found.read, files)):
                np.testing.assert_array_equal(decoded.array, numbers(6, seed=seed))

    def test_large_ones_are_read_one_at_a_time(self, tmp_path, monkeypatch):
        values = numbers(3)
        file = raster(tmp_path / "a.tif", values, names=("a", "b", "c"))
        monkeypatch.setattr(decoding, "_LARGE", 10)
        np.testing.assert_array_equal(opened(file).read(file).array, values)

    @pytest.mark.parametrize(("dtype", "stored"), [("int8", "int16"), ("int32", "float32"), ("uint32", "float32"),
                                                   ("float64", "float32")])  # fmt: skip
    def test_other_types_are_read_where_each_number_stays_what_it_is(self, tmp_path, dtype, stored):
        values = (numbers(3) // 40).astype(dtype)
        file = raster(tmp_path / "a.tif", values)
        found = opened(file, bands="all")
        np.testing.assert_array_equal(found.read(file).array, values)
        assert found.spec.dtype == stored

    @pytest.mark.parametrize(("dtype", "number"), [("int32", 2**24 + 1), ("uint32", 2**31), ("float64", 2**24 + 1),
                                                   ("float64", 1e300)])  # fmt: skip
    def test_and_refused_where_one_would_not(self, tmp_path, dtype, number):
        values = np.full((8, 8, 2), number, dtype=dtype)
        file = raster(tmp_path / "a.tif", values)
        with pytest.raises(UnreadableError, match="does not hold exactly"):
            opened(file, bands="all").read(file)

    def test_another_size_keeps_no_data_apart(self, tmp_path):
        values = np.full((32, 32, 2), 2000, np.uint16)
        values[:, :16] = 0
        file = raster(tmp_path / "a.tif", values, nodata=0, names=("a", "b"))
        small = opened(file).read(file, (8, 8)).array
        assert (small[:, :4] == 0).all()
        assert (small[:, 4:] == 2000).all()

    def test_another_size_of_bytes_is_what_pictures_become(self, tmp_path):
        pixels = random_pixels(3, (20, 24))
        Image.fromarray(pixels).save(tmp_path / "p.png")
        file = raster(tmp_path / "a.tif", np.dstack([pixels, pixels[..., :1]]), names=("a", "b", "c", "d"))
        found = opened(file).read(file, (9, 7)).array
        np.testing.assert_array_equal(found[..., :3], decode((tmp_path / "p.png").read_bytes(), (9, 7)))


class TestPictures:
    def test_pictures_are_read_as_ever(self, tmp_path):
        files = []
        for i, (mode, ending) in enumerate((("RGB", "png"), ("L", "png"), ("RGBA", "png"), ("RGB", "jpg"))):
            files.append(tmp_path / f"{i}.{ending}")
            Image.fromarray(random_pixels(i)).convert(mode).save(files[-1])
        found = opened(*files)
        assert found.spec == BandSpec.pictures()
        for file in files:
            np.testing.assert_array_equal(found.read(file, (16, 16)).array, decode(file.read_bytes(), (16, 16)))

    def test_a_geotiff_of_three_bytes_has_its_place_besides(self, tmp_path):
        pixels = random_pixels(1)
        file = raster(tmp_path / "a.tif", pixels, photometric="RGB")
        found = opened(file)
        decoded = found.read(file)
        assert found.spec == BandSpec.pictures()
        np.testing.assert_array_equal(decoded.array, pixels)
        assert decoded.place.lon == pytest.approx(3.0012, abs=1e-3)

    def test_names_of_bands_that_are_no_rgb_are_said(self, tmp_path):
        for label in "ab":
            raster(tmp_path / "p" / label / "a.tif", random_pixels(1), names=("nir", "red", "green"))
        scans = scan(open_source(data_config(f"data.source={tmp_path / 'p'}")))
        assert scans.notes["bands that are called nir, red, green, stored as red, green and blue"] == 2

    def test_a_fourth_band_that_is_called_something_is_no_alpha(self, tmp_path):
        values = numbers(4, "uint8")
        file = raster(tmp_path / "a.tif", values, names=("blue", "green", "red", "nir"))
        found = opened(file)
        assert found.spec.names == ("blue", "green", "red", "nir")
        np.testing.assert_array_equal(found.read(file).array, values)

    def test_one_that_pillow_does_not_decompress_is_a_picture_all_the_same(self, tmp_path):
        pixels = random_pixels(1, (32, 32))
        file = raster(tmp_path / "a.tif", pixels, photometric="RGB", compress="webp", WEBP_LOSSLESS=True)
        plain = raster(tmp_path / "b.tif", pixels, photometric="RGB")
        found = opened(file, plain)
        assert (found.spec, found.left_out) == (BandSpec.pictures(), [])
        np.testing.assert_array_equal(found.read(file).array, pixels)

    def test_bands_of_pictures_may_be_chosen_too(self, tmp_path):
        Image.fromarray(random_pixels(1)).save(tmp_path / "a.png")
        found = opened(tmp_path / "a.png", bands=("blue", 1))
        assert found.spec.names == ("blue", "red")
        np.testing.assert_array_equal(found.read(tmp_path / "a.png").array, random_pixels(1)[..., [2, 0]])


class TestNames:
    def test_a_file_that_names_its_bands_needs_no_more(self, tmp_path):
        file = raster(tmp_path / "a.tif", numbers(3), names=("VV", "VH", "angle"), units="dB")
        found = opened(file)
        assert (found.spec.names, found.spec.units, found.spec.scale) == (("VV", "VH", "angle"), "dB", (1.0,) * 3)

    def test_names_that_only_count_are_none(self, tmp_path):
        file = raster(tmp_path / "a.tif", numbers(2), names=("Band 1", "Band 2"))
        refused(lambda: opened(file), "2 bands of 16 bits", "data.sensor=NAME")

    @pytest.mark.parametrize(
        ("wanted", "names", "picks"),
        [
            ((4, 3, 2), ("B04", "B03", "B02"), (3, 2, 1)),
            (("B8A", "b08", "B8"[:2]), None, None),
            (("nir", "RED", "Coastal Aerosol", 13), ("B08", "B04", "B01", "B8A"), (7, 3, 0, 12)),
            (("B8", "red=4"), ("B08", "B04"), (7, 3)),
            ("all", EUROSAT, tuple(range(13))),
            (None, EUROSAT, tuple(range(13))),
        ],
    )
    def test_by_number_name_and_other_name(self, tmp_path, wanted, names, picks):
        values = numbers(13)
        file = raster(tmp_path / "a.tif", values)
        if names is None:
            refused(lambda: opened(file, sensor="eurosat", bands=wanted), "two bands called B08")
            return
        found = opened(file, sensor="eurosat", bands=wanted)
        assert found.spec.names == names
        np.testing.assert_array_equal(found.read(file).array, values[..., list(picks)])
        assert (found.spec.scale[0], found.spec.offset[0], found.spec.units) == (1e-4, 0.0, "reflectance")

    def test_names_are_read_whatever_the_order_of_the_file(self, tmp_path):
        values = numbers(3)
        one = raster(tmp_path / "a.tif", values, names=("B02", "B03", "B04"))
        other = raster(tmp_path / "b.tif", values[..., ::-1], names=("B4", "B3", "B2"))
        found = opened(one, other, sensor="sentinel2_l2a", bands=("red", "green", "blue"))
        assert found.left_out == []
        np.testing.assert_array_equal(found.read(one).array, found.read(other).array)

    def test_naip(self, tmp_path):
        file = raster(tmp_path / "a.tif", numbers(4, "uint8"))
        found = opened(file, sensor="naip")
        assert (found.spec.names, found.spec.units) == (("red", "green", "blue", "nir"), "brightness")
        with rasterio.open(file) as dataset:
            assert dataset.colorinterp[3].name == "alpha"  # as GDAL declares the fourth of four bytes
        np.testing.assert_array_equal(found.read(file).array, numbers(4, "uint8"))
        assert opened(file, sensor="naip", bands=("red", "green", "blue")).spec == BandSpec.pictures()

    def test_near_infrared_declared_as_alpha_is_neither_dropped_nor_a_mask(self, tmp_path):
        file = raster(tmp_path / "a.tif", numbers(4, "uint8"))
        for wanted in ("all", (1, 2, 3, 4)):
            found = opened(file, bands=wanted)
            assert found.spec.names == ("band_1", "band_2", "band_3", "band_4")
            np.testing.assert_array_equal(found.read(file).array, numbers(4, "uint8"))
        with pytest.raises(UnreadableError, match="the last is declared as alpha, but holds values like the others"):
            opened(file, bands=(1, 2)).read(file)


class TestUnits:
    def test_scale_offset_and_units_of_the_tags_count(self, tmp_path):
        file = raster(tmp_path / "a.tif", numbers(2), names=("a", "b"), scale=2e-4, offset=-0.05, units="reflectance")
        spec = opened(file).spec
        assert (spec.scale, spec.offset, spec.units) == ((2e-4,) * 2, (-0.05,) * 2, "reflectance")

    def test_sentinels_offset_is_found_in_its_tags_and_never_applied(self, tmp_path):
        values = numbers(12) + 1000
        tags = {"BOA_ADD_OFFSET": "-1000", "BOA_QUANTIFICATION_VALUE": "10000", "PROCESSING_BASELINE": "05.09"}
        file = raster(tmp_path / "a.tif", values, tags=tags)
        found = opened(file, sensor="sentinel2_l2a")
        assert (found.spec.scale[0], found.spec.offset[0]) == (1e-4, -0.1)
        np.testing.assert_array_equal(found.read(file).array, values)

    def test_without_a_baseline_it_is_0_and_said(self, tmp_path, caplog):
        file = raster(tmp_path / "a.tif", numbers(12))
        assert opened(file, sensor="sentinel2_l2a").spec.offset == (0.0,) * 12
        assert "1 of 1 files: no processing baseline of Sentinel-2 in its tags: offset 0" in caplog.text

    def test_before_04_00_it_is_0(self, tmp_path, caplog):
        file = raster(tmp_path / "a.tif", numbers(12), tags={"PROCESSING_BASELINE": "03.01"})
        assert opened(file, sensor="sentinel2_l2a").spec.offset == (0.0,) * 12
        assert not caplog.text

    def test_numbers_that_are_all_above_1000_are_said_to_look_like_it(self, tmp_path, caplog):
        files = [raster(tmp_path / f"{i}.tif", numbers(12, seed=i) + 1000) for i in range(20)]
        found = opened(*files, sensor="sentinel2_l2a")
        for file in files:
            found.read(file)
        found.patches.tell()
        assert "no number of 20 patches is below 1000" in caplog.text

    def test_an_order_that_puts_cirrus_elsewhere_is_said(self, tmp_path, caplog):
        values = numbers(13)
        values[..., 9] = 12  # as in EuroSAT's files
        file = raster(tmp_path / "a.tif", values)
        for sensor, told in (("sentinel2_l1c", True), ("eurosat", False)):
            caplog.clear()
            found = opened(file, sensor=sensor)
            found.read(file)
            found.patches.tell()
            assert ("B10 (cirrus) is not the darkest" in caplog.text) == told

    def test_the_configuration_says_it_last(self, tmp_path, caplog):
        file = raster(tmp_path / "a.tif", numbers(2), names=("a", "b"), scale=2e-4)
        spec = opened(file, reflectance=(1e-4, -0.01)).spec
        assert (spec.scale, spec.offset, spec.units) == ((1e-4,) * 2, (-0.01,) * 2, "reflectance")
        assert "scale and offset in its tags, which data.reflectance replaces" in caplog.text

    def test_unknown_units_are_said(self, tmp_path, caplog):
        file = raster(tmp_path / "a.tif", numbers(2), names=("a", "b"))
        assert opened(file).spec.units == "unknown"
        assert "no scale and no units in its tags" in caplog.text


class TestNoData:
    def test_declared_it_is_part_of_the_bands(self, tmp_path):
        values = numbers(2, "int16")
        values[0] = -9999
        file = raster(tmp_path / "a.tif", values, names=("a", "b"), nodata=-9999)
        found = opened(file, reflectance=(1e-4, 0))
        assert found.spec.nodata == -9999
        np.testing.assert_array_equal(found.read(file).array, values)

    def test_nan_in_float32_is_none(self, tmp_path):
        values = numbers(2, "float32") * 1e-4
        values[0] = np.nan
        file = raster(tmp_path / "a.tif", values, names=("a", "b"), units="reflectance")
        found = opened(file)
        assert math.isnan(found.spec.nodata)
        np.testing.assert_array_equal(found.read(file).array, values)

    def test_nan_and_infinity_beside_another_value_become_that_one(self, tmp_path, caplog):
        values = numbers(2, "float32")
        values[0], values[1], values[2] = np.nan, np.inf, -9999
        file = raster(tmp_path / "a.tif", values, names=("a", "b"), nodata=-9999)
        found = opened(file)
        assert (found.read(file).array[:3] == -9999).all()
        found.patches.tell()
        assert "NaN beside another no-data value, stored as that one (24 in all)" in caplog.text
        assert "infinite numbers, stored as no data (24 in all)" in caplog.text

    def test_a_double_s_smallest_number_becomes_nan(self, tmp_path):
        values = numbers(2, "float64")
        values[0] = np.finfo(np.float64).min
        file = raster(tmp_path / "a.tif", values, names=("a", "b"), nodata=np.finfo(np.float64).min)
        found = opened(file)
        assert math.isnan(found.spec.nodata)
        assert np.isnan(found.read(file).array[0]).all()

    def test_a_mask_hides(self, tmp_path, caplog):
        values = numbers(2)
        mask = np.full(values.shape[:2], 255, np.uint8)
        mask[:2] = 0
        file = raster(tmp_path / "a.tif", values, names=("a", "b"), mask=mask)
        with pytest.raises(UnreadableError, match=r"a mask or an alpha band hides 12.5% of it"):
            opened(file).read(file)
        with_value = raster(tmp_path / "b.tif", values.astype("float32"), names=("a", "b"), mask=mask)
        found = opened(with_value)
        assert np.isnan(found.read(with_value).array[:2]).all()
        found.patches.tell()
        assert "pixels that a mask or an alpha band hides, stored as no data (24 in all)" in caplog.text

    def test_landsat_s_is_0(self, tmp_path):
        values = numbers(7) + 8000
        values[0] = 0
        file = raster(tmp_path / "a.tif", values)
        found = opened(file, sensor="landsat8")
        assert (found.spec.nodata, found.spec.scale[0], found.spec.offset[0]) == (0, 2.75e-5, -0.2)
        np.testing.assert_array_equal(found.read(file).array, values)


class TestIndices:
    def test_they_are_what_their_formulas_say(self, tmp_path):
        values = numbers(13)
        file = raster(tmp_path / "a.tif", values)
        found = opened(file, sensor="eurosat", bands=("B04", "B03"), indices=("NDVI", "NDWI"))
        stored = found.read(file).array
        red, green, near = (values[..., at] * 1e-4 for at in (3, 2, 7))
        assert found.spec.names == ("B04", "B03", "NDVI", "NDWI")
        assert (found.spec.dtype, found.spec.scale) == ("float32", (1e-4, 1e-4, 1.0, 1.0))
        np.testing.assert_array_equal(stored[..., :2], values[..., [3, 2]])
        np.testing.assert_allclose(stored[..., 2], (near - red) / (near + red), rtol=1e-6)
        np.testing.assert_allclose(stored[..., 3], (green - near) / (green + near), rtol=1e-6)

    def test_the_offset_counts(self, tmp_path):
        values = numbers(2) + 1000
        file = raster(tmp_path / "a.tif", values)
        settings = {"bands": ("red=1", "nir=2"), "indices": ("NDVI",)}
        red, near = ((values[..., at] - 1000.0) for at in (0, 1))
        found = opened(file, reflectance=(1e-4, -0.1), **settings).read(file).array
        np.testing.assert_allclose(found[..., 2], (near - red) / (near + red), rtol=1e-5)

    def test_divided_by_nothing_is_no_data_and_counted(self, tmp_path, caplog):
        values = numbers(2)
        values[0, :3] = 0
        file = raster(tmp_path / "a.tif", values)
        found = opened(file, bands=("red=1", "nir=2"), reflectance=(1e-4, 0), indices=("NDVI",))
        assert np.isnan(found.read(file).array[0, :3, 2]).all()
        found.patches.tell()
        assert "NDVI divided by nothing in pixels, stored as no data (3 in all)" in caplog.text

    def test_no_data_of_a_band_is_no_data_of_the_index(self, tmp_path):
        values = numbers(2)
        values[0, :3, 0] = 0
        file = raster(tmp_path / "a.tif", values, nodata=0)
        found = opened(file, bands=("red=1", "nir=2"), reflectance=(1e-4, 0), indices=("NDVI",))
        stored = found.read(file).array
        assert np.isnan(stored[0, :3, [0, 2]]).all()
        assert not np.isnan(stored[0, :3, 1]).any()
        assert not np.isnan(stored[1:]).any()

    @pytest.mark.parametrize(
        ("name", "words"),
        [("ndvi", "did you mean 'NDVI'?"), ("NDWX", "there is no spectral index 'NDWX'"),
         ("kNDVI", "takes kNN, kNR"), ("DpRVIHH", "takes")],
    )  # fmt: skip
    def test_others_are_refused(self, tmp_path, name, words):
        file = raster(tmp_path / "a.tif", numbers(13))
        refused(lambda: opened(file, sensor="eurosat", indices=(name,)), words)


class TestPlaces:
    @pytest.mark.parametrize(
        ("crs", "transform", "lon", "lat", "gsd"),
        [
            ("EPSG:32631", NORTH_UP, 3.0, 49.652, 10.0),
            ("EPSG:4326", from_origin(2.79, 42.36, 1e-4, 1e-4), 2.79, 42.36, 9.55),
            ("EPSG:3857", from_origin(1_000_000, 8_399_738, 10, 10), 8.983, 60.0, 5.0),
            ("EPSG:2263", from_origin(984_250, 196_850, 10, 10), -74.0, 40.707, 3.048),
            ("EPSG:32618", TURNED, -75, 36.1447, 10.0),
        ],
        ids=["UTM", "degrees", "Web Mercator", "feet", "turned"],
    )  # fmt: skip
    def test_centre_and_pixel_in_metres_on_the_ground(self, tmp_path, crs, transform, lon, lat, gsd):
        file = raster(tmp_path / "a.tif", numbers(2, size=(2, 2)), names=("a", "b"), crs=crs, transform=transform)
        place = opened(file).read(file).place
        assert (place.lon, place.lat) == (pytest.approx(lon, abs=2e-3), pytest.approx(lat, abs=2e-3))
        assert place.gsd == pytest.approx(gsd, rel=0.01)

    def test_without_a_crs_there_is_none(self, tmp_path):
        file = raster(tmp_path / "a.tif", numbers(2), names=("a", "b"), crs=None)
        assert not opened(file).read(file).place.known
        assert opened(file).spec.gsd is None

    @pytest.mark.parametrize(
        ("crs", "transform"),
        [
            ('LOCAL_CS["site",UNIT["metre",1]]', NORTH_UP),
            ("EPSG:4326", NORTH_UP),
            ("EPSG:32631", from_origin(3, 49, 1e-5, 1e-5)),
        ],
        ids=["local", "metres as degrees", "degrees as metres"],
    )
    def test_a_place_that_cannot_be_is_none_and_said(self, tmp_path, crs, transform):
        file = raster(tmp_path / "a.tif", numbers(2), names=("a", "b"), crs=crs, transform=transform)
        seen = opened(file).patches.look(file, file.read_bytes())
        assert not seen.place.known
        assert "taken as not known" in seen.notes[0]

    def test_pixels_of_another_size_are_said(self, tmp_path, caplog):
        files = [
            raster(tmp_path / f"{i}.tif", numbers(2), names=("a", "b"), transform=from_origin(5e5, 5e6, gsd, gsd))
            for i, gsd in enumerate((10, 10, 20))
        ]
        assert opened(*files).spec.gsd == 10.0
        assert (
            "1 of 3 files: another ground sampling distance than 10 m; those of all are from 10 to 20 m" in caplog.text
        )

    def test_a_scan_has_them(self, tmp_path):
        for i, label in enumerate("ab"):
            raster(tmp_path / "p" / label / "a.tif", random_pixels(i), photometric="RGB")
            Image.fromarray(random_pixels(i)).save(tmp_path / "p" / label / "b.png")
        for _ in range(2):  # the second from what was kept of the first
            scans = scan(open_source(data_config(f"data.source={tmp_path / 'p'}")))
            assert np.isnan(scans.places[:, 0]).tolist() == [False, True, False, True]
            assert scans.places[0, 1] == pytest.approx(49.65, abs=0.01)


class TestSources:
    def test_files_that_differ_are_left_out_with_the_reason(self, tmp_path):
        root = tmp_path / "p"
        for i in range(6):
            raster(root / "ab"[i % 2] / f"{i}.tif", numbers(13, seed=i))
        raster(root / "a" / "twelve.tif", numbers(12))
        raster(root / "b" / "signed.tif", numbers(13, "int16"))
        source = open_source(data_config(f"data.source={root}", "data.bands=all"))
        scans = scan(source)
        assert len(source.bands) == 13
        assert [str(reason) for reason in scans.reasons.values()] == [
            "12 bands of uint16, where most files have 13",
            "numbers of int16, where most files have uint16",
        ]
        assert (scans.sizes[list(scans.reasons)] == 0).all()
        row = next(row for row in range(8) if row not in scans.reasons)
        file = root / source.records.path(row)
        np.testing.assert_array_equal(source.pixels(row, (16, 12)), as_rasterio_reads(file))

    def test_further_endings_count_where_bands_are_asked_for(self, tmp_path):
        for label in "ab":
            raster(tmp_path / "p" / label / "a.jp2", numbers(2), driver="JP2OpenJPEG")
        refused(lambda: open_source(data_config(f"data.source={tmp_path / 'p'}")), "no images")
        assert len(open_source(data_config(f"data.source={tmp_path / 'p'}", "data.bands=all")).records) == 2

    def test_what_is_wanted_of_the_bands_is_part_of_the_fingerprint(self, tmp_path):
        for label in "ab":
            raster(tmp_path / "p" / label / "a.tif", numbers(3), names=("red", "green", "nir"))
        found = {
            content_fingerprint(data_config(f"data.source={tmp_path / 'p'}", *each))
            for each in (
                (),
                ("data.bands=all",),
                ("data.bands=[red=1]",),
                ("data.bands=[red=2]",),
                ("data.bands=all", "data.reflectance=[0.0001, 0]"),
            )
        }
        assert len(found) == 5

    def test_a_file_beside_a_raster_counts_too(self, tmp_path):
        for label in "ab":
            raster(tmp_path / "p" / label / "a.bsq", numbers(2), driver="ENVI")
        config = data_config(f"data.source={tmp_path / 'p'}", "data.bands=all")
        before = content_fingerprint(config)
        assert content_fingerprint(config) == before
        header = tmp_path / "p" / "a" / "a.hdr"
        header.write_text(header.read_text() + "sensor type = Unknown\n")
        assert content_fingerprint(config) != before

    def test_so_does_one_that_is_put_there_later(self, tmp_path, monkeypatch):
        """What is kept of earlier scans knows nothing of it."""
        monkeypatch.setattr(scan_memo, "RESOLUTION", -(10**12))
        for label in "ab":
            raster(tmp_path / "p" / label / "a.tif", numbers(2), names=("a", "b"))
        config = data_config(f"data.source={tmp_path / 'p'}")
        before = [content_fingerprint(config) for _ in range(2)]
        band = '<PAMRasterBand band="{}"><NoDataValue>7</NoDataValue></PAMRasterBand>'
        for label in "ab":
            beside = tmp_path / "p" / label / "a.tif.aux.xml"
            beside.write_text(f"<PAMDataset>{band.format(1)}{band.format(2)}</PAMDataset>")
        assert before[0] == before[1] != content_fingerprint(config)
        source = open_source(config)
        assert scan(source).reasons == {}
        assert source.bands.nodata == 7

    def test_without_rasterio_the_extra_is_named(self, tmp_path, monkeypatch):
        file = raster(tmp_path / "a.tif", numbers(3), names=("red", "green", "nir"))
        monkeypatch.setattr(gdal, "installed", lambda: False)
        refused(lambda: opened(file), "16 bits per band in 3 bands", "pip install 'landsift[bands]'")


@pytest.mark.shared
class TestRealPatches:
    @pytest.fixture
    def files(self, shared) -> list[Path]:
        return sorted((shared / "data/eurosat_ms").rglob("*.tif"))

    def test_all_values_are_rasterio_s_and_centres_those_published(self, files, shared):
        with (shared / "data/eurosat/lonlat.csv").open() as table:
            places = {
                row["filename"]: (float(row["longitude"]), float(row["latitude"])) for row in csv.DictReader(table)
            }
        found = opened(*files, sensor="eurosat")
        assert (len(files), found.left_out, found.spec.names, found.spec.gsd) == (98, [], EUROSAT, 10.0)
        for file in files:
            decoded = found.read(file)
            np.testing.assert_array_equal(decoded.array, as_rasterio_reads(file))
            lon, lat = places[file.with_suffix(".jpg").name]
            assert max(abs(decoded.place.lon - lon), abs(decoded.place.lat - lat)) < 1e-5

    def test_b8a_is_last(self, files):
        """It is nearly band 7, beside it in the spectrum, and band 10 (cirrus) is dark."""
        values = np.concatenate([as_rasterio_reads(file).reshape(-1, 13) for file in files]).astype(float)
        assert values.mean(axis=0).argmin() == EUROSAT.index("B10")
        alike = np.corrcoef(values.T)[EUROSAT.index("B8A")]
        assert [EUROSAT[at] for at in np.argsort(alike)[-2:]] == ["B07", "B8A"]

    def test_sentinel2_s_own_order_is_said_to_be_wrong(self, files, caplog):
        found = opened(*files[:20], sensor="sentinel2_l1c")
        for file in files[:20]:
            found.read(file)
        found.patches.tell()
        assert "B10 (cirrus) is not the darkest" in caplog.text

    def test_scenes(self, shared):
        scenes = shared / "data/scenes"
        for file, bands, gsd in (
            ("boadella/Boadella_2020-02-02.tif", 12, 10.0),
            ("landsat8/l8_B4.tif", 1, 30.0),
            ("s2_l1c/s2_B01.jp2", 1, 60.0),
            ("naip/m_4709963_se_14_1_20200831.tif", 4, 5.0),
        ):
            found = opened(scenes / file, bands="all")
            assert len(found.spec) == bands
            assert found.spec.gsd == pytest.approx(gsd, rel=0.02)
            np.testing.assert_array_equal(found.read(scenes / file).array, as_rasterio_reads(scenes / file))

    def test_bgrn_needs_names(self, shared):
        files = sorted((shared / "cases/tiff-bands-dropped/four_bgrn").rglob("*.tif"))
        refused(lambda: opened(*files), "4 bands", "data.bands")
        found = opened(*files, bands=("red=3", "green=2", "blue=1", "nir=4"))
        np.testing.assert_array_equal(found.read(files[0]).array, as_rasterio_reads(files[0])[..., [2, 1, 0, 3]])


class TestExports:
    """Files as programs export them."""

    def test_fractions_of_float64_are_rounded_with_their_count(self, tmp_path, caplog):
        values = numbers(2, "float64") / 1e4
        values[0] = np.nan
        file = raster(tmp_path / "a.tif", values, names=("B3", "B4"))
        found = opened(file, reflectance=(1, 0))
        decoded = found.read(file)
        np.testing.assert_array_equal(decoded.array, values.astype(np.float32))
        (count,) = (n for text, n in decoded.told.items() if "rounded to float32" in text)
        assert 0 < count <= np.isfinite(values).sum()

    @pytest.mark.parametrize(
        ("values", "reflectance", "nodata"),
        [
            (numbers(7) * 3 + 8000, None, 0),
            ((numbers(7) / 1e4).astype(np.float32), (1, 0), np.nan),
            ((numbers(7) * 3 + 8000).astype(np.float32), (2.75e-5, -0.2), 0),
        ],
    )
    def test_a_sensors_number_for_no_data_is_one_of_its_scale(self, tmp_path, values, reflectance, nodata):
        file = raster(tmp_path / "a.tif", values.astype(values.dtype), names=[f"SR_B{i}" for i in range(1, 8)])
        found = opened(file, sensor="landsat8", reflectance=reflectance)
        np.testing.assert_equal(found.spec.nodata, nodata)

    @pytest.mark.parametrize("names", [("B2_1", "B3_1"), ("0_B2", "0_B3"), ("B2, central wavelength 490 nm", "B3")])
    def test_names_that_a_sensor_does_not_have_can_be_said_by_number(self, tmp_path, names):
        file = raster(tmp_path / "a.tif", numbers(2), names=names)
        with pytest.raises(DataError, match=r"data.bands=\[red=3, nir=4, ...\]"):
            opened(file, sensor="sentinel2_l2a")
        found = opened(file, sensor="sentinel2_l2a", bands=("blue=1", "green=2"))
        assert found.spec.names == ("B02", "B03")

    def test_names_of_some_bands_are_said_to_be_that(self, tmp_path):
        some = raster(tmp_path / "some.tif", numbers(4), names=("red", "green", "blue", ""))
        for bands in (None, ("red", "green")):
            with pytest.raises(DataError, match="4 bands of uint16 with names for 3 of them alone"):
                opened(some, bands=bands)
        twice = raster(tmp_path / "twice.tif", numbers(4), names=("B4", "B4", "B3", "B2"))
        with pytest.raises(DataError, match="two of them called B4, where files of sentinel2_l2a have 12"):
            opened(twice, sensor="sentinel2_l2a")


class TestDeclaredAlpha:
    """red, green, blue, near infrared and alpha, as mosaics of drones have them."""

    def of(self, path, order, names, **options):
        values = np.concatenate([numbers(4, "uint8"), np.full((16, 12, 1), 255, np.uint8)], axis=-1)
        values[:4, :, 4] = 0
        file = raster(path, values[..., order], photometric="RGB", **options)
        with rasterio.open(file, "r+") as dataset:
            dataset.colorinterp = [
                ColorInterp.alpha if at == 4 else [ColorInterp.red, ColorInterp.green, ColorInterp.blue][at]
                if at < 3 else ColorInterp.undefined for at in order
            ]  # fmt: skip
            dataset.descriptions = [names[at] for at in order]
        return file

    @pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (0, 1, 2, 4, 3)])
    def test_hides_wherever_it_stands(self, tmp_path, order):
        file = self.of(tmp_path / "a.tif", order, ("red", "green", "blue", "nir", "alpha"), nodata=0)
        found = opened(file)
        assert found.spec.names == ("red", "green", "blue", "nir")
        array = found.read(file).array
        assert not array[:4].any()
        np.testing.assert_array_equal(array[4:], numbers(4, "uint8")[4:])

    def test_is_said_where_all_bands_are_stored(self, tmp_path, caplog):
        caplog.set_level("INFO")
        file = self.of(tmp_path / "a.tif", (0, 1, 2, 3, 4), (None,) * 5)
        assert len(opened(file, bands="all").spec) == 5
        assert "band 5, which is declared as alpha, is stored as a band like the others" in caplog.text
