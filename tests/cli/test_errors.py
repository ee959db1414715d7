"""Everything a new user gets wrong: one or two lines on standard error, status 1, nothing left behind."""

import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from landsift.cli.main import main

TINY = ["--set", "model.backbone=test_efficientnet", "--set", "model.weights=none", "--set", "training.image_size=32"]


@pytest.fixture
def landsift(monkeypatch, capsys):
    """Run the command line in this process: exit status, standard output, standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["landsift", *map(str, arguments)])
        try:
            main()
            status = 0
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def refused(landsift, tmp_path):
    """Run `landsift run` and check that it is refused in two lines that hold all of `said`, with nothing left."""

    def call(*arguments, said, out=None):
        out = out or tmp_path / "run"
        before = sorted(p for p in tmp_path.rglob("*") if "home" not in str(p))
        source = [] if "--data" in arguments else ["--data", "synthetic"]
        status, stdout, stderr = landsift("run", "--out", out, *TINY, *source, *arguments)
        lines = stderr.strip().splitlines()
        error = lines[next(i for i, line in enumerate(lines) if line.startswith("error: ")) :]
        assert status == 1
        assert stdout == ""
        assert len(error) <= 2, stderr
        assert "Traceback" not in stderr
        for part in said:
            assert part in "\n".join(error)
        assert sorted(p for p in tmp_path.rglob("*") if "home" not in str(p)) == before

    return call


def patches(folder, classes=("forest", "water"), each=6, size=16):
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(each):
            Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(folder / name / f"{i}.png")
    return folder


def test_a_missing_folder(refused, tmp_path):
    refused("--data", tmp_path / "nowhere", said=["nowhere"])


def test_a_misspelt_source(refused):
    refused("--data", "eurosta", said=["'eurosta'", "eurosat"])


def test_a_folder_without_images(refused, tmp_path):
    (tmp_path / "empty" / "forest").mkdir(parents=True)
    refused("--data", tmp_path / "empty", said=["empty", "image"])


def test_a_single_class(refused, tmp_path):
    refused("--data", patches(tmp_path / "p", ["forest"]), said=["forest", "two classes"])


def test_a_class_too_small_to_split(refused, tmp_path):
    folder = patches(tmp_path / "p")
    for i in range(1, 6):
        (folder / "water" / f"{i}.png").unlink()
    refused("--data", folder, said=["water"])


def test_too_many_files_that_are_no_images(refused, tmp_path):
    folder = patches(tmp_path / "p")
    (folder / "water" / "0.png").write_bytes(b"no image")
    refused("--data", folder, said=["0.png", "max_unreadable"])


def test_an_unreadable_table(refused, tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"no table")
    refused("--data", tmp_path / "t.parquet", said=["t.parquet"])


def test_a_table_without_labels(refused, tmp_path):
    (tmp_path / "t.csv").write_text("path,klass\na.png,forest\n")
    refused("--data", tmp_path / "t.csv", said=["t.csv", "label"])


def test_an_unknown_key(refused):
    refused("--set", "training.imagesize=64", said=["'training.imagesize'", "did you mean 'training.image_size'?"])


def test_a_value_out_of_range(refused):
    refused("--set", "training.label_smoothing=2", said=["training.label_smoothing", "2"])


def test_an_unknown_backbone(refused):
    refused("--set", "model.backbone=efficientnetb0", said=["'efficientnetb0'", "'efficientnet_b0'"])


def test_an_unknown_strategy(refused):
    refused("--set", "strategy=twophase", said=["'twophase'", "'two_phase'"])


def test_weights_that_do_not_fit(refused, tmp_path):
    save_file({"conv_stem.weight": torch.zeros(3)}, tmp_path / "w.safetensors")
    refused("--set", f"model.weights={tmp_path / 'w.safetensors'}", said=["w.safetensors", "do not fit"])


def test_weights_that_are_not_there(refused, tmp_path):
    refused("--set", f"model.weights={tmp_path / 'none.safetensors'}", said=["none.safetensors", "model.weights"])


def test_an_output_folder_that_is_not_empty(refused, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").touch()
    refused(out=tmp_path / "full", said=["full", "not empty"])


def test_an_output_folder_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "file").touch()
    refused(out=tmp_path / "file" / "run", said=["cannot be written"])


def test_an_archive_whose_checksum_does_not_match(refused, tmp_path, monkeypatch):
    import functools
    import http.server
    import threading

    (tmp_path / "served").mkdir()
    with zipfile.ZipFile(tmp_path / "served" / "EuroSAT.zip", "w") as archive:
        archive.writestr("2750/Forest/Forest_1.jpg", b"x")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        refused("--data", "eurosat", "--set", f"data.eurosat.base_url={url}", said=["EuroSAT.zip", "does not match"])
        server.shutdown()


def test_online_tracking_without_a_key(refused, monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    refused("--set", "tracking.wandb=online", said=["WANDB_API_KEY"])


def test_a_cluster_configuration_that_is_not_there(landsift, tmp_path):
    status, _, stderr = landsift("run", "--data", "synthetic", "--remote", tmp_path / "none.yaml")
    assert status == 1
    assert "none.yaml" in stderr


@pytest.mark.parametrize(
    "arguments", [["run"], ["run", "--data", "synthetic"], ["run", "--no-such-option"], ["predict"], ["nosuchcommand"]]
)
def test_wrong_usage_is_status_two(landsift, arguments):
    status, stdout, stderr = landsift(*arguments)
    assert status == 2
    assert "Traceback" not in stdout + stderr


def test_predictions_need_a_model_images_and_a_known_ending(landsift, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, said in [
        ([tmp_path / "no-run", tmp_path / "empty", "--out", tmp_path / "p.csv"], "no images in"),
        ([tmp_path / "no-run", tmp_path, "--out", tmp_path / "p.csv"], "which is read"),
        ([tmp_path, tmp_path / "no.png", "--out", tmp_path / "p.csv"], "no such file or folder"),
        ([tmp_path, tmp_path, "--out", tmp_path / "p.xlsx"], "must be .csv or .parquet"),
        ([tmp_path, tmp_path, "--out", tmp_path / "none" / "p.csv"], "there is no folder"),
    ]:
        status, stdout, stderr = landsift("predict", *arguments)
        assert (status, stdout) == (1, "")
        assert said in stderr
    folder = patches(tmp_path / "p")
    status, _, stderr = landsift("predict", tmp_path, folder, "--out", tmp_path / "p.csv")
    assert status == 1
    assert "no model at" in stderr
    assert not (tmp_path / "p.csv").exists()
