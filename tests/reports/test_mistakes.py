"""The right mistakes are shown, with images from wherever they can be had."""

import base64
import io
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image

from landsift import runs
from landsift.bands import BandSpec
from landsift.config import DataConfig, cache_folder
from landsift.data.pictures import as_picture, shown_bands
from landsift.data.sensors import sensor
from landsift.data.store.patch_store import build_store
from landsift.errors import DataError
from landsift.reports.run.mistakes import ELSEWHERE, common_folder, confident_mistakes, correct_examples, thumbnails


def decode(uri):
    """The image of a data URI as an array [H, W, C]."""
    kind, data = uri.split(",", 1)
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_mistakes_are_wrong_test_patches_most_confident_first():
    table = pd.DataFrame(
        {
            "path": ["right", "unsure", "sure", "val", "tie"],
            "split": ["test", "test", "test", "val", "test"],
            "label": ["a", "a", "a", "a", "a"],
            "predicted": ["a", "b", "b", "b", "b"],
            "p_a": [0.9, 0.4, 0.1, 0.0, 0.4],
            "p_b": [0.1, 0.6, 0.9, 1.0, 0.6],
        }
    )
    assert confident_mistakes(table)["path"].tolist() == ["sure", "tie", "unsure"]
    assert confident_mistakes(table, limit=1)["probability"].tolist() == [0.9]


def test_correct_examples_are_the_surest_of_each_class():
    table = pd.DataFrame({"path": list("vwxyz"), "split": ["test"] * 4 + ["val"], "label": list("bbaab")})
    table = table.assign(
        predicted=["b", "b", "a", "b", "b"], p_a=[0.3, 0.1, 0.8, 0.2, 0.0], p_b=[0.7, 0.9, 0.2, 0.8, 1.0]
    )
    assert correct_examples(table, ["a", "b"])["path"].tolist() == ["x", "w", "v"]
    assert correct_examples(table, ["a", "b"], limit=2)["path"].tolist() == ["x", "w"]
    assert correct_examples(table, []).empty


def test_images_are_read_from_files_of_the_run_and_shrunk(make_run):
    run = make_run(patches=8)
    big, broken = run.path / "big.png", run.path / "broken.png"
    Image.new("L", (640, 320), 200).save(big)
    broken.write_bytes(b"no image")
    pictures = thumbnails([str(big), str(broken), str(run.path / "missing.png")], run, None)
    assert decode(pictures[0].uri).shape == (80, 160, 3)
    assert [picture.uri for picture in pictures[1:]] == [None, None]
    assert [picture.reason for picture in pictures[1:]] == [
        "not a JPEG, PNG, TIFF, BMP or WebP image",
        "the file does not exist",
    ]


def test_a_run_from_elsewhere_opens_nothing_of_this_machine(make_run, tmp_path):
    """Neither pictures beside it, however they are named, nor what hangs, nor what another program would decode."""
    run = make_run(patches=8)
    mine = tmp_path / "mine" / "private.png"
    mine.parent.mkdir()
    Image.new("RGB", (8, 8), "red").save(mine)
    (run.path / "link.png").symlink_to(mine)
    (run.path / "folder").symlink_to(mine.parent)
    (run.path / "circle.png").symlink_to(run.path / "circle.png")
    os.mkfifo(run.path / "pipe.png")
    Image.new("RGB", (8, 8)).save(run.path / "page.eps")
    outside = [mine, run.path / "link.png", run.path / "folder" / "private.png", run.path / ".." / "mine" / mine.name]
    paths = [*map(str, outside), "mine/private.png", f"{run.path}/a\0b", str(run.path / "circle.png"), "/proc/self/mem"]
    inside = [str(run.path / "pipe.png"), str(run.path / "page.eps"), "/dev/null"]
    pictures = thumbnails([*paths, *inside], run, None)
    assert [picture.uri for picture in pictures] == [None] * len(pictures)
    assert [p.reason for p in pictures] == [ELSEWHERE] * len(paths) + [
        "not a regular file",
        "not a JPEG, PNG, TIFF, BMP or WebP image",
        ELSEWHERE,
    ]


