"""Which code and which settings a stage's key stands for."""

import ast
import shutil
from pathlib import Path

import pytest
from pipeline_helpers import PACKAGE

from landsift.config import RunConfig
from landsift.errors import ModelError
from landsift.pipeline.cache import keys


def versions(root: Path) -> tuple[str, str]:
    return keys.code_version("load_dataset", root / "landsift"), keys.code_version("train_model", root / "landsift")


@pytest.fixture
def copy(tmp_path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "landsift", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize(
    ("modules", "data_changes", "training_changes"),
    [
        (
            [
                "reports/run/page.py",
                "reports/run/figures.py",
                "cli/main.py",
                "pipeline/run_directory.py",
                "data/checks/check.py",
                "data/checks/findings.py",
                "data/checks/near_duplicates.py",
                "data/checks/pixels.py",
                "__init__.py",
            ],
            False,
            False,
        ),
        (["training/callbacks.py"], False, True),
        (["evaluation/metrics.py"], False, True),
        (["models/classifier.py"], False, True),
        (["data/splits.py"], False, True),
        (["data/__init__.py"], True, True),
        (["data/sources/folder.py"], True, True),
        (["config.py"], True, True),
    ],
)
def test_a_changed_module_changes_the_stages_that_reach_it(copy, modules, data_changes, training_changes):
    before = versions(copy)
    assert before == (keys.code_version("load_dataset"), keys.code_version("train_model"))
    for module in modules:
        with (copy / "landsift" / module).open("a") as code:
            code.write("\n# one more line\n")
    after = versions(copy)
    assert (after[0] != before[0], after[1] != before[1]) == (data_changes, training_changes)


def test_a_changed_line_of_a_task_changes_that_task_alone(copy):
    before = versions(copy)
    tasks = copy / "landsift" / "pipeline" / "tasks.py"
    text = tasks.read_text()
    tasks.write_text(text.replace("tracking.say_where(", "tracking.say_where (", 1))
    after = versions(copy)
    assert after[0] == before[0]
    assert after[1] != before[1]
    tasks.write_text(text.replace("html.escape(", "html.escape (", 1))
    assert versions(copy) == before


def test_the_stages_import_all_they_run_inside_their_bodies():
    """What `code_version` cannot see would be a stale hit: a name of landsift's imported outside the task."""
    tree = ast.parse((PACKAGE / "pipeline" / "tasks.py").read_text())
    outside = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            ours = (getattr(node, "module", None) or node.names[0].name).startswith("landsift")
            outside |= {(alias.asname or alias.name).split(".")[0] for alias in node.names if ours}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            outside.add(node.name)
        else:
            outside |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    outside.discard("logger")
    assert {"_stage", "environments"} <= outside
    stages = [n for n in tree.body if isinstance(n, ast.AsyncFunctionDef) and n.name in {"load_dataset", "train_model"}]
    used = {n.id for stage in stages for line in stage.body for n in ast.walk(line) if isinstance(n, ast.Name)}
    assert len(stages) == 2
    assert not used & outside


def test_imports_for_type_checkers_and_in_other_packages_are_not_followed():
    code = """
from typing import TYPE_CHECKING
import numpy
from .store import open_store
if TYPE_CHECKING:
    from landsift.reports import pages
def later():
    from landsift import runs
"""
    found = keys._imports(ast.parse(code), "landsift.data.splits")
    assert found == {"landsift.data", "landsift.data.store", "landsift.data.store.open_store", "landsift.runs"}


def training_key(config: RunConfig, content: str = "content") -> str:
    return keys.training_key(config, keys.store_key(config.data, content))


@pytest.mark.parametrize("setting", ["wandb=online", "project=other", "entity=other"])
def test_where_a_run_is_tracked_changes_no_key(tiny, setting):
    assert training_key(tiny) == training_key(tiny.replace(f"tracking.{setting}"))


@pytest.mark.parametrize(
    "setting",
    [
        "seed=1",
        "strategy=full",
        "training.batch_size=8",
        "training.augment.flips=false",
        "model.head.hidden=null",
        "tracking.tsne_every=1",
        "data.split.seed=1",
        "data.budget=10",
        "training.sampler=balanced",
        "training.class_weights=balanced",
    ],
)
def test_what_shapes_the_training_changes_its_key_and_not_the_stores(tiny, setting):
    changed = tiny.replace(setting)
    assert keys.store_key(tiny.data, "content") == keys.store_key(changed.data, "content")
    assert training_key(tiny) != training_key(changed)


def test_the_seed_of_a_budget_counts_where_there_is_a_budget(tiny):
    budget = tiny.replace("data.budget=10")
    assert keys.store_key(budget.data, "content") == keys.store_key(
        budget.replace("data.budget_seed=1").data, "content"
    )
    assert keys.store_settings(budget.replace("data.budget_seed=1").data) == keys.store_settings(tiny.data)
    assert training_key(budget) == training_key(budget.replace("data.budget_seed=0"))  # the split's
    assert training_key(budget) != training_key(budget.replace("data.budget_seed=1"))
    assert training_key(tiny) == training_key(tiny.replace("data.budget_seed=1"))


def test_a_strategy_is_known_by_its_phases_and_not_by_its_name(tiny):
    mine = "strategies.mine=[{name: head, epochs: 1, lr_head: 0.002}]"
    other = "strategies.other=[{name: head, epochs: 2, lr_head: 0.002}]"
    assert training_key(tiny) == training_key(tiny.replace(mine, other, "strategy=mine"))
    assert training_key(tiny) != training_key(tiny.replace(mine, other, "strategy=other"))
    assert training_key(tiny) == training_key(tiny.replace("strategy.0.schedule=cosine"))  # the default


def test_weights_count_only_where_the_strategy_uses_them(tiny):
    scratch = tiny.replace("strategy=scratch", "model.weights=none")
    for weights in ("imagenet", "nowhere.safetensors"):
        assert training_key(scratch.replace(f"model.weights={weights}")) == training_key(scratch)


def test_a_cluster_changes_no_key(tiny):
    assert training_key(tiny) == training_key(tiny.replace("cluster.gpu=none"))


def test_other_content_and_other_settings_of_the_data_change_every_key(tiny):
    for changed in (
        keys.store_key(tiny.data, "other content"),
        keys.store_key(tiny.replace("data.patch_size=8").data, "content"),
    ):
        assert changed != keys.store_key(tiny.data, "content")
        assert keys.training_key(tiny, changed) != training_key(tiny)


def test_a_folder_is_the_same_by_any_spelling(tiny, tmp_path, monkeypatch):
    (tmp_path / "patches").mkdir()
    monkeypatch.chdir(tmp_path)
    spelled = [tiny.replace(f"data.source={name}").data for name in ("patches", "./patches/", f"{tmp_path}/patches")]
    assert len({keys.store_key(data, "content") for data in spelled}) == 1


def test_weights_are_known_by_their_content(tiny, tmp_path):
    weights = tmp_path / "some.safetensors"
    weights.write_bytes(b"one")
    config = tiny.replace(f"model.weights={weights}")
    before = training_key(config)
    weights.write_bytes(b"two")
    assert training_key(config) != before

    folder = tmp_path / "pretrained" / "model"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"one")
    config = tiny.replace(f"model.weights={folder.parent}")
    before = training_key(config)
    (folder.parent / "report.html").write_text("not weights")
    assert training_key(config) == before
    (folder / "model.safetensors").write_bytes(b"two")
    assert training_key(config) != before


def test_weights_that_are_not_there_are_an_error(tiny):
    with pytest.raises(ModelError, match=r"nowhere\.safetensors"):
        training_key(tiny.replace("model.weights=nowhere.safetensors"))
