"""Networks of the user's own and paths, through the whole pipeline: known by what they are, in every process."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pipeline_helpers import PACKAGE, TINY, Processes

from landsift.runs import Comparison, Run

ALL, STORE_ONLY = (True, True), (True, False)
NETWORK = """
from timm.models import register_model
from torch import nn
from parts import WIDTH

@register_model
def net_in_a_pipeline(pretrained=False, **others):
    return nn.Sequential(nn.Conv2d(3, WIDTH, 3, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


@pytest.fixture
def code(tmp_path) -> Path:
    """A file with a network, and one beside it."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "parts.py").write_text("WIDTH = 4\n")
    (tmp_path / "code" / "nets.py").write_text(NETWORK)
    return tmp_path / "code" / "nets.py"


def own(code: Path) -> list[str]:
    return ["model.backbone=net_in_a_pipeline", f"model.module={code}"]


def test_changed_code_of_a_network_trains_again_and_other_changes_do_not(processes, code, tmp_path):
    """A network of the same name and other code came out of the cache as the old one."""
    step = {"set": own(code)}
    outcome = processes.fork(step | {"out": f"{tmp_path}/1"}, step | {"out": f"{tmp_path}/2"})
    assert outcome.cached[1] == ALL
    run = Run.open(tmp_path / "1")
    assert run.manifest["model"]["module"] == str(code)
    code.write_text(f"# a remark\n{NETWORK}")
    moved = tmp_path / "moved"
    code.parent.rename(moved)
    unchanged = processes.fork({"set": own(moved / "nets.py"), "out": f"{tmp_path}/3"})
    assert unchanged.cached == [ALL]
    (moved / "parts.py").write_text("WIDTH = 5\n")
    changed = processes.fork({"set": own(moved / "nets.py"), "out": f"{tmp_path}/4"})
    assert changed.cached == [STORE_ONLY]
    other = Run.open(tmp_path / "4").manifest["model"]
    assert other["parameters"] > run.manifest["model"]["parameters"]
    assert other["code"] != run.manifest["model"]["code"]


def landsift(processes: Processes, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "landsift", *arguments],
        env=processes._env(PACKAGE.parent),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def options(*settings: str) -> list[str]:
    given = {setting.partition("=")[0]: setting for setting in (*TINY, *settings)}
    return [part for setting in given.values() for part in ("--set", setting)]


def test_the_processes_of_a_comparison_and_of_a_prediction_know_the_network(processes, code, tmp_path):
    chosen = options(*own(Path("nets.py")), "strategies.mine=[{epochs: 1, lr_head: 0.002}]")
    out = tmp_path / "compared"
    arguments = ["--data", "synthetic", "--strategies", "mine", "--seeds", "0", "--out", str(out), *chosen]
    done = landsift(processes, "compare", *arguments, cwd=code.parent)
    assert done.returncode == 0, done.stderr
    (cell,) = Comparison(out).data["cells"]
    assert cell["state"] == "done"
    done = landsift(processes, "run", "--out", f"{tmp_path}/run", *chosen, cwd=code.parent)
    assert done.returncode == 0, done.stderr
    (tmp_path / "image").mkdir()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "image" / "a.png")
    done = landsift(processes, "predict", f"{tmp_path}/run", f"{tmp_path}/image", "--out", f"{tmp_path}/p.csv")
    assert done.returncode == 0, done.stderr
    description = json.loads((tmp_path / "run" / "model" / "model.json").read_text())
    assert description["module"] == str(code)


@pytest.mark.slow
def test_a_runs_configuration_means_the_same_in_any_folder(processes, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    rng = np.random.default_rng(0)
    for label, level in (("field", 60), ("water", 180)):
        (here / "patches" / label).mkdir(parents=True)
        for i in range(12):
            pixels = rng.normal(level, 20, (16, 16, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(here / "patches" / label / f"{i}.png")
    first = landsift(processes, "run", "--data", "patches", "--out", "first", *options(), cwd=here)
    assert first.returncode == 0, first.stderr
    chosen = options("model.weights=first")
    weights = landsift(processes, "run", "--data", "patches", "--out", "second", *chosen, cwd=here)
    assert weights.returncode == 0, weights.stderr
    config = here / "second" / "config.yaml"
    again = landsift(processes, "run", "--config", str(config), "--out", "again", cwd=there)
    assert again.returncode == 0, again.stderr
    stages = Run.open(there / "again").manifest["stages"]
    assert (stages["load_dataset"]["cached"], stages["train_model"]["cached"]) == ALL
    with config.open("a") as file:
        file.write("weather: rain\n")
    report = landsift(processes, "report", str(here / "second"), cwd=there)
    assert report.returncode == 0, report.stderr
    assert "weather" in report.stderr
    refused = landsift(processes, "run", "--config", str(config), "--out", "refused", cwd=there)
    assert refused.returncode == 1
    assert "unknown configuration key 'weather'" in refused.stderr