def test_a_store_is_taken_from_the_cache_alone_and_only_if_the_run_knows_its_content(make_run, tmp_path):
    images = tmp_path / "data"
    for label in ("a", "b"):
        (images / label).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (8, 8), (i * 99, 0, 0)).save(images / label / f"{i}.png")
    config = DataConfig(source=str(images), max_unreadable=0)
    cached = build_store(config, cache_folder() / "stores" / "key")
    elsewhere = build_store(config, tmp_path / "store")
    shutil.rmtree(images)
    run = make_run(patches=8)

    def shown(store, fingerprint):
        data = run.manifest["data"] | {"store": str(store), "fingerprint": fingerprint}
        runs.write_json(run.path / runs.MANIFEST, run.manifest | {"data": data})
        return thumbnails([str(images / "a" / "1.png")], runs.Run.open(run.path), None)[0].uri is not None

    assert shown(cached.folder, cached.fingerprint)
    assert not shown(cached.folder, "guessed")
    assert not shown(elsewhere.folder, elsewhere.fingerprint)
    (cache_folder() / "link").symlink_to(elsewhere.folder)
    assert not shown(cache_folder() / "link", elsewhere.fingerprint)
    assert not shown(["no", "text"], cached.fingerprint)


def test_files_of_the_source_that_the_user_names_are_shown_wherever_they_lay_before(make_run, tmp_path):
    run = make_run(patches=8)
    here = tmp_path / "here"
    for label in ("a", "b"):
        (here / label).mkdir(parents=True)
        Image.new("RGB", (16, 8), (200, 0, 0)).save(here / label / "1.png")
    (here / "b" / "1.png").write_bytes(b"no image")
    paths = ["/there/patches/a/1.png", str(here / "a" / "1.png"), "/there/b/1.png", "/there/a/2.png"]
    pictures = thumbnails(paths, run, None, str(here))
    assert [picture.uri is not None for picture in pictures] == [True, True, False, False]
    assert decode(pictures[0].uri).shape == (8, 16, 3)
    assert pictures[3].reason == "not in the source given"
    with pytest.raises(DataError, match="nowhere"):
        thumbnails(paths, run, None, str(tmp_path / "nowhere" / "x"))


def test_rasters_of_the_source_are_shown_as_the_run_read_them(make_run, tmp_path):
    names = sensor("eurosat").names
    stored = np.random.default_rng(0).integers(200, 3000, (13, 16, 16)).astype(np.uint16)
    for label in "ab":
        (tmp_path / "in" / label).mkdir(parents=True)
        with rasterio.open(
            tmp_path / "in" / label / "1.tif", "w", driver="GTiff", height=16, width=16, count=13, dtype="uint16"
        ) as file:
            file.write(stored)
    bands = BandSpec(names, "uint16", (1e-4,) * 13, (0.0,) * 13, None, "reflectance", 10.0)
    run = make_run(patches=8)
    run.manifest["data"] |= {"bands": bands.to_dict(), "reading": {"sensor": "eurosat"}}
    (picture,) = thumbnails(["/there/a/1.tif"], run, None, str(tmp_path / "in"))
    np.testing.assert_array_equal(decode(picture.uri), as_picture(np.moveaxis(stored, 0, -1), bands))
    assert [names[band] for band in shown_bands(bands)] == ["B04", "B03", "B02"]
    run.manifest["data"]["reading"] = "nothing that says it"
    (picture,) = thumbnails(["/there/a/1.tif"], run, None, str(tmp_path / "in"))
    assert "13 bands" in picture.reason


@pytest.mark.parametrize(("bands", "shape"), [(1, (8, 8)), (3, (8, 8, 3)), (13, (8, 8, 3))])
def test_images_are_read_from_the_store(make_run, bands, shape):
    class Store:  # the three members that are read
        column = pd.DataFrame({"path": ["a", "b"]}).__getitem__
        images = np.stack([np.full((8, 8, bands), n, dtype=np.uint8) for n in (10, 20)])

    Store.bands = BandSpec.pictures([f"B{n}" for n in range(bands)])

    (image,) = (decode(picture.uri) for picture in thumbnails(["b"], make_run(patches=8), Store()))
    assert image.shape == shape
    assert (image == 20).all()


def test_common_folder_stands_above_the_class_folders():
    assert common_folder(["/data/2750/River/River_1.jpg", "/data/2750/Forest/Forest_2.jpg"]) == "/data/2750/"
    assert common_folder(["synthetic/a.png", "synthetic/b.png"]) == ""
    assert common_folder(["/a/b/c.png", "d/e/f.png"]) == ""
    assert common_folder([]) == ""
