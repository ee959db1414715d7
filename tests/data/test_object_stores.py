"""Object stores: listed page by page and read through fsspec; S3 is moto's server on the loopback."""

import io

import numpy as np
import pytest
from PIL import Image
from test_archives import png, tar

from landsift.data.unlabelled import stores
from landsift.data.unlabelled.archives import Archives
from landsift.data.unlabelled.listing import list_sources
from landsift.data.unlabelled.reading import read_entry
from landsift.errors import DataError


@pytest.fixture(scope="module")
def s3():
    """A bucket with two folders of patches, 12 of them in one; its endpoint and keys are in the environment."""
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (
            ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
            ("AWS_ACCESS_KEY_ID", "k"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
        ):
            patched.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="patches")
        content = png(1)
        for i in range(12):
            client.put_object(Bucket="patches", Key=f"many/{i:04d}.png", Body=content)
        for name in ("few/x/1.png", "few/0.png", "few/.hidden.png", "few/readme.txt", "few/clip.mp4"):
            client.put_object(Bucket="patches", Key=name, Body=png(2))
        yield client
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def listed(*urls):
    found = list_sources(list(urls), {".png", ".tif"})
    return list(found.entries), found.passed_over


def test_a_bucket_is_listed_page_by_page_and_read(s3, monkeypatch):
    monkeypatch.setattr(stores, "PAGE", 5)
    entries, passed = listed("s3://patches/many")
    assert [entry.path for entry in entries] == [f"s3://patches/many/{i:04d}.png" for i in range(12)]
    assert read_entry(entries[-1]) == png(1)
    assert entries[0].stamp
    assert passed == []
    entries, passed = listed("s3://patches/few/")
    assert [entry.path for entry in entries] == ["s3://patches/few/0.png", "s3://patches/few/x/1.png"]
    assert [each.path for each in passed] == ["s3://patches/few/clip.mp4"]
    entries, _ = listed("s3://patches/many/000*.png", "s3://patches/many/0003.png")
    assert len(entries) == 10


def test_an_archive_in_a_bucket_is_read_in_place(s3, tmp_path):
    members = {f"{i}.png": png(i) for i in range(5)}
    s3.put_object(Bucket="patches", Key="shards/0.tar", Body=tar(tmp_path / "0.tar", members).read_bytes())
    s3.put_object(Bucket="patches", Key="shards/1.tar.gz", Body=tar(tmp_path / "1", members, "w:gz").read_bytes())
    entries, _ = listed("s3://patches/shards/*")
    assert [entry.path for entry in entries][4:6] == [
        "s3://patches/shards/0.tar/4.png",
        "s3://patches/shards/1.tar.gz/0.png",
    ]
    reads = Archives()
    assert [reads.read(entry) for entry in entries] == [*members.values()] * 2


def test_what_a_store_does_not_have_is_told(s3, monkeypatch):
    monkeypatch.setattr(stores, "WAIT", 0)
    with pytest.raises(DataError, match="no such file or folder, or an empty one: s3://patches/none"):
        listed("s3://patches/none")
    with pytest.raises(DataError, match="s3://other"):
        listed("s3://other/none")
    with pytest.raises(DataError, match="cannot read nosuch://x"):
        listed("nosuch://x/y")
    entries, _ = listed("s3://patches/many/0001.png")
    s3.put_object(Bucket="patches", Key="many/gone.png", Body=b"x")
    (gone,), _ = listed("s3://patches/many/gone.png")
    s3.delete_object(Bucket="patches", Key="many/gone.png")
    with pytest.raises(Exception, match="the file does not exist"):
        read_entry(gone)
    assert len(entries) == 1


def test_other_file_systems_of_fsspec_serve_too(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe({"/new/b/1.png": png(1), "/new/a.png": png(0), "/new/.x/2.png": png(2)})
    entries, _ = listed("memory://new")
    assert [entry.path for entry in entries] == ["memory:///new/a.png", "memory:///new/b/1.png"]
    assert [read_entry(entry) for entry in entries] == [png(0), png(1)]
    memory.pipe("/new/t.tar", tar(tmp_path / "t.tar", {"z.png": png(3)}).read_bytes())
    (entry,), _ = listed("memory://new/t.tar")
    assert Archives().read(entry) == png(3)
    assert [each.path for each in listed("memory://new")[1]] == ["memory:///new/t.tar"]
    (tmp_path / "a.png").write_bytes(png(0))
    (tmp_path / "t.tar").unlink()
    (entry,), _ = listed(f"file://{tmp_path}")
    assert read_entry(entry) == png(0)


def test_a_table_of_urls_names_objects(s3, tmp_path):
    (tmp_path / "t.csv").write_text("path\ns3://patches/few/0.png\n")
    (entry,), _ = listed(tmp_path / "t.csv")
    assert read_entry(entry) == png(2)


def test_pictures_and_rasters_in_a_store_become_patches(s3, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    from landsift.config import DataConfig
    from landsift.data.decoding.patches import Patches
    from landsift.data.decoding.wanted import Wanted
    from landsift.data.unlabelled.reading import as_file

    profile = {"driver": "GTiff", "height": 8, "width": 8, "count": 3, "dtype": "uint8", "crs": "EPSG:32631"}
    with rasterio.open(tmp_path / "g.tif", "w", **profile, transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)) as file:
        file.write(np.asarray(Image.open(io.BytesIO(png(3)))).transpose(2, 0, 1))
        file.colorinterp = [rasterio.enums.ColorInterp[name] for name in ("red", "green", "blue")]
    s3.put_object(Bucket="patches", Key="geo/g.tif", Body=(tmp_path / "g.tif").read_bytes())
    (entry,), _ = listed("s3://patches/geo")
    patches = Patches(Wanted.of(DataConfig()))
    raw = read_entry(entry)
    with as_file(entry, raw) as there:
        seen, read = patches.look_and_read(there, (8, 8), raw)
    np.testing.assert_array_equal(read.array, np.asarray(Image.open(io.BytesIO(png(3)))))
    assert seen.place.lon == pytest.approx(3, abs=0.01)
