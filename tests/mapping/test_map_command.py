"""`landsift map`: one scene to a file, several to a folder, what it prints, and with which status it ends."""

import json
import sys

import numpy as np
import pytest
from map_models import pictures, save_random_model
from scene_models import raster

from landsift.cli.main import main
from landsift.mapping.map_file import read_info


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_random_model(tmp_path_factory.mktemp("run"))


@pytest.fixture
def command(run, monkeypatch, capsys):
    """`landsift map RUN ...`: exit status, what it prints, standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["landsift", "map", str(run), *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def scene_of(path, size=(100, 130), **options):
    return raster(path, pictures(*size), photometric="RGB", **options)


def test_a_scene_is_mapped_and_the_areas_are_printed(command, tmp_path):
    scene = scene_of(tmp_path / "scene.tif")
    status, said, _ = command(scene, "--out", tmp_path / "map.tif")
    assert status == 0
    lines = said.splitlines()
    assert lines[0].split() == ["cells", "hectares", "share"]
    assert sum(int(line.split()[1]) for line in lines[1:5]) == 4 * 5
    assert lines[5].split() == ["no", "data", "0"]
    assert lines[-1].startswith(f"{tmp_path / 'map.tif'}  4 × 5 cells, 20 patches in ")
    beside = {path.name for path in tmp_path.iterdir()}
    assert beside == {
        "scene.tif",
        "map.tif",
        "map.tif.aux.xml",
        "map.qml",
        "map.json",
        "map.areas.csv",
        "map.png",
        "map.html",
    }


def test_the_page_shows_the_scene_and_what_is_said_of_it_is_said_once(command, tmp_path):
    values = np.maximum(pictures(96, 128), 1)
    values[:20, :30] = 0
    scene = raster(tmp_path / "scene.tif", values, photometric="RGB")
    status, _, said = command(scene, "--out", tmp_path / "map.tif")
    assert status == 0
    assert said.count("they count as such (600 in all)") == 1
    assert '"scene":{"picture":"data:image/webp;base64,' in (tmp_path / "map.html").read_text()


def test_as_json_with_all_options(command, tmp_path):
    scene = scene_of(tmp_path / "scene.tif")
    options = [
        "--stride",
        8,
        "--dense",
        "--agreement",
        0.05,
        "--min-valid",
        0.5,
        "--smooth",
        5,
        "--smooth-variance",
        10,
    ]
    options += ["--tta", "flips", "--probabilities", "--no-page", "--device", "cpu", "--mask", "none"]
    status, said, err = command(scene, "--out", tmp_path / "map.tif", "--json", *options)
    assert status == 0, err
    result = json.loads(said)
    assert (result["height"], result["width"]) == (13, 17)
    assert sum(each["cells"] for each in result["areas"].values()) + result["no_data"] == 13 * 17
    assert result["agreement"]["patches"] > 50
    assert 0 <= result["smoothed"] <= 1
    about = read_info(tmp_path / "map.tif").about
    assert (about.tta, about.min_valid, about.smoothing) == ("flips", 0.5, "Bayesian, 5 × 5 cells, variance 10")
    assert (tmp_path / "map.probabilities.tif").is_file()
    assert not (tmp_path / "map.html").exists()


def test_a_folder_for_several_scenes_of_which_one_is_bad(command, tmp_path):
    for name in ("a", "c"):
        scene_of(tmp_path / "scenes" / f"{name}.tif")
    scene_of(tmp_path / "scenes" / "b.tif", crs=None)
    status, said, err = command(tmp_path / "scenes", "--out", tmp_path / "maps")
    assert status == 1
    assert "2 made, 0 left as they are, 1 failed" in said
    assert "error: b has no map: " in err
    assert err.splitlines()[-2:] == [
        "error: 1 of 3 scenes have no map: b",
        "the reasons stand above; the same command maps only these",
    ]
    status, said, _ = command(tmp_path / "scenes", "--out", tmp_path / "maps", "--json")
    assert status == 1
    result = json.loads(said)
    assert [each[-5:] for each in result["left"]] == ["a.tif", "c.tif"]
    assert [*result["failed"]] == ["b"]
    (tmp_path / "scenes" / "b.tif").unlink()
    assert command(tmp_path / "scenes", "--out", tmp_path / "maps")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--stride", "40"], 1, "--stride 40 is not between 1 and the 32 pixels"),
        (["--dense"], 1, "--dense saves nothing with a stride of 32 × 32 pixels"),
        (["--smooth-variance", "3"], 2, "changes nothing without --smooth"),
        (["--agreement", "0.9"], 2, "changes nothing without --dense"),
        (["--mask-classes", "clouds"], 2, "is no list of whole numbers"),
        (["--tta", "all"], 1, "--tta all is not known"),
        (["--set", "seed=1"], 1, "configuration key 'seed' changes nothing in a map"),
        (["--mask", "nowhere.tif"], 1, "nowhere.tif"),
        (["--device", "tpu"], 1, "there is no device 'tpu' here"),
        (["--workers", "2"], 2, "changes nothing with one map; --out FOLDER has one of each scene"),
        (["--engine", "tcp://127.0.0.1:1"], 2, "changes nothing with one map"),
        (["--gpus", "1"], 2, "changes nothing with one map"),
    ],
)
def test_wrong_usage_is_told_and_nothing_is_written(arguments, status, said, command, tmp_path):
    scene = scene_of(tmp_path / "scene.tif")
    found, out, err = command(scene, "--out", tmp_path / "map.tif", *arguments)
    assert found == status
    assert said in " ".join(err.split()).replace("│ ", "")
    assert not out
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--engine", "nowhere"], 1, "the engine 'nowhere' is no address and no file"),
        (
            ["--engine", "tcp://one:8786", "--workers", "2"],
            1,
            "workers changes nothing with an engine at tcp://one:8786",
        ),
        (["--gpus", "1", "--workers", "2", "--device", "cpu"], 2, "cpu changes nothing with --gpus"),
        (["--gpus", "4", "--workers", "99"], 1, "99 workers with gpus=4 each need 396 GPUs"),
        (["--workers", "0"], 2, "greater than or equal"),
    ],
)
def test_an_engine_that_cannot_be_used_is_refused_before_the_work(arguments, status, said, command, tmp_path):
    scene = scene_of(tmp_path / "scene.tif")
    found, out, err = command(scene, "--out", tmp_path / "maps", *arguments)
    assert found == status
    assert said in " ".join(err.split()).replace("│ ", "")
    assert not out
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_what_changes_nothing_in_one_process_is_said(command, tmp_path):
    scene_of(tmp_path / "scenes" / "a.tif")
    status, _, err = command(
        tmp_path / "scenes", "--out", tmp_path / "maps", "--workers", 1, "--threads", 2, "--no-page"
    )
    assert status == 0
    assert "--threads and --gpus change nothing in one process; --workers N has several" in err


def test_a_scene_that_is_not_there(command, tmp_path):
    status, _, err = command(tmp_path / "no.tif", "--out", tmp_path / "map.tif")
    assert status == 1
    assert err.splitlines()[0].startswith("error: ")
    assert "no.tif: the file does not exist" in err
    status, _, err = command(tmp_path / "nothing", "--out", tmp_path / "maps")
    assert (status, "no such file or folder" in err) == (1, True)
    assert not (tmp_path / "maps").exists()
