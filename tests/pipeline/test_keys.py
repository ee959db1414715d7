"""Which code and which settings a stage's key stands for."""

import ast
import json

import pytest
from pipeline_helpers import PACKAGE

from landsift.config import RunConfig
from landsift.errors import ModelError
from landsift.pipeline.cache import code, keys
from landsift.pipeline.stage_table import STAGES, given
from landsift.runtime.module_imports import imported


def stages_of(module: str) -> set[str]:
    return {name for name, stage in STAGES.items() if module in code.in_reach(stage)}


def test_a_stage_reaches_no_module_of_the_stages_after_it():
    def reached(stage: str, *rooms: str) -> list[str]:
        return [module for module in code.in_reach(STAGES[stage]) if module.startswith(rooms)]

    assert reached("load_dataset", "landsift.training", "landsift.models", "landsift.data.batches") == []
    assert reached("train_model", "landsift.evaluation") == []
    for stage in STAGES:
        assert reached(stage, "landsift.reports", "landsift.cli", "landsift.pipeline") == []
    assert stages_of("landsift.data.splits") == {
        "train_model", "test_model", "create_embeddings", "train_cell", "pretrain_network",
    }  # fmt: skip
    assert stages_of("landsift.evaluation.metrics") == {"test_model", "train_cell"}
    assert stages_of("landsift.palette") == set()


def test_the_tasks_begin_their_work_where_the_table_says():
    """What `code_version` cannot see would be a stale result: work of landsift's that the table does not name."""
    plumbing = ("landsift.pipeline", "landsift.config", "landsift.errors")
    shared = {
        "landsift.data.store.patch_store",
        "landsift.training.strategies",
    }  # to open a store, to settle the weights
    tree = ast.parse((PACKAGE / "pipeline" / "tasks.py").read_text())
    tasks = {n.name: n for n in tree.body if isinstance(n, ast.AsyncFunctionDef) and n.name in STAGES}
    assert tasks.keys() == STAGES.keys()
    for name, task in tasks.items():
        files = {
            m
            for m in imported(task, "landsift.pipeline.tasks")
            if (PACKAGE.parent / f"{m.replace('.', '/')}.py").is_file()
        }
        work = {m for m in files if not m.startswith(plumbing)} - shared
        assert work <= {*STAGES[name].code}, name


def test_a_stage_is_given_what_it_declares_and_defaults_for_the_rest(tiny):
    asked = tiny.replace("evaluation.tta=flips", "tracking.project=meadows", "cluster.gpu=none", "data.split.seed=3")
    training = given(STAGES["train_model"], asked)
    assert (training.model, training.training, training.strategy) == (asked.model, asked.training, asked.strategy)
    assert training.data == RunConfig().data.model_copy(update={"split": asked.data.split})
    assert (training.evaluation, training.tracking, training.cluster) == (
        RunConfig().evaluation, RunConfig().tracking, RunConfig().cluster,
    )  # fmt: skip
    assert given(STAGES["test_model"], asked).evaluation.tta == "flips"
    assert given(STAGES["test_model"], asked).training.batch_size == RunConfig().training.batch_size


def test_every_setting_of_a_stage_is_one_of_the_configuration(tiny):
    for stage in STAGES.values():
        for key in stage.settings:
            value = tiny
            for name in key.split("."):
                value = getattr(value, name)


def test_imports_for_type_checkers_are_not_followed():
    text = """
from typing import TYPE_CHECKING
import numpy
from .store import open_store
if TYPE_CHECKING:
    from landsift.reports import pages
def later():
    from landsift import runs
"""
    found = imported(ast.parse(text), "landsift.data.splits")
    store = {"landsift.data", "landsift.data.store", "landsift.data.store.open_store"}
    assert found == {"typing", "typing.TYPE_CHECKING", "numpy", "landsift", "landsift.runs"} | store


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
        "model.head.hidden=64",
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
    moved = weights.rename(tmp_path / "moved.safetensors")
    assert training_key(tiny.replace(f"model.weights={moved}")) == before
    moved.rename(weights).write_bytes(b"two")
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


def test_what_code_is_noted_as_is_what_it_is(tmp_path, monkeypatch):
    """Who finds the note has the same keys as who parses all; a damaged or foreign note counts nothing."""
    monkeypatch.setenv("LANDSIFT_HOME", str(tmp_path))

    def afresh() -> str:
        code._found.clear()
        code._noted.cache_clear()
        return code.code_version(STAGES["train_model"])

    first = afresh()
    note = tmp_path / code.NOTE
    noted = json.loads(note.read_text())
    monkeypatch.setattr(code, "imported", None)  # nothing is parsed for them again
    assert afresh() == first
    monkeypatch.undo()
    monkeypatch.setenv("LANDSIFT_HOME", str(tmp_path))
    lies = {name: [of, "0" * 64, names] for name, (of, _, names) in noted["found"].items()}
    for text in ("", "[]", json.dumps({"by": "another", "found": lies}), json.dumps({"by": noted["by"], "found": [1]})):
        note.write_text(text)
        assert afresh() == first
    changed = {name: ["0" * 64, *rest] for name, (_, *rest) in noted["found"].items()}
    note.write_text(json.dumps({"by": noted["by"], "found": changed}))  # of other contents
    assert afresh() == first
