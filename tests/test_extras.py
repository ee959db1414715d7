"""landsift[torch] predicts; what all else needs comes with extras, which are named where they are missing."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from PIL import Image

import landsift
from landsift.config import HeadConfig, ModelConfig
from landsift.extras import MissingExtraError, needs
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.models.model_json import ModelDescription
from landsift.models.predictor import load_model, save_model

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src" / "landsift").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = {
    "odc-geo": "odc",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "flyteplugins-wandb": "flyteplugins",
}
"""Of a package, what it is called in `import`, where that is not its own name."""


def modules(extra: str | None) -> set[str]:
    """What an extra brings, with those that it includes; None: landsift alone."""
    lines = PROJECT["dependencies"] + (PROJECT["optional-dependencies"][extra] if extra else [])
    found = set()
    for requirement in map(Requirement, lines):
        if requirement.name == "landsift":
            found |= set().union(*map(modules, requirement.extras))
        else:
            found.add(MODULES.get(requirement.name, requirement.name.replace("-", "_")))
    return found


HEAVY = sorted(modules("all") - modules("torch") - {"huggingface_hub", "torchvision", "jinja2"})
"""What is not there with landsift[torch]: torch brings jinja2, timm the two others."""

BEGIN = f"import sys; sys.modules.update(dict.fromkeys({HEAVY}))\n"
"""A process in which importing one of them fails, as where it is not installed."""


def alone(code: str, *arguments: object) -> str:
    """What a program prints where landsift[torch] is installed alone."""
    program = [sys.executable, "-c", BEGIN + code, *map(str, arguments)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def model(tmp_path) -> Path:
    backbone = create_backbone(ModelConfig(backbone="test_efficientnet", weights="none"), 32)
    classifier = PatchClassifier(backbone.network, backbone.features, 2, HeadConfig(hidden=256, dropout=0.3))
    save_model(
        classifier,
        ModelDescription(
            backbone="test_efficientnet",
            backbone_args={},
            head={"hidden": 256, "dropout": 0.3},
            classes=("forest", "water"),
            patch_size=(16, 16),
            image_size=32,
            mean=(0.4, 0.4, 0.4),
            std=(0.2, 0.2, 0.2),
            landsift="0.1.0",
        ),
        tmp_path / "run" / "model",
    )
    return tmp_path / "run"


def test_with_torch_alone_a_model_predicts_arrays_and_files(model, tmp_path):
    patches = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    (tmp_path / "new").mkdir()
    for row, patch in enumerate(patches):
        Image.fromarray(patch).save(tmp_path / "new" / f"{row}.png")
    (tmp_path / "t.csv").write_text("path\nnew/0.png\nnew/2.png\n")
    code = """
import json
import landsift, numpy as np
run, folder = sys.argv[1:]
paths = [f"{folder}/new/{row}.png" for row in range(3)]
from PIL import Image
patches = np.stack([np.asarray(Image.open(path)) for path in paths])
found = landsift.predict_files(run, f"{folder}/new")
listed = landsift.predict_files(run, [f"{folder}/t.csv"])
print(json.dumps([landsift.load_model(run)(patches).tolist(), found.probabilities.tolist(), found.predicted,
    found.paths == paths, found.skipped, listed.paths == paths[::2]]))
"""
    arrays, files, predicted, same_paths, skipped, listed = json.loads(alone(code, model, tmp_path))
    expected = load_model(model)(patches)
    np.testing.assert_allclose(arrays, expected, atol=1e-6)
    np.testing.assert_allclose(files, expected, atol=1e-6)
    assert predicted == [("forest", "water")[k] for k in expected.argmax(axis=1)]
    assert same_paths
    assert skipped == []
    assert listed


def test_what_needs_an_extra_says_which_in_two_lines():
    code = """
import json, landsift
said = {}
for name in landsift.__all__:
    try:
        getattr(landsift, name)
    except landsift.LandsiftError as error:
        said[name] = str(error)
print(json.dumps(said))
"""
    said = json.loads(alone(code))
    assert {name: re.search(r"landsift\[(\w+)\]", text).group(1) for name, text in said.items()} == {
        "PatchStore": "train", "Phase": "train", "build_store": "train", "check_data": "train",
        "compare": "pipeline", "map_change": "maps", "map_scene": "maps", "pretrain": "pipeline", "run": "pipeline",
        "zone_areas": "maps",
    }  # fmt: skip
    assert all(text.count("\n") == 1 for text in said.values())
    assert said["run"] == "the pipeline needs flyte, flyteplugins, wandb, which are not installed\n" + (
        "pip install 'landsift[pipeline]'"
    )


def test_a_table_without_pandas_says_so(model, tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    code = """
import landsift
try:
    landsift.predict_files(*sys.argv[1:]).table()
except landsift.LandsiftError as error:
    print(error)
"""
    said = "a table of predictions needs pandas, which is not installed\npip install 'landsift[train]'\n"
    assert alone(code, model, tmp_path / "a.png") == said


def test_the_command_without_its_extra_says_so():
    program = [sys.executable, "-c", BEGIN + "from landsift.__main__ import main; main()", "--help"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    said = "error: the command line needs rich, typer, which are not installed\npip install 'landsift[train]'\n"
    assert done.stderr == said


def test_every_package_that_is_imported_is_declared_and_every_one_that_is_asked_for_comes_with_its_extra():
    imported, asked = set(), {}
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(str(node.module).split(".")[0])
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "needs":
                extra = next(ast.literal_eval(k.value) for k in node.keywords if k.arg == "extra")
                asked.setdefault(extra, set()).update(map(ast.literal_eval, node.args))
    # by huggingface-hub, pooch (its errors), distributed, s3fs
    brought = {"packaging", "requests", "urllib3", "dask", "aiohttp"}
    assert imported - set(sys.stdlib_module_names) - {"landsift"} <= modules("all") | brought
    assert set(asked) == {
        "torch", "train", "report", "pipeline", "pretrain", "cloud", "tune", "cluster", "bands", "maps", "export",
        "runtime", "runtime-maps",
    }  # fmt: skip
    for extra, names in asked.items():
        assert names <= modules(extra)


def test_each_extra_includes_the_one_before_it():
    assert modules(None) < modules("torch") < modules("train") < modules("report") < modules("pipeline")
    assert modules("report") | modules("bands") < modules("maps")
    assert modules("train") < modules("pretrain")
    assert modules("train") < modules("export")
    assert modules(None) < modules("runtime") < modules("runtime-maps")
    assert not (modules("runtime-maps") & (modules("torch") - modules(None)))
    assert modules("all") == set().union(
        *map(modules, ("pipeline", "maps", "pretrain", "export", "tune", "cluster", "cloud"))
    )


def test_a_missing_package_is_both_an_error_of_landsift_and_one_of_importing():
    needs("json", "torch", extra="train", what="nothing")
    with pytest.raises(MissingExtraError, match="a map needs no_such_map, which is not installed") as caught:
        needs("json", "no_such_map", extra="report", what="a map")
    assert isinstance(caught.value, landsift.LandsiftError)
    assert isinstance(caught.value, ImportError)
    assert caught.value.hint == "pip install 'landsift[report]'"
    assert torch.__version__


def test_a_report_that_cannot_be_made_is_told_before_the_training(tmp_path):
    code = f"""
import os, sys
os.environ["LANDSIFT_HOME"] = "{tmp_path}/home"
sys.modules["plotly"] = None
import landsift
try:
    landsift.run(None, "{tmp_path}/out")
except landsift.LandsiftError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "a report needs plotly, which is not installed\npip install 'landsift[report]'\n"
    assert not any(tmp_path.iterdir())
