"""What `landsift predict` takes: files, folders as training walks them, and tables; what it leaves out is said."""

import json
import sys

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
from landsift.models.predictor import save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A `model/` folder of random weights."""
    torch.manual_seed(0)
    backbone = create_backbone(ModelConfig(backbone="test_efficientnet", weights="none"), 32)
    classifier = PatchClassifier(backbone.network, backbone.features, 2, HeadConfig(hidden=256, dropout=0.3))
    values = {"backbone": "test_efficientnet", "backbone_args": {}, "head": {"hidden": 256, "dropout": 0.3}}
    values |= {"classes": ("2", "10"), "patch_size": (16, 16), "image_size": 32}
    values |= {"mean": (0.5,) * 3, "std": (0.5,) * 3, "landsift": "0"}
    folder = tmp_path_factory.mktemp("model")
    save_model(classifier, ModelDescription(**values), folder)
    return folder


@pytest.fixture
def predict(model, monkeypatch, capsys, tmp_path):
    """Classify: exit status, the table, the result as JSON, standard error."""

    def call(*paths, out=tmp_path / "p.csv"):
        monkeypatch.setattr(sys, "argv", ["landsift", "predict", *map(str, (model, *paths, "--out", out)), "--json"])
        status = 0
        try:
            main()
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        said = capsys.readouterr()
        return status, pd.read_csv(out) if out.exists() else None, json.loads(said.out or "null"), said.err

    return call


@pytest.fixture
def images(tmp_path):
    """Four images in two folders."""
    for i, name in enumerate(("a/0.png", "a/1.JPG", "b/2.bmp", "b/3.webp")):
        (tmp_path / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "new" / name)
    return tmp_path / "new"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_names_the_files(predict, images, kind):
    frame = pd.DataFrame(
        {"date": "2024-06-01", "path": ["b/2.bmp", "a/0.png", "b\\3.webp"], "label": ["x", None, "nan"]}
    )
    table = images / f"t.{kind}"
    frame.to_csv(table, index=False) if kind == "csv" else frame.to_parquet(table)
    status, predictions, result, said = predict(table)
    assert status == 0
    assert list(predictions["path"]) == [str(images / name) for name in ("b/2.bmp", "a/0.png", "b/3.webp")]
    assert list(predictions.columns) == ["path", "predicted", "p_2", "p_10"]
    assert result["skipped"] == []
    assert f"{table}: columns that are not used: date, label" in said
    assert f"{table}: \\ in its paths is read as /" in said
    _, of_folder, _, _ = predict(images)
    merged = predictions.merge(of_folder, on="path", suffixes=("", "_folder"))
    np.testing.assert_allclose(merged["p_2"], merged["p_2_folder"], atol=1e-6)
    assert len(merged) == 3


def test_files_folders_and_tables_stand_side_by_side(predict, images):
    (images / "t.csv").write_text("path\na/0.png\n")
    _, predictions, _, _ = predict(images / "b", images / "t.csv", images / "a/1.JPG")
    names = ("b/2.bmp", "b/3.webp", "a/0.png", "a/1.JPG")
    assert list(predictions["path"]) == [str(images / name) for name in names]


def test_files_that_are_named_twice_are_classified_once(predict, images):
    status, table, result, said = predict(images / "a", images / "a" / "0.png", images / "b" / ".." / "a", images)
    assert (status, result["patches"]) == (0, 4)
    assert [path.rpartition("/")[2] for path in table["path"]] == ["0.png", "1.JPG", "2.bmp", "3.webp"]
    assert "5 of 9 files are named more than once and classified once" in said


def test_a_table_of_files_that_are_not_there_is_refused(predict, images):
    (images / "t.csv").write_text("path\nnew/a/0.png\n")
    status, predictions, _, said = predict(images / "t.csv")
    assert (status, predictions) == (1, None)
    assert f"is looked for at {images}/new/a/0.png" in said
    assert f"it is there from {images.parent}: move the table" in said


def test_a_table_without_paths_is_refused(predict, images):
    (images / "t.csv").write_text("filename\na/0.png\n")
    status, _, _, said = predict(images / "t.csv")
    assert status == 1
    assert said.strip().splitlines()[-1] == "rename its column 'filename' to 'path'"


def test_files_of_other_endings_are_counted_and_listed(predict, images):
    for name in ("a/x.jp2", "b/y.jp2", "notes.txt", "c.npy"):
        (images / name).touch()
    status, predictions, result, said = predict(images)
    assert (status, len(predictions)) == (0, 4)
    assert "warning: 3 files are left out by ending (2 .jp2, 1 .npy)" in said
    assert [entry["path"] for entry in result["skipped"]] == [
        str(images / name) for name in ("c.npy", "a/x.jp2", "b/y.jp2")
    ]


def test_folders_of_the_system_are_passed_over_and_links_followed(predict, images, tmp_path):
    for name in ("@eaDir/a", "$RECYCLE.BIN/a", ".ipynb_checkpoints", "__MACOSX/new", "lost+found"):
        (images / name).mkdir(parents=True)
        (images / name / "0.png").write_bytes((images / "a/0.png").read_bytes())
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/to").symlink_to(images)
    (tmp_path / "linked/back").symlink_to(tmp_path)
    _, predictions, _, said = predict(tmp_path / "linked/to")
    assert len(predictions) == 4
    _, predictions, _, said = predict(tmp_path / "linked")
    assert sorted(name.rpartition("/")[2] for name in predictions["path"]) == ["0.png", "1.JPG", "2.bmp", "3.webp"]
    assert "lead" in said


def test_an_output_among_the_images_or_in_place_of_a_table_is_refused(predict, images, tmp_path):
    (tmp_path / "t.csv").write_text("path\nnew/a/0.png\n")
    for path, out, why in (
        (images, images / "a" / "p.csv", f"lies in {images}, which is read"),
        (tmp_path / "t.csv", tmp_path / "t.csv", "is a file that is read, and would be replaced"),
    ):
        status, _, result, said = predict(path, out=out)
        assert (status, result) == (1, None)
        assert why in said
    assert (tmp_path / "t.csv").read_text() == "path\nnew/a/0.png\n"
    assert not (images / "a" / "p.csv").exists()
    assert predict(images / "a" / "0.png", out=images / "a" / "p.csv")[0] == 0


def test_a_pattern_names_files_and_not_the_output(predict, images):
    status, table, _, _ = predict(images / "*" / "[0-2].*")
    assert (status, len(table)) == (0, 3)
    status, _, _, said = predict(images / "a" / "*", out=images / "a" / "p.csv")
    assert status == 1
    assert "fits the pattern" in said
    assert "no file fits the pattern" in predict(images / "*.tif")[3]


def test_a_run_directory_holds_no_images(predict, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for name in ("manifest.json", "metrics.json"):
        (tmp_path / "run" / name).write_text("{}")
    status, _, _, said = predict(tmp_path / "run")
    assert status == 1
    assert "run holds no patches: it is a run directory" in said


@pytest.mark.shared
def test_the_cases_of_walks_give_two_rows_and_the_linked_picture(predict, shared, tmp_path):
    cases = shared / "cases/predict-folder-walk"
    _, predictions, _, _ = predict(cases / "new")
    assert [path.rpartition("/")[2] for path in predictions["path"]] == ["a.jpg", "b.JPG"]
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/real").symlink_to(cases / "real")
    assert len(predict(tmp_path / "linked")[1]) == 1
