"""The right mistakes are shown, with images from wherever they can be had."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from landsift.reports.thumbnails import common_folder, confident_mistakes, thumbnails


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


def test_images_are_read_from_files_and_shrunk(make_run, tmp_path):
    run = make_run(patches=8)
    big = tmp_path / "big.png"
    Image.new("L", (640, 320), 200).save(big)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    uris = thumbnails([str(big), str(broken), str(tmp_path / "missing.png")], run, None)
    assert decode(uris[0]).shape == (80, 160, 3)
    assert uris[1:] == [None, None]


@pytest.mark.parametrize(("bands", "shape"), [(1, (8, 8)), (3, (8, 8, 3)), (13, (8, 8, 3))])
def test_images_are_read_from_the_store(make_run, bands, shape):
    class Store:  # the two members that are read
        column = pd.DataFrame({"path": ["a", "b"]}).__getitem__
        images = np.stack([np.full((8, 8, bands), n, dtype=np.uint8) for n in (10, 20)])

    (image,) = (decode(uri) for uri in thumbnails(["b"], make_run(patches=8), Store()))
    assert image.shape == shape
    assert (image == 20).all()


def test_common_folder_stands_above_the_class_folders():
    assert common_folder(["/data/2750/River/River_1.jpg", "/data/2750/Forest/Forest_2.jpg"]) == "/data/2750/"
    assert common_folder(["synthetic/a.png", "synthetic/b.png"]) == ""
    assert common_folder(["/a/b/c.png", "d/e/f.png"]) == ""
    assert common_folder([]) == ""
