"""Rasters that are not what they are taken for: each refused, left out, or converted with a word, none in silence."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from opened_files import open_patches
from raster_files import numbers, raster
from scipy.io import netcdf_file
from small_sources import random_pixels

from landsift.config import DataConfig, RunConfig
from landsift.data.decoding.unreadable import UnreadableError
from landsift.data.store.patch_store import build_store
from landsift.errors import LandsiftError

S2, L2A = {"sensor": "sentinel2_l1c"}, {"sensor": "sentinel2_l2a"}
NAMED = ("B02", "B03", "B04", "B08")
RGBN = {"bands": ("blue=1", "green=2", "red=3", "nir=4")}


class Wrong(NamedTuple):
    """An input, how it is read, and what is said of it."""

    what: str
    make: Callable[[Path], Path | None]
    """Writes the wrong file; None where the configuration is what is wrong."""
    settings: dict[str, object]
    outcome: str
    """refused: nothing can be read; left out: this file alone; converted: it is read, and something is said."""
    said: str
    others: Callable[[Path, int], Path] | None = None
    """Writes right files beside it, of which there are four."""


def a(count: int, dtype: str = "uint16", **options: object) -> Callable[[Path], Path]:
    return lambda folder: raster(folder / "wrong.tif", numbers(count, dtype), **options)


def of(values: Callable[[], np.ndarray], **options: object) -> Callable[[Path], Path]:
    return lambda folder: raster(folder / "wrong.tif", values(), **options)


def right(count: int, dtype: str = "uint16", **options: object) -> Callable[[Path, int], Path]:
    return lambda folder, i: raster(folder / f"right{i}.tif", numbers(count, dtype, seed=i), **options)


def with_rows(count: int, dtype: str, value: float) -> np.ndarray:
    found = numbers(count, dtype)
    found[:3] = value
    return found


def several_rasters(folder: Path) -> Path:
    """A NetCDF of two variables."""
    with netcdf_file(folder / "wrong.nc", "w") as file:
        for axis in "yx":
            file.createDimension(axis, 8)
        for name in ("red", "nir"):
            file.createVariable(name, "i2", ("y", "x"))[:] = 1
    return folder / "wrong.nc"


def truncated(folder: Path) -> Path:
    file = raster(folder / "wrong.tif", numbers(13, size=(64, 64)), compress="deflate")
    file.write_bytes(file.read_bytes()[:60_000])
    return file


def vrt(source: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        file = folder / "wrong.vrt"
        file.write_text(
            '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
            f"<SourceFilename>{source}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
        )
        return file

    return make


def differing_vrt(folder: Path) -> Path:
    raster(folder / "zero.tif", numbers(1), nodata=0)
    raster(folder / "one.tif", numbers(1), nodata=1)
    file = folder / "wrong.vrt"
    band = (
        '<VRTRasterBand dataType="UInt16" band="{}"><NoDataValue>{}</NoDataValue><SimpleSource><SourceFilename '
        'relativeToVRT="1">{}</SourceFilename></SimpleSource></VRTRasterBand>'
    )
    body = band.format(1, 0, "zero.tif") + band.format(2, 1, "one.tif")
    file.write_text(f'<VRTDataset rasterXSize="12" rasterYSize="16">{body}</VRTDataset>')
    return file


def text_file(folder: Path) -> Path:
    (folder / "wrong.img").write_text("a disk image")
    return folder / "wrong.img"


INPUTS = [
    # how many bands
    Wrong("12 bands for 13", a(12), S2, "refused", "12 bands of uint16, where files of sentinel2_l1c have 13"),
    Wrong("13 bands for 12", a(13), L2A, "refused", "13 bands of uint16, where files of sentinel2_l2a have 12"),
    Wrong("12 among 13", a(12), {"bands": "all"}, "left out", "12 bands of uint16, where most files have 13",
          right(13)),
    Wrong("one more among 13", a(14), {"bands": "all"}, "left out", "14 bands", right(13)),
    Wrong("RGB for NAIP", of(lambda: random_pixels(1), photometric="RGB"), {"sensor": "naip"}, "left out",
          "3 bands of uint8, where most files have 4", right(4, "uint8")),
    Wrong("no names, none said", a(13), {}, "refused", "13 bands of 16 bits"),
    Wrong("a number too high", a(4), {"bands": (4, 5)}, "refused",
          "4 bands of uint16, where data.bands asks for band 5"),
    # which bands, in which order
    Wrong("another order", a(4, names=NAMED[::-1]), {}, "left out", "bands in the order B08, B04, B03, B02",
          right(4, names=NAMED)),
    Wrong("other names", a(4, names=("B02", "B03", "B04", "B8A")), {}, "left out", "bands B02, B03, B04, B8A",
          right(4, names=NAMED)),
    Wrong("a name that is not there", a(4, names=NAMED), {"bands": ("B11",)}, "refused", "no band B11 among B02, B03"),
    Wrong("one band twice", a(4, names=NAMED), {"bands": ("B02", 1)}, "refused", "two bands called B02"),
    Wrong("a mask among the bands", a(5, names=(*NAMED, "SCL")), L2A, "refused", "a band SCL"),
    Wrong("a name that says otherwise", a(4, names=NAMED), {"bands": ("red=1",)}, "converted",
          "band 1 is called B02, and taken as red"),
    Wrong("EuroSAT's order for Sentinel-2's", of(lambda: np.insert(numbers(12), 9, 12, axis=2)), S2, "converted",
          "B10 (cirrus) is not the darkest band"),
    # types
    Wrong("8 bits for reflectance", a(13, "uint8"), S2, "refused",
          "numbers of uint8, where files of sentinel2_l1c hold uint16 or int16"),
    Wrong("a JPEG's numbers for reflectance", of(lambda: random_pixels(1), photometric="RGB"), S2, "refused", "uint8"),
    Wrong("float32 for uint16", a(13, "float32"), S2, "refused", "numbers of float32"),
    Wrong("another type among uint16", a(4, "int16", names=NAMED), {}, "left out", "numbers of int16",
          right(4, names=NAMED)),
    Wrong("float64", of(lambda: np.rint(numbers(4, "float64")), names=NAMED), {}, "converted",
          "numbers of float64, read as float32"),
    Wrong("float64 beyond float32", of(lambda: np.full((8, 8, 2), 2.0**24 + 1), names=("a", "b")), {}, "refused",
          "numbers of float64 that float32 does not hold exactly, such as 16777217.0"),
    Wrong("complex numbers", of(lambda: np.ones((8, 8, 2), np.complex64)), {"bands": "all"}, "refused",
          "numbers of complex64"),
    # units
    Wrong("another scale", a(4, names=NAMED, scale=1e-3), {}, "left out", "a scale of 0.001 and an offset of 0",
          right(4, names=NAMED, scale=1e-4)),
    Wrong("another offset", a(4, names=NAMED, scale=1e-4, offset=-0.1), {}, "left out", "and an offset of -0.1",
          right(4, names=NAMED, scale=1e-4)),
    Wrong("other units", a(4, names=NAMED, units="dB"), {}, "left out", "numbers in dB units",
          right(4, names=NAMED, units="K")),
    Wrong("the offset forgotten", of(lambda: numbers(4) + 1000, tags={"PROCESSING_BASELINE": "05.09"}),
          {**L2A, **RGBN}, "refused", "processing baseline 05.09 of Sentinel-2"),
    Wrong("the offset in some files", a(12, tags={"BOA_ADD_OFFSET": "-1000"}), L2A, "left out", "an offset of -0.1",
          right(12)),
    Wrong("the offset twice", of(lambda: numbers(4) // 10 * 2), {**RGBN, "reflectance": (1e-4, -0.1)}, "refused",
          "a negative reflectance in"),
    Wrong("two offsets", a(4, names=NAMED, scale=1e-4, offset=-0.2, tags={"BOA_ADD_OFFSET": "-1000"}), {}, "refused",
          "an offset of -0.2 in one tag and of -0.1 in another"),
    Wrong("numbers that are reflectance already", of(lambda: numbers(4, "float32") * 1e-4),
          {**RGBN, "reflectance": (1e-4, 0.0)}, "refused", "a reflectance of at most"),
    Wrong("numbers that are taken as reflectance", a(4, names=NAMED, units="reflectance"), {}, "refused",
          "a mean reflectance of"),
    Wrong("a scale of 0", a(4, names=NAMED, scale=0.0), {}, "refused", "a scale of 0"),
    Wrong("no units", a(4, names=NAMED), {}, "converted", "no scale and no units in its tags"),
    Wrong("an index of numbers in no units", a(4), {**RGBN, "indices": ("NDVI",)}, "refused",
          "numbers in unknown units, where NDVI takes reflectance"),
    Wrong("an index without its bands", a(4, names=NAMED), {**L2A, "indices": ("NDMI",)}, "refused",
          "no band that is S1"),
    # no data
    Wrong("-9999 undeclared", of(lambda: with_rows(4, "int16", -9999), names=NAMED), {}, "refused",
          "-9999 stands in 18.8% of its numbers and is not declared"),
    Wrong("-9999 undeclared in float32", of(lambda: with_rows(4, "float32", -9999), names=NAMED), {}, "refused",
          "-9999 stands in"),
    Wrong("-9999 that uint16 has not", lambda folder: _uint16_without_nodata(folder), {}, "refused",
          "its no-data value -9999 is none that uint16 has"),
    Wrong("another no-data value", a(4, names=NAMED, nodata=0), {}, "left out", "no-data value 0",
          right(4, names=NAMED, nodata=65535)),
    Wrong("none among others", a(4, names=NAMED), {}, "left out", "no-data value none",
          right(4, names=NAMED, nodata=0)),
    Wrong("NaN beside -9999", of(lambda: with_rows(4, "float32", np.nan), names=NAMED, nodata=-9999), {}, "converted",
          "NaN beside another no-data value"),
    Wrong("infinity", of(lambda: with_rows(4, "float32", np.inf), names=NAMED), {}, "converted", "infinite numbers"),
    Wrong("one for each band", differing_vrt, {"bands": "all"}, "refused",
          "no-data values that differ between its bands"),
    Wrong("nothing but 0", of(lambda: np.zeros((8, 8, 12), np.uint16)), L2A, "refused", "nothing but 0 in it"),
    # files
    Wrong("cut short", truncated, {"bands": "all"}, "refused", "damaged"),
    Wrong("several rasters", several_rasters, {"bands": "all"}, "refused", "2 rasters in one file (red, nir)"),
    Wrong("the network", vrt("/vsicurl/http://127.0.0.1:1/a.tif"), {"bands": "all"}, "refused", "no plain files"),
    Wrong("what is not there", vrt("/nowhere/a.tif"), {"bands": "all"}, "refused",
          "whose source /nowhere/a.tif is not"),
    Wrong("no raster", text_file, {"bands": "all"}, "refused", "no raster that GDAL reads"),
]  # fmt: skip


def _uint16_without_nodata(folder: Path) -> Path:
    """GDAL writes no such value; other programs do."""
    file = raster(folder / "wrong.tif", numbers(4), names=NAMED, nodata=12345)
    file.write_bytes(file.read_bytes().replace(b"12345", b"-9999"))
    return file


@pytest.mark.parametrize("wrong", INPUTS, ids=[each.what for each in INPUTS])
def test_nothing_wrong_is_read_in_silence(wrong, tmp_path, caplog):
    caplog.set_level("INFO", "landsift")
    files = [] if wrong.others is None else [wrong.others(tmp_path, i) for i in range(4)]
    file = wrong.make(tmp_path)
    config = DataConfig(**wrong.settings)
    if wrong.outcome == "left out":
        found = open_patches([*files, file], config)
        assert [(path, wrong.said in reason.text) for path, reason in found.left_out] == [(file, True)]
        with pytest.raises(UnreadableError):
            found.read(file)
        assert found.read(files[0]).array.shape[-1] == len(found.spec)
        return
    if wrong.outcome == "refused":
        with pytest.raises((LandsiftError, UnreadableError)) as error:
            open_patches([file], config).read(file)
        assert wrong.said in str(error.value)
        assert len(str(error.value).splitlines()) <= 2
        return
    found = open_patches([file], config)
    found.read(file)
    found.patches.tell()
    notes = found.patches.look(file, file.read_bytes()).notes  # which a source counts and says
    assert wrong.said in caplog.text + " ".join(notes)


def test_there_are_more_than_thirty_of_them():
    assert len(INPUTS) > 30


@pytest.mark.parametrize(
    "setting",
    ["data.bands=[]", "data.bands=[0]", "data.bands=[-1]", "data.bands=[true]", "data.bands=[1, 1]", "data.bands=B04",
     "data.bands=['']", "data.bands=[red=]", "data.bands=[red=0]", "data.bands=[red=1.5]", "data.sensor=sentinel2",
     "data.sensor=Landsat8", "data.reflectance=[0, 0]", "data.reflectance=[0.0001]", "data.reflectance=0.0001",
     "data.indices=NDVI", "data.indices=[NDVI, NDVI]", "data.indices=[NVDI]"],
)  # fmt: skip
def test_a_configuration_that_cannot_be_meant_names_its_key(setting, tmp_path):
    file = raster(tmp_path / "a.tif", numbers(4), names=NAMED)
    with pytest.raises(LandsiftError) as error:
        open_patches([file], RunConfig.load(None, [setting]).data)
    assert setting.split("=")[0] in error.value.message


class TestBuilding:
    """`data build` leaves no store of what it refuses."""

    def build(self, tmp_path: Path, *overrides: str) -> str:
        config = RunConfig().replace(f"data.source={tmp_path / 'p'}", *overrides).data
        with pytest.raises(LandsiftError) as error:
            build_store(config, tmp_path / "store")
        assert sorted(each.name for each in tmp_path.iterdir()) == ["p"]
        return str(error.value)

    def test_more_files_that_differ_than_may_be_left_out(self, tmp_path):
        for i in range(4):
            raster(tmp_path / "p" / "ab"[i % 2] / f"{i}.tif", numbers(13))
        raster(tmp_path / "p" / "a" / "wrong.tif", numbers(12))
        said = self.build(tmp_path, "data.bands=all")
        assert "1 of 5 files cannot be decoded" in said
        assert "12 bands of uint16, where most files have 13" in said
        assert "make all files of a source alike" in said

    def test_bands_without_names(self, tmp_path):
        for label in "ab":
            raster(tmp_path / "p" / label / "a.tif", numbers(13))
        assert "data.sensor=NAME" in self.build(tmp_path)

    @pytest.mark.parametrize("setting", ["data.bands=all", "data.sensor=naip", "data.indices=[NDVI]"])
    def test_settings_that_nothing_comes_of(self, tmp_path, setting):
        store = build_store(
            RunConfig().replace("data.synthetic.patches=12", "data.synthetic.size=8").data, tmp_path / "s"
        )
        for source in ("synthetic", str(store.folder)):
            with pytest.raises(LandsiftError, match=setting.split("=")[0]):
                build_store(RunConfig().replace(f"data.source={source}", setting).data, tmp_path / "other")
