"""Same data, configuration and code: nothing runs again. Anything that differs: that stage and those after it do."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pipeline_helpers import PACKAGE, Outcome, Processes
from wandb_offline import read_offline_run, read_offline_settings

from landsift.runs import Run

ALL, STORE_ONLY, NOTHING = (True, True), (True, False), (False, False)
NEEDLESS = {
    "torch", "torchvision", "torchmetrics", "lightning", "timm", "sklearn", "scipy", "wandb", "flyteplugins",
    "plotly.graph_objs",
}  # fmt: skip
"""What takes seconds to import, and what a run whose stages are all in the cache does without."""
OFFLINE = ["tracking.wandb=offline", "tracking.project=fields"]


@pytest.fixture(scope="module")
def processes(tmp_path_factory) -> Processes:
    return Processes(tmp_path_factory.mktemp("caching"))


@pytest.fixture(scope="module")
def patches(tmp_path_factory) -> Path:
    """A folder with one folder per class: two classes of twelve patches."""
    root = tmp_path_factory.mktemp("patches")
    rng = np.random.default_rng(0)
    for label, level in (("field", 60), ("water", 180)):
        (root / label).mkdir()
        for i in range(12):
            pixels = rng.normal(level, 20, (16, 16, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / label / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def first(processes, patches) -> Outcome:
    """One process that trains on the generated patches, then on the folder's."""
    folder = {"out": f"{processes.folder}/folder-1", "set": [f"data.source={patches}"]}
    return processes.fork({"out": f"{processes.folder}/first", "set": OFFLINE}, folder)


def test_a_first_run_trains_and_leaves_a_complete_run_directory(first, processes):
    assert first.cached == [NOTHING, NOTHING]
    run = Run.open(processes.folder / "first")
    assert sorted(p.name for p in run.path.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "embeddings.parquet",
        "evaluation.json",
        "manifest.json",
        "metrics.json",
        "mistakes.safetensors",
        "model",
        "predictions.parquet",
        "report.html",
    ]
    assert (run.model_dir / "model.safetensors").stat().st_size > 10_000
    assert run.manifest["command"] == ["landsift", "run"]
    assert list(run.manifest["stages"]) == ["load_dataset", "train_model", "test_model", "create_report"]
    assert Path(run.manifest["data"]["store"]).is_dir()
    checks = run.manifest["data"]["checks"]
    assert [section["name"] for section in checks["sections"]] == [
        "patches", "split", "classes", "exact copies", "labels", "bands", "blank patches",
    ]  # fmt: skip
    assert checks["sections"][1]["counts"] == {"kind": "stratified"} | run.manifest["data"]["split"]
    assert "</html>" in (run.path / "report.html").read_text(encoding="utf-8")


def test_a_first_run_is_tracked_offline_in_the_cache_folder(first, processes):
    (tracked,) = (processes.home / "tracking" / "wandb").glob("offline-run-*")
    settings = read_offline_settings(tracked)
    assert settings["project"] == "fields"
    assert settings["name"] == "first"
    assert settings["config"]["training"]["image_size"] == 32
    assert any("val_acc" in row for row in read_offline_run(tracked))
    assert f"W&B run kept offline; upload it with: wandb sync {tracked}" in first.steps[0]["notices"]
    assert not (processes.folder / "wandb").exists()


def test_a_second_process_trains_nothing_and_is_quick(first, processes, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    # A file of this name is Flyte's own configuration where Flyte finds it.
    (here / "config.yaml").write_text("admin: {endpoint: 'dns:///flyte.invalid'}\nlocal: {persistence: true}\n")
    (tmp_path / "empty").mkdir()
    again = processes.run(
        {"out": f"{tmp_path}/again", "set": OFFLINE},
        {"out": f"{tmp_path}/empty", "set": ["tracking.project=woods", "cluster.gpu=L4:1"]},
        cwd=here,
    )
    assert again.cached == [ALL, ALL]
    assert {"flyte", "pandas", "plotly"} <= set(again.steps[-1]["loaded"])
    assert not NEEDLESS & set(again.steps[-1]["loaded"])
    assert [p.name for p in here.iterdir()] == ["config.yaml"]
    assert not (processes.person / ".flyte").exists()
    one, two = Run.open(processes.folder / "first"), Run.open(tmp_path / "again")
    weights = [(r.model_dir / "model.safetensors").read_bytes() for r in (one, two)]
    assert weights[0] == weights[1]
    assert one.evaluation == two.evaluation
    seconds = [r.manifest["stages"]["train_model"]["seconds"] for r in (one, two)]
    assert seconds[0] == seconds[1] > 0
    assert Run.open(tmp_path / "empty").config.tracking.project == "woods"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "empty", "here"]
    assert not any("wandb" in line.lower() or "flyte" in line.lower() for line in again.errors.splitlines())


def test_a_changed_setting_or_a_deleted_result_runs_its_stage_and_those_after_it(first, processes, tmp_path):
    run = Run.open(processes.folder / "first")
    store = Path(run.manifest["data"]["store"])
    weights = (run.model_dir / "model.safetensors").read_bytes()
    kept = processes.home.glob("trained/*/weights.safetensors")
    (model,) = (file for file in kept if file.read_bytes() == weights)
    outcome = processes.fork(
        {"out": f"{tmp_path}/budget", "set": ["data.budget=12"]},
        {"out": f"{tmp_path}/size", "set": ["data.patch_size=8"]},
        {"out": f"{tmp_path}/no-store", "delete": str(store)},
        {"out": f"{tmp_path}/no-model", "delete": str(model)},
        {"out": f"{tmp_path}/no-cache", "cache": False},
        {"out": f"{tmp_path}/healed"},
    )
    assert outcome.cached == [STORE_ONLY, NOTHING, (False, True), STORE_ONLY, NOTHING, ALL]
    no_model, healed = (" ".join(outcome.steps[i]["notices"]) for i in (3, 5))
    assert (
        "the trained model is in the cache, but its file weights.safetensors was deleted; it is made again" in no_model
    )
    assert "again" not in healed
    assert model.is_file()


def test_a_changed_file_runs_every_stage(first, processes, patches, tmp_path):
    image = patches / "water" / "3.png"
    pixels = np.asarray(Image.open(image)).copy()
    pixels[0, 0] = 255 - pixels[0, 0]
    Image.fromarray(pixels).save(image)
    assert processes.fork({"out": f"{tmp_path}/out", "set": [f"data.source={patches}"]}).cached == [NOTHING]


@pytest.mark.parametrize(
    ("module", "expected"),
    [("reports/run/page.py", ALL), ("training/fit.py", STORE_ONLY), ("data/store/patch_store.py", NOTHING)],
)
def test_a_changed_line_of_code_runs_the_stages_that_run_it(first, processes, tmp_path, module, expected):
    shutil.copytree(PACKAGE, tmp_path / "landsift", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "landsift" / module).open("a") as code:
        code.write("\n_CHANGED = True\n")
    assert processes.fork({"out": f"{tmp_path}/out"}, source=tmp_path).cached == [expected]
