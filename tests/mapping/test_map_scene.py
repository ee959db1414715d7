"""A map says of each cell what the model says of the patches that cover it, and nothing where there is no data."""

import json

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin
from rio_cogeo.cogeo import cog_validate
from small_models import CLASSES, make_model
from typer.testing import CliRunner

import landsift
from landsift.cli.main import app
from landsift.errors import LandsiftError
from landsift.mapping.classify import CHUNK_BYTES, Layout, classify
from landsift.mapping.map_file import read_classes, read_confidence, read_info
from landsift.mapping.scenes import open_scene
from landsift.models.predictor import load_model

PATCH = 16


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The run directory of a small model."""
    return make_model(tmp_path_factory.mktemp("run"))


def pixels(height, width, seed=0):
    """Coarse noise in three bands, uint8 [H, W, 3], above 0."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(1, 256, (-(-height // 8), -(-width // 8), 3)).repeat(8, 0).repeat(8, 1)
    return (coarse[:height, :width] // 2 + rng.integers(1, 60, (height, width, 3))).astype(np.uint8)


def write_scene(path, images, crs="EPSG:32631", **options):
    profile = {"driver": "GTiff", "height": images.shape[0], "width": images.shape[1], "count": 3, "dtype": "uint8"}
    place = {"crs": crs, "transform": from_origin(500_000, 4_650_000, 10, 10), "photometric": "RGB"}
    with rasterio.open(path, "w", **profile, **place, **options) as dataset:
        dataset.write(np.moveaxis(images, -1, 0))
    return path


def all_of(strips):
    strips = list(strips)
    assert [strip.rows.start for strip in strips] == [0, *(strip.rows.stop for strip in strips[:-1])]
    return np.concatenate([s.probabilities for s in strips]), np.concatenate([s.valid for s in strips])


def by_hand(predictor, images, valid, stride, least):
    """The mean over all patches that cover a cell, one patch and one cell at a time."""
    height, width = valid.shape
    rows, cols = -(-height // stride), -(-width // stride)
    sums, counts = np.zeros((rows, cols, len(predictor.classes))), np.zeros((rows, cols))
    known = np.zeros((rows, cols), dtype=bool)
    tops, lefts = ([*range(0, side - PATCH, stride), side - PATCH] for side in (height, width))
    places = [(top, left) for top in tops for left in lefts]
    windows = [np.s_[top : top + PATCH, left : left + PATCH] for top, left in places]
    answers = predictor(np.stack([images[window] for window in windows]))
    for (top, left), window, answer in zip(places, windows, answers, strict=True):
        if valid[window].mean() >= least:
            for row in range(rows):
                for col in range(cols):
                    y, x = row * stride, col * stride
                    inside = top <= y and min(y + stride, height) <= top + PATCH
                    if inside and left <= x and min(x + stride, width) <= left + PATCH:
                        sums[row, col] += answer
                        counts[row, col] += 1
    for row in range(rows):
        for col in range(cols):
            cell = valid[row * stride : (row + 1) * stride, col * stride : (col + 1) * stride]
            known[row, col] = cell.mean() >= least and counts[row, col] > 0
    return sums / np.maximum(counts, 1)[..., None], known


@pytest.mark.parametrize("stride", [16, 8, 5])
@pytest.mark.parametrize("size", [(48, 64), (41, 55), (16, 17)])
def test_cells_are_the_mean_over_the_patches_that_cover_them(run, tmp_path, size, stride):
    images = pixels(*size)
    images[5:12, 3:9] = 0  # black, and not declared: no data
    valid = (images > 0).any(axis=-1)
    predictor = load_model(run)
    with open_scene(write_scene(tmp_path / "scene.tif", images), predictor.description) as scene:
        found, known = all_of(classify(scene, predictor, stride=stride, min_valid=0.8))
    expected, there = by_hand(predictor, images, valid, stride, 0.8)
    assert (known == there).all()
    np.testing.assert_allclose(found[known], expected[known], atol=1e-5)
    assert not found[~known].any()


def test_a_map_says_patch_by_patch_what_predict_says(run, tmp_path):
    images = pixels(80, 112)
    files = []
    for row in range(5):
        for col in range(7):
            files.append(tmp_path / f"{row}-{col}.png")
            Image.fromarray(images[row * 16 : row * 16 + 16, col * 16 : col * 16 + 16]).save(files[-1])
    said = landsift.predict_files(run, files)
    made = landsift.map_scene(run, write_scene(tmp_path / "scene.tif", images), tmp_path / "map.tif")
    info = read_info(made.path)
    assert info.classes.names == CLASSES
    codes = said.probabilities.argmax(axis=1).reshape(5, 7) + 1
    assert len(np.unique(codes)) > 1
    assert (read_classes(info) == codes).all()
    confidence = said.probabilities.max(axis=1).reshape(5, 7)
    assert np.abs(read_confidence(info) - confidence).max() <= 0.0051
    with rasterio.open(made.path) as dataset:
        assert dataset.crs.to_epsg() == 32631
        assert dataset.transform == from_origin(500_000, 4_650_000, 160, 160)
    assert made.areas.hectares[1:].sum() == pytest.approx(80 * 112 * 0.01)
    assert made.patches == 35


def test_a_scene_is_read_in_pieces_and_the_map_is_the_same(run, tmp_path, monkeypatch):
    images = pixels(200, 100)
    predictor = load_model(run)
    path = write_scene(tmp_path / "scene.tif", images, tiled=True, blockxsize=32, blockysize=32)
    results = []
    for amount in (CHUNK_BYTES, 100 * 4 * 40, 1):
        monkeypatch.setattr("landsift.mapping.classify.CHUNK_BYTES", amount)
        with open_scene(path, predictor.description) as scene:
            read, largest = scene.read, []
            scene.read = lambda rows, cols, read=read, largest=largest: (
                largest.append(rows.stop - rows.start),
                read(rows, cols),
            )[1]
            results.append(all_of(classify(scene, predictor, stride=8)))
        assert max(largest) <= max(PATCH, amount // 400)
    for probabilities, known in results[1:]:
        assert (known == results[0][1]).all()
        np.testing.assert_allclose(probabilities, results[0][0], atol=1e-6)


def test_what_a_patch_covers():
    side = Layout(41, 16, 8)
    assert side.starts.tolist() == [0, 8, 16, 24, 25]
    assert [list(side.covered(start)) for start in (0, 24, 25)] == [[0, 1], [3, 4], [4, 5]]


def mapped(*arguments):
    done = CliRunner().invoke(app, ["map", *map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_the_command_prints_areas_and_writes_what_lies_beside_the_map(run, tmp_path):
    images = pixels(64, 64)
    images[:32] = 0
    path, out = write_scene(tmp_path / "scene.tif", images, nodata=0), tmp_path / "maps" / "map.tif"
    out.parent.mkdir()
    done = mapped(run, path, "--out", out, "--probabilities", "--entropy", "--json")
    result = json.loads(done.stdout)
    assert [row["class"] for row in result["areas"]] == ["no data", *CLASSES]
    assert result["areas"][0]["hectares"] == pytest.approx(64 * 32 * 0.01)
    assert result["patches"] == 8
    assert {file.name for file in out.parent.iterdir()} >= {"map.tif", "map.areas.csv", "map.probabilities.tif"}
    assert cog_validate(out, quiet=True)[0]
    about = read_info(out).about
    assert (about.patch, about.stride, about.min_valid, about.scenes) == (16, 16, 0.9, (str(path),))
    assert about.tta == "none"
    assert "hectares" in mapped(run, path, "--out", out).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "map.png"], "does not end in .tif"),
        (["--stride", 17], "a stride of 17 pixels"),
        (["--stride", 0], "a stride of 0 pixels"),
        (["--min-valid", 0], "no share"),
        (["--set", "training.image_size=64"], "changes nothing in a map"),
    ],
)
def test_settings_that_make_no_map_are_refused(run, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    path = write_scene(tmp_path / "scene.tif", pixels(32, 32))
    with pytest.raises(LandsiftError, match=said):
        mapped(run, path, "--out", "map.tif", *arguments)
    assert [file.name for file in tmp_path.iterdir()] == ["scene.tif"]


def test_scenes_that_make_no_map_are_refused(run, tmp_path):
    out = tmp_path / "map.tif"
    with pytest.raises(LandsiftError, match="less than a patch of 16 × 16"):
        mapped(run, write_scene(tmp_path / "small.tif", pixels(15, 40)), "--out", out)
    with pytest.raises(LandsiftError, match="would be replaced"):
        mapped(run, write_scene(out, pixels(32, 32)), "--out", out)
    assert rasterio.open(out).count == 3
    oblong = make_model(tmp_path / "oblong", patch=(16, 20))
    with pytest.raises(LandsiftError, match="maps are made of square ones"):
        mapped(oblong, write_scene(tmp_path / "scene.tif", pixels(32, 32)), "--out", tmp_path / "other.tif")


def test_a_damaged_scene_leaves_no_map(run, tmp_path):
    path = write_scene(tmp_path / "scene.tif", pixels(640, 640), compress="deflate")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    out = tmp_path / "map.tif"
    with pytest.raises(LandsiftError, match=r"scene\.tif"):
        mapped(run, path, "--out", out)
    assert [file.name for file in tmp_path.iterdir()] == ["scene.tif"]


def test_test_time_augmentation_is_that_of_the_model_and_can_be_left_out(tmp_path):
    run = make_model(tmp_path / "run", tta="flips")
    images = pixels(16, 16)
    path = write_scene(tmp_path / "scene.tif", images)
    both = [landsift.map_scene(run, path, tmp_path / f"{tta}.tif", tta=tta).path for tta in (True, False)]
    predictor = load_model(run)
    mean = predictor(images[None])[0].max()
    confidences = [read_confidence(read_info(each)).item() for each in both]
    assert confidences[0] == pytest.approx(mean, abs=0.0051)
    assert confidences[0] != confidences[1]
