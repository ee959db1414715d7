"""EuroSAT in 13 bands: found or downloaded like RGB, read with the sensor's names and order."""

import hashlib
import io
import zipfile

import numpy as np
import pytest
from small_sources import ArchiveServer, config_for, data_config, eurosat_zip, refused

from landsift.config import EuroSATConfig
from landsift.data.sources import eurosat
from landsift.data.sources.base import content_fingerprint, known_bands
from landsift.data.store.patch_store import build_store

rasterio = pytest.importorskip("rasterio")

TOP = "ds/images/remote_sensing/otherDatasets/sentinel-2/tif"


def spectra(number: int) -> np.ndarray:
    """uint16 [13, 16, 16]; the tenth band, cirrus, is the darkest."""
    values = np.random.default_rng(number).integers(200, 4000, (13, 16, 16), dtype=np.uint16)
    values[9] //= 200
    return values


def archive_of(top: str = TOP, count: int = 2) -> bytes:
    """A small archive in the layout of the original: GeoTIFFs that do not name their bands."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for c, name in enumerate(("AnnualCrop", "Forest", "SeaLake")):
            for i in range(1, count + 1):
                with rasterio.MemoryFile() as memory:
                    place = rasterio.transform.from_origin(500_000 + 160 * i, 5_500_000 + 160 * c, 10, 10)
                    shape = {"height": 16, "width": 16, "count": 13, "dtype": "uint16"}
                    with memory.open(driver="GTiff", crs="EPSG:32632", transform=place, **shape) as raster:
                        raster.write(spectra(10 * c + i))
                    archive.writestr(f"{top}/{name}/{name}_{i}.tif", memory.read())
    return buffer.getvalue()


ARCHIVE = archive_of()


def all_bands(server: ArchiveServer, root, **changes):
    config = config_for(server, root, bands="all", **changes)
    return data_config("data.source=eurosat").model_copy(update={"eurosat": config})


def here(root, **changes):
    config = EuroSATConfig(bands="all", root=root, base_url="http://127.0.0.1:9", **changes)
    return data_config("data.source=eurosat").model_copy(update={"eurosat": config})


def test_it_is_downloaded_checked_unpacked_and_read(archive_server, tmp_path):
    server = archive_server(ARCHIVE)
    data = all_bands(server, tmp_path / "root")
    assert len(known_bands(data)) == 13
    before = content_fingerprint(data)
    assert not server.requests
    store = build_store(data, tmp_path / "store")
    assert store.fingerprint == before == content_fingerprint(data)
    assert store.images.shape == (6, 16, 16, 13)
    np.testing.assert_array_equal(store.images[2], np.moveaxis(spectra(11), 0, -1))
    assert store.bands.names[-2:] == ("B12", "B8A")
    assert store.bands.units == "reflectance"
    assert (tmp_path / "root/eurosat/all_bands/tif/Forest").is_dir()
    assert len(server.requests) == 1
    build_store(data, tmp_path / "again")
    assert len(server.requests) == 1


def test_a_cut_download_is_resumed(archive_server, tmp_path):
    server = archive_server(ARCHIVE)
    server.failures = ["cut:20000"]
    assert eurosat.ensure(all_bands(server, tmp_path).eurosat).is_dir()
    assert server.requests[1].startswith("bytes=")


def test_the_published_md5_counts_where_no_other_checksum_is_given(archive_server, tmp_path, monkeypatch):
    server = archive_server(ARCHIVE)
    data = all_bands(server, tmp_path / "root", sha256=None)
    refused(lambda: eurosat.ensure(data.eurosat), "EuroSATallBands.zip", "MD5 does not match the published")
    assert not (tmp_path / "root").exists()
    monkeypatch.setitem(eurosat.ALL_BANDS, "EuroSATallBands.zip", hashlib.md5(ARCHIVE).hexdigest())
    assert eurosat.ensure(data.eurosat).is_dir()


def test_the_later_archive_is_taken_where_the_url_names_it_or_it_lies_there(archive_server, tmp_path):
    content = archive_of("EuroSAT_MS")
    server = archive_server(content)
    data = all_bands(server, tmp_path / "url", base_url=f"{server.url}/EuroSAT_MS.zip")
    assert eurosat.ensure(data.eurosat).is_dir()
    assert (tmp_path / "url/EuroSAT_MS.zip").is_file()
    (tmp_path / "there").mkdir()
    (tmp_path / "there/EuroSAT_MS.zip").write_bytes(content)
    given = here(tmp_path / "there", sha256=hashlib.sha256(content).hexdigest())
    assert len(build_store(given, tmp_path / "store")) == 6


@pytest.mark.parametrize(
    "layout",
    [TOP, TOP.replace("sentinel-2", "sentinel_2"), "EuroSAT_MS", "EuroSATallBands", "", "archive/EuroSAT_MS"],
)
def test_unpacked_copies_are_found_in_both_layouts(tmp_path, layout):
    zipfile.ZipFile(io.BytesIO(archive_of(layout or "."))).extractall(tmp_path / "root")
    store = build_store(here(tmp_path / "root"), tmp_path / "store")
    assert store.images.shape == (6, 16, 16, 13)


def test_pictures_are_never_taken_for_13_bands_nor_the_other_way(archive_server, tmp_path):
    zipfile.ZipFile(io.BytesIO(eurosat_zip())).extractall(tmp_path)
    refused(lambda: eurosat.ensure(here(tmp_path).eurosat), "no connection")
    assert eurosat.ensure(all_bands(archive_server(ARCHIVE), tmp_path).eurosat).name == "tif"
    rgb = here(tmp_path).eurosat.model_copy(update={"bands": "rgb"})
    assert eurosat.find(rgb) == tmp_path / "2750"
    assert build_store(
        data_config("data.source=eurosat").model_copy(update={"eurosat": rgb}), tmp_path / "store"
    ).bands.is_rgb8


def test_after_13_bands_pictures_are_still_downloaded(archive_server, tmp_path):
    eurosat.ensure(all_bands(archive_server(ARCHIVE), tmp_path).eurosat)
    assert eurosat.ensure(config_for(archive_server(eurosat_zip()), tmp_path)).name == "2750"


def test_bands_are_selected_by_name(archive_server, tmp_path):
    data = all_bands(archive_server(ARCHIVE), tmp_path / "root").model_copy(update={"bands": ("red", "nir", "B8A")})
    store = build_store(data, tmp_path / "store")
    assert store.fingerprint == content_fingerprint(data)
    assert store.bands.names == ("B04", "B08", "B8A")
    np.testing.assert_array_equal(store.images[0, ..., 2], spectra(1)[12])


@pytest.mark.parametrize("damage", ["no zip", "cut", "other top", "outside"])
def test_a_damaged_archive_leaves_nothing(archive_server, tmp_path, damage):
    content = {
        "no zip": b"<html>not found</html>",
        "cut": ARCHIVE[: len(ARCHIVE) // 2],
        "other top": archive_of("patches"),
        "outside": archive_of("../evil"),
    }[damage]
    data = all_bands(archive_server(content), tmp_path / "root")
    refused(lambda: eurosat.ensure(data.eurosat), "EuroSATallBands.zip")
    assert not list(tmp_path.rglob("*.tif"))


def test_a_model_of_all_bands_knows_how_files_are_read():
    data = data_config("data.source=eurosat", "data.eurosat.bands=all")
    assert data.reading == {"sensor": "eurosat"}
    assert data_config("data.source=eurosat").reading == {}
