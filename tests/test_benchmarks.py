"""The benchmarks answer --help, and neither they nor training load what only the pipeline and rasters need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = sorted(file for file in BENCHMARKS.glob("*.py") if "argparse" in file.read_text(encoding="utf-8"))

TRAIN_AND_LIST = """
import importlib, json, sys
from pathlib import Path

def foreign():
    return sorted({"flyte", "flyteplugins", "wandb", "rasterio"} & {name.partition(".")[0] for name in sys.modules})

folder, names = Path(sys.argv[1]), sys.argv[2:]
import common
common.import_timm()  # timm itself takes wandb where it is installed; this is as on a machine without it
import landsift.training.start
for name in names:
    importlib.import_module(name)
imported = foreign()

from landsift.config import RunConfig
from landsift.data.store.patch_store import build_store
settings = ["data.synthetic.patches=60", "data.synthetic.size=16", "model.backbone=test_resnet", "model.weights=none",
            "training.image_size=32", "training.batch_size=16", "training.accelerator=cpu", "tracking.tsne_every=0",
            "strategy=[{name: everything, epochs: 1, lr_head: 0.001, lr_backbone: 0.001, blocks: all}]"]
config = RunConfig.load(None, settings)
landsift.training.start.train(config, build_store(config.data, folder / "store"), folder / "run")
print(json.dumps({"imported": imported, "trained": foreign()}))
"""


def python(*arguments):
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_benchmark_says_what_it_answers_and_how(script):
    shown = python(script, "--help")
    assert "usage:" in shown
    assert f"python benchmarks/{script.name}" in shown, "its head names the command"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """What was loaded of flyte, wandb and rasterio: after the imports, and after a training."""
    folder = tmp_path_factory.mktemp("training")
    program = folder / "program.py"
    program.write_text(f"import sys\nsys.path.insert(0, {str(BENCHMARKS)!r})\n{TRAIN_AND_LIST}")
    names = [file.stem for file in BENCHMARKS.glob("*.py")]
    return json.loads(python(program, folder, *names).splitlines()[-1])


def test_importing_benchmarks_and_training_loads_neither_flyte_nor_wandb_nor_rasterio(loaded):
    assert loaded["imported"] == []


def test_training_loads_neither_flyte_nor_wandb_nor_rasterio(loaded):
    assert loaded["trained"] == []
