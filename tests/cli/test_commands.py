"""The commands, as a person types them."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from landsift.config import RunConfig
from landsift.data.store import build_store
from landsift.training.fit import train


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
    for command in ("run", "predict", "report", "data"):
        assert command in done.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "flyte", "wandb", "lightning", "pandas", "plotly", "sklearn", "numpy", "timm"}
    for arguments in (["run"], ["predict"], ["report"], ["data"], ["data", "build"]):
        assert "Usage" in landsift(*arguments, "--help").stdout


def test_the_version_is_that_of_the_package():
    import landsift as package

    assert landsift("--version").stdout.strip() == package.__version__


def test_synthesize_build_and_predict_with_nothing_but_the_model_folder(tmp_path):
    done = landsift("data", "synthesize", "--out", tmp_path / "p", "--patches", 60, "--size", 16, "--json")
    assert json.loads(done.stdout) == {"folder": str(tmp_path / "p"), "patches": 60}
    done = landsift("data", "build", tmp_path / "p", "--out", tmp_path / "s", "--json")
    assert json.loads(done.stdout)["shape"] == [16, 16, 3]

    tiny = ["model.backbone=test_efficientnet", "model.weights=none", "training.image_size=32", "tracking.tsne_every=0"]
    config = RunConfig.load(None, [*tiny, "strategy=[{epochs: 1, lr_head: 1.0e-3}]"])
    run = train(config, build_store(config.data, tmp_path / "own"), tmp_path / "run")
    run.model_dir.rename(tmp_path / "model-alone")
    images = tmp_path / "p" / "forest"
    (images / "broken.png").write_bytes(b"x")
    (images / "notes.txt").write_text("no image")
    done = landsift("predict", tmp_path / "model-alone", images, tmp_path / "p" / "water", "--out", tmp_path / "p.csv")
    assert "20 patches classified" in done.stdout
    assert "broken.png" in done.stderr
    table = pd.read_csv(tmp_path / "p.csv")
    classes = ["barren", "cropland", "forest", "urban", "water", "wetland"]
    assert list(table.columns) == ["path", "predicted", *(f"p_{c}" for c in classes)]
    assert len(table) == 20
    assert set(table["predicted"]) <= set(classes)
    landsift("predict", tmp_path / "model-alone", images, "--out", tmp_path / "p.parquet")
    first = pd.read_parquet(tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(first, table[:10], check_dtype=False, rtol=1e-4, atol=1e-6)
