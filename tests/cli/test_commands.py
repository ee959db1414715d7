"""The commands, as a person types them."""

import json
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from landsift.config import RunConfig
from landsift.data.store.patch_store import build_store
from landsift.evaluation.complete_run import complete_run
from landsift.evaluation.predict import predict_files
from landsift.training.start import train


def landsift(*arguments, check=True):
    done = subprocess.run(
        [sys.executable, "-m", "landsift", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if check and done.returncode:
        pytest.fail(done.stderr)
    return done


def test_help_names_the_commands_and_imports_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "landsift", "--help"], capture_output=True, text=True, check=True
    )
    for command in ("run", "predict", "evaluate", "report", "data"):
        assert command in done.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    packages = {name.split(".")[0] for name in imported}
    assert {"landsift", "typer"} <= packages
    # Neither training, nor Flyte and W&B, nor tables and pages, nor what reads a configuration.
    assert not packages & {"torch", "lightning", "timm", "sklearn", "flyte", "flyteplugins", "wandb", "httpx", "google"}
    assert not packages & {"pandas", "pyarrow", "plotly", "jinja2", "numpy", "PIL", "pydantic", "yaml"}
    for arguments in (["run"], ["predict"], ["evaluate"], ["report"], ["data"], ["data", "build"]):
        assert "Usage" in landsift(*arguments, "--help").stdout


def test_the_version_is_that_of_the_package():
    import landsift as package

    assert landsift("--version").stdout.strip() == package.__version__


def test_ctrl_c_says_interrupted_and_leaves_no_output(tmp_path):
    tiny = ["model.backbone=test_efficientnet", "model.weights=none", "training.image_size=32", "tracking.tsne_every=0"]
    long = "strategy=[{epochs: 100000, lr_head: 1.0e-3}]"
    settings = [part for setting in (*tiny, long, "data.synthetic.patches=60") for part in ("--set", setting)]
    command = [sys.executable, "-m", "landsift", "run", "--out", str(tmp_path / "out"), *settings]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("epoch"):
                break
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.strip().splitlines()[-1] == "interrupted"
    assert "Traceback" not in stderr
    assert stdout == ""
    assert not (tmp_path / "out").exists()


def test_predictions_of_files_of_another_size_are_those_of_the_run(tmp_path):
    """Patches of mixed sizes are stored at one; files are brought to that size before they are classified."""
    folder = tmp_path / "p"
    for k, name in enumerate(("dark", "light")):
        (folder / name).mkdir(parents=True)
        for i in range(10):
            size = 48 if i < 3 else 24
            pixels = np.random.default_rng(i).integers(0, 128, (size, size, 3), dtype=np.uint8) + np.uint8(100 * k)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    tiny = ["model.backbone=test_efficientnet", "model.weights=none", "training.image_size=32", "tracking.tsne_every=0"]
    config = RunConfig.load(None, [*tiny, f"data.source={folder}", "strategy=[{epochs: 1, lr_head: 1.0e-3}]"])
    store = build_store(config.data, tmp_path / "s")
    train(config, store, tmp_path / "run")
    run = complete_run(config, store, tmp_path / "run")
    predictions = predict_files(run.path, [folder])
    table = predictions.table()
    assert (len(table), predictions.skipped) == (20, [])
    columns = ["p_dark", "p_light"]
    expected = run.predictions.set_index("path")[columns]
    got = table.set_index("path").loc[expected.index, columns]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert (tmp_path / "p" / "dark" / "0.png").as_posix() in set(table["path"])


def test_synthesize_build_and_predict_with_nothing_but_the_model_folder(tmp_path):
    done = landsift("data", "synthesize", "--out", tmp_path / "p", "--patches", 60, "--size", 16, "--json")
    assert json.loads(done.stdout) == {"folder": str(tmp_path / "p"), "patches": 60}
    done = landsift("data", "build", tmp_path / "p", "--out", tmp_path / "s", "--json")
    assert json.loads(done.stdout)["shape"] == [16, 16, 3]

    tiny = ["model.backbone=test_efficientnet", "model.weights=none", "training.image_size=32", "tracking.tsne_every=0"]
    config = RunConfig.load(None, [*tiny, "strategy=[{epochs: 1, lr_head: 1.0e-3}]"])
    store = build_store(config.data, tmp_path / "own")
    train(config, store, tmp_path / "run")
    run = complete_run(config, store, tmp_path / "run")
    run.model_dir.rename(tmp_path / "model-alone")
    images = tmp_path / "p" / "forest"
    (images / "broken.png").write_bytes(b"x")
    (images / "notes.txt").write_text("no image")
    done = landsift("predict", tmp_path / "model-alone", images, tmp_path / "p" / "water", "--out", tmp_path / "p.csv")
    assert "20 patches classified" in done.stdout
    assert "broken.png" in done.stderr
    table = pd.read_csv(tmp_path / "p.csv")
    classes = ["barren", "cropland", "forest", "urban", "water", "wetland"]
    assert list(table.drop(columns="abstain", errors="ignore").columns) == [
        "path", "predicted", "set", "ood", *(f"p_{c}" for c in classes),
    ]  # fmt: skip
    assert len(table) == 20
    assert set(table["predicted"]) <= set(classes)
    landsift("predict", tmp_path / "model-alone", images, "--out", tmp_path / "p.parquet")
    first = pd.read_parquet(tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(first, table[:10], check_dtype=False, rtol=1e-4, atol=1e-6)
