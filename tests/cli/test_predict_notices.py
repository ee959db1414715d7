"""What `landsift predict` says of files that it leaves out, converts, or that do not look like patches."""

import json
import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from landsift.cli.main import main
from landsift.config import HeadConfig, ModelConfig
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.models.model_json import ModelDescription
from landsift.models.predictor import load_model, save_model


@pytest.fixture
def model(tmp_path):
    """An untrained model of patches of 32 × 32 pixels."""
    torch.manual_seed(0)
    backbone = create_backbone(ModelConfig(backbone="test_efficientnet", weights="none"), 32)
    classifier = PatchClassifier(backbone.network, backbone.features, 2, HeadConfig(hidden=None))
    description = ModelDescription(
        backbone="test_efficientnet", backbone_args={}, head={"hidden": None, "dropout": 0.3}, classes=("a", "b"),
        patch_size=(32, 32), image_size=32, mean=(0.4,) * 3, std=(0.2,) * 3, landsift="0",
    )  # fmt: skip
    save_model(classifier, description, tmp_path / "run" / "model")
    return tmp_path / "run"


@pytest.fixture
def predict(monkeypatch, capsys, model, tmp_path):
    """Classify files in this process: exit status, the JSON result, the lines on standard error, the table's rows."""

    def call(*paths):
        out = tmp_path / "out.csv"
        monkeypatch.setattr(logging.getLogger("landsift"), "handlers", [])  # the command adds its own
        monkeypatch.setattr(logging.getLogger("landsift"), "propagate", True)
        monkeypatch.setattr(sys, "argv", ["landsift", "predict", *map(str, (model, *paths, "--out", out, "--json"))])
        status = 0
        try:
            main()
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        captured = capsys.readouterr()
        result = json.loads(captured.out) if captured.out else None
        return status, result, captured.err.splitlines(), pd.read_csv(out) if out.exists() else None

    return call


@pytest.fixture
def files(tmp_path):
    """Write pictures: `files({"a.png": (height, width)})`."""

    def write(sizes: dict[str, tuple[int, int]]) -> Path:
        for number, (name, size) in enumerate(sizes.items()):
            file = tmp_path / "new" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file)
        return tmp_path / "new"

    return write


def test_patches_of_the_models_size_are_classified_without_a_word(predict, files):
    status, result, said, table = predict(files({"a.png": (32, 32), "b.png": (32, 32)}))
    assert (status, result["patches"], said, len(table)) == (0, 2, [], 2)


def test_a_scene_has_one_label_only_with_a_notice_that_says_what_to_do(predict, files):
    folder = files({"scene.png": (300, 280), "strip.png": (32, 320), "patch.png": (32, 32)})
    status, _, said, table = predict(folder)
    assert (status, len(table)) == (0, 3)
    (warning,) = (line for line in said if line.startswith("warning"))
    assert warning.startswith("warning: 2 of 3 files have room for several patches of 32 × 32 pixels")
    assert f"{folder}/scene.png (300 × 280), {folder}/strip.png (32 × 320)" in warning
    assert "cut them into patches of 32 × 32 pixels first" in warning
    assert "2 of 3 files were resized to 32 × 32 pixels" in said


def test_many_scenes_are_one_line(predict, files):
    _, _, said, _ = predict(files({f"{i}.png": (64, 70) for i in range(9)}))
    (warning,) = (line for line in said if line.startswith("warning"))
    assert "4.png (64 × 70) and 4 more: cut them into patches" in warning


def test_other_shapes_are_squeezed_only_with_a_notice(predict, files):
    folder = files({"slim.png": (30, 12), "near.png": (30, 28)})
    _, _, said, _ = predict(folder)
    assert (
        f"warning: 1 of 2 files were resized to 32 × 32 pixels with a changed aspect ratio: {folder}/slim.png (30 × 12)"
        in said
    )


def test_files_that_are_left_out_are_summed_up_by_reason(predict, files):
    folder = files({"good.png": (32, 32), "grey.png": (32, 32)})
    Image.new("L", (32, 32)).save(folder / "grey.png")
    for i in range(4):
        Image.new("CMYK", (32, 32)).save(folder / f"four{i}.tif")
    for i in range(3):
        Image.fromarray(np.zeros((32, 32), np.uint16)).save(folder / f"deep{i}.tif")
    for i, length in enumerate((120, 200)):
        (folder / f"cut{i}.png").write_bytes((folder / "good.png").read_bytes()[:length])
    (folder / "page.jpg").write_text("<html>404</html>")
    status, result, said, table = predict(folder)
    assert (status, len(table), len(result["skipped"])) == (0, 2, 10)
    assert said == [
        "warning: left out 4 files: 4 bands (CMYK), where grey, RGB and RGB + alpha are read "
        f"(the first: {folder}/four0.tif); write the three bands that are to be seen as an 8-bit RGB file",
        f"warning: left out 3 files: 16 bits per band, where 8 unsigned ones are read (the first: {folder}/deep0.tif); "
        "scale the values to 8 bits first, in all patches alike",
        next(line for line in said if line.startswith("warning: left out 2 files: damaged: ") and "cut0.png" in line),
        f"warning: left out {folder}/page.jpg: not a JPEG, PNG, TIFF, BMP or WebP image but a web page; "
        "convert them to PNG or TIFF, or remove them",
        "1 of 2 files: one band, grey, stored as three equal ones",
    ]


def test_where_nothing_can_be_read_the_error_names_the_reasons_and_the_way_out(predict, files):
    folder = files({"a.png": (32, 32)})
    (folder / "a.png").unlink()
    for i in range(2):
        Image.new("CMYK", (32, 32)).save(folder / f"{i}.tif")
    (folder / "text.png").write_text("no image")
    status, result, said, table = predict(folder)
    assert (status, result, table) == (1, None, None)
    error, hint = said[-2:]
    assert error.startswith("error: none of the 3 images can be read; the first: ")
    assert "0.tif: 4 bands (CMYK)" in error
    assert "1 more: not a JPEG, PNG, TIFF, BMP or WebP image" in error
    assert hint.startswith("write the three bands")


def test_arrays_of_scenes_are_classified_with_a_notice(model, caplog):
    predictor = load_model(model)
    predictor(np.zeros((2, 40, 50, 3), np.uint8))
    assert caplog.text == ""
    assert predictor(np.zeros((1, 300, 280, 3), np.uint8)).shape == (1, 2)
    assert "images of 300 × 280 pixels are predicted as a single patch each" in caplog.text
    assert "patches of 32 × 32 pixels: `landsift map` maps scenes" in caplog.text


@pytest.mark.shared
def test_real_scenes_have_one_label_only_with_a_notice(shared, predict):
    folder = shared / "cases/scene-as-one-patch"
    for paths in ([folder], [folder / "scene.jpg"], [folder / "wide.jpg"]):
        status, _, said, _ = predict(*paths)
        assert status == 0
        (warning,) = (line for line in said if line.startswith("warning"))
        for name, size in (("scene.jpg", "718 × 791"), ("wide.jpg", "64 × 640")):
            assert (f"{folder / name} ({size})" in warning) == (folder / name in paths or paths == [folder])
        assert "cut them into patches of 32 × 32 pixels first" in warning
