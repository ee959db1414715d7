"""`landsift pretrain`: from images without labels to a folder that `landsift run` begins with."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image
from tiny import SETTINGS, patches


def landsift(home, *arguments, status=0):
    done = subprocess.run(
        [sys.executable, "-m", "landsift", *map(str, arguments)],
        capture_output=True, text=True, check=False, env=os.environ | {"LANDSIFT_HOME": str(home / "cache")},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done


def settings(*more):
    return [part for setting in (*SETTINGS, *more) for part in ("--set", setting)]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The same patches as a folder of images, as a folder of classes, and as tables."""
    folder = tmp_path_factory.mktemp("images")
    pixels, labels, split = patches(48)
    lines = ["path,label,split"]
    for i, patch in enumerate(pixels):
        for name in (f"flat/{i:03}.png", f"classes/{'abc'[labels[i]]}/{i:03}.png"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(patch).save(folder / name)
        lines.append(f"flat/{i:03}.png,{'abc'[labels[i]]},{split[i]}")
    (folder / "labelled.csv").write_text("\n".join(lines))
    (folder / "unlabelled.csv").write_text("\n".join(line.split(",")[0] for line in lines))
    return folder


@pytest.fixture(scope="module")
def pretrained(images, tmp_path_factory):
    """A pretraining on the folder without classes, probed on the one with classes."""
    home = tmp_path_factory.mktemp("home")
    given = ["--data", images / "flat", "--probe", images / "classes", "--json"]
    done = landsift(home, "pretrain", *given, *settings(), "--out", home / "pretrained")
    return home, home / "pretrained", done


def test_a_folder_of_images_without_classes_is_learned_from(pretrained):
    _, folder, done = pretrained
    result = json.loads(done.stdout)
    assert result["patches"] == 48
    assert result["method"] == "simclr"
    assert "says of no patch what it shows: all of them are learned from" in done.stderr
    names = {path.name for path in folder.iterdir()}
    assert {"model", "metrics.json", "manifest.json", "config.yaml", "report.html", "probe.json"} <= names


def test_its_page_shows_measures_limits_and_neighbours(pretrained):
    page = (pretrained[1] / "report.html").read_text()
    for text in ("RankMe", "collapse below 0.02", "Nearest neighbours of the probe", "data:image/png;base64"):
        assert text in page
    assert page.count('<tr><th scope="row"><img') == 8


@pytest.mark.slow
def test_a_training_begins_with_it_and_the_cache_knows_it(pretrained, images):
    home, folder, _ = pretrained
    of_run = ["model.head.hidden=null", "training.image_size=32", "strategy=[{epochs: 1, lr_head: 0.01}]"]
    of_run = [f"model.weights={folder}", "model.backbone=test_efficientnet", "tracking.wandb=disabled", *of_run]
    given = [part for one in of_run for part in ("--set", one)]
    done = landsift(home, "run", "--data", images / "classes", *given, "--out", home / "run")
    assert f"weights {folder} are taken to expect inputs" in done.stderr
    again = landsift(home, "pretrain", "--data", images / "flat", "--probe", images / "classes", *settings(),
                     "--out", home / "again")  # fmt: skip
    assert "the pretrained backbone comes from the cache" in again.stderr
    for name in ("model/model.safetensors", "metrics.json"):
        assert (home / "again" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.slow
def test_a_table_without_labels_is_learned_from_and_of_one_with_a_split_its_training_patches(images, tmp_path):
    counts = []
    for name in ("unlabelled.csv", "labelled.csv"):
        given = ["--data", images / name, "--json", *settings("pretraining.method=simclr", "pretraining.epochs=1")]
        done = landsift(tmp_path / "home", "pretrain", *given, "--out", tmp_path / name)
        counts.append(json.loads(done.stdout)["patches"])
    assert counts == [48, 33]


def test_a_collapse_exits_with_one_and_two_lines(images, tmp_path):
    sabotage = [
        "pretraining.method=dino",
        "pretraining.dino.teacher_temperature=[2.0, 2.0]",
        "pretraining.watch.patience=1",
    ]
    given = ["--data", images / "flat", *settings(*sabotage), "--out", tmp_path / "r"]
    done = landsift(tmp_path / "home", "pretrain", *given, status=1)
    error, hint = done.stderr.strip().split("\n")[-2:]
    assert error.startswith("error: the pretraining has collapsed, in the last epoch: the teacher's outputs are nearly")
    assert hint == "set pretraining.dino.teacher_temperature=[0.04, 0.04]"
    assert not (tmp_path / "r").exists()


def test_a_result_without_classes_is_refused_where_classes_are_needed(pretrained, images):
    home, folder, _ = pretrained
    done = landsift(home, "predict", folder, images / "flat", "--out", home / "x.csv", status=1)
    assert "holds a pretrained backbone without classes" in done.stderr


@pytest.mark.slow
def test_a_run_with_a_pretraining_begins_with_it_and_takes_it_from_the_cache(images, tmp_path):
    of_run = ["pretraining.method=simclr", "pretraining.epochs=1", "training.image_size=32"]
    of_run += ["strategy=[{epochs: 1, lr_head: 0.01}]"]
    given = ["--data", images / "classes", *settings(*of_run, "model.head.hidden=null", "tracking.tsne_every=0")]
    landsift(tmp_path, "run", *given, "--out", tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["pretraining"]["method"] == "simclr"
    assert manifest["model"]["weights"] == "none"
    assert manifest["stages"]["pretrain_network"]["cached"] is False
    assert len(json.loads((tmp_path / "run" / "pretraining" / "metrics.json").read_text())) == 1
    assert "simclr on" in (tmp_path / "run" / "report.html").read_text()
    other = landsift(tmp_path, "run", *given, "--set", "strategy.0.epochs=2", "--out", tmp_path / "other")
    assert "the pretrained backbone comes from the cache" in other.stderr


def test_a_pretraining_that_would_not_be_used_is_refused(images, tmp_path):
    given = ["--data", images / "classes", *settings("pretraining.method=simclr")]
    done = landsift(tmp_path, "run", *given, "--set", "strategy=scratch", "--out", tmp_path / "run", status=1)
    assert "the strategy starts from random weights" in done.stderr
    done = landsift(tmp_path, "compare", *given, "--out", tmp_path / "compared", status=1)
    assert "pretraining.method: a comparison does not pretrain" in done.stderr


def test_folders_that_are_no_classes_say_how_to_learn_from_them(images, tmp_path):
    for tile in ("north", "south"):
        for kind in "ab":
            (tmp_path / "tiles" / tile / kind).mkdir(parents=True)
            Image.new("RGB", (32, 32), "red" if kind == "a" else "blue").save(
                tmp_path / "tiles" / tile / kind / "1.png"
            )
    given = ["--data", tmp_path / "tiles", *settings(), "--out", tmp_path / "r"]
    done = landsift(tmp_path / "home", "pretrain", *given, status=1)
    assert done.stderr.strip().endswith(
        "data.labels=false reads every image without a label, also those that a later run tests on"
    )


def test_its_report_is_written_again_without_its_patches(pretrained, tmp_path):
    import shutil

    home, folder, _ = pretrained
    copy = shutil.copytree(folder, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["data"]["store"] = str(tmp_path / "nowhere")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    landsift(home, "report", copy)
    page = (copy / "report.html").read_text()
    assert "The patches are not on this machine" in page
    assert "collapse below" in page
