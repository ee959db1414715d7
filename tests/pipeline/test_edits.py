"""What an edit runs again: the table of docs/decisions/0009-stages.md, row by row."""

import re
import shutil
from pathlib import Path

import pytest
from pipeline_helpers import PACKAGE, TINY

from landsift.config import RunConfig
from landsift.pipeline.cache import code, keys
from landsift.pipeline.run import run
from landsift.pipeline.stage_table import STAGES

DECODE, TRAIN, TEST, EMBED, CELL, PRETRAIN = STAGES
ALL = {DECODE, TRAIN, TEST, EMBED, CELL, PRETRAIN}
AFTER_DECODING = ALL - {DECODE}
NOTHING: set[str] = set()
PAGE = Path(__file__).parents[2] / "docs" / "decisions" / "0009-stages.md"


def runs_again(changed: set[str]) -> set[str]:
    """The stages that are other ones, and those that read them, and so on."""
    changed = set(changed)
    while more := {name for name, stage in STAGES.items() if {*stage.reads} & changed} - changed:
        changed |= more
    return changed


@pytest.fixture
def copy(tmp_path) -> Path:
    return shutil.copytree(PACKAGE, tmp_path / "landsift", ignore=shutil.ignore_patterns("__pycache__"))


OF_CODE = [
    ("a comment in the report's code", "reports/run/page.py", r"\Z", "\n# why\n", NOTHING),
    ("a changed line in the report's code", "reports/run/page.py", r"\Z", "\nX = 1\n", NOTHING),
    ("a comment in training", "training/fit.py", r"\Z", "\n# why\n", NOTHING),
    ("a docstring in training", "training/module.py", r'"""The Lightning module', '"""That Lightning module', NOTHING),
    ("lines laid out anew in training", "training/losses.py", r"\n\n\n", "\n\n\n\n\n", NOTHING),
    ("a changed line in training", "training/losses.py", r"\Z", "\nX = 1\n", AFTER_DECODING),
    ("a changed colour", "palette.py", "#332288", "#332289", NOTHING),
    ("a changed line in metrics", "evaluation/metrics.py", r"\Z", "\nX = 1\n", {TEST, CELL}),
    ("a changed line in t-SNE", "evaluation/tsne.py", "1e-4", "2e-4", {EMBED}),
    ("a changed line in decoding", "data/decoding/decode.py", r"\Z", "\nX = 1\n", ALL),
    ("a new configuration section", "config.py", r"\nclass RunConfig\(Section\):\n",
     "\nclass Maps(Section):\n    tile: int = 64\n\n    @property\n    def side(self):\n        return self.tile\n\n"
     "\nclass RunConfig(Section):\n    maps: Maps = Maps()\n", NOTHING),
    ("a new error message of the configuration", "config.py", "unknown configuration key", "no such key", NOTHING),
    ("another message of the section data", "config_data.py", "bands are", "bands must be", NOTHING),
    ("another meaning of a setting of the section data", "config_data.py",
     "self.split.seed if", "self.split.seed + 1 if", ALL),
    ("another meaning of a setting", "config_training.py",
     r'return "balanced" in', 'return "equal" in', AFTER_DECODING),
    ("a changed line of the command line", "cli/main.py", r"\Z", "\nX = 1\n", NOTHING),
    ("a changed line of the pipeline", "pipeline/tasks.py", r"\Z", "\nX = 1\n", NOTHING),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "module", "old", "new", "expected"), OF_CODE, ids=[row[0] for row in OF_CODE])
def test_an_edit_of_code_runs_again_what_runs_it(copy, edit, module, old, new, expected):
    file = copy / module
    text, count = re.subn(old, lambda _: new, file.read_text(), count=1)
    assert count == 1
    file.write_text(text)
    changed = {name for name, stage in STAGES.items() if code.code_version(stage, copy) != code.code_version(stage)}
    assert runs_again(changed) == expected
    told(edit, expected)


OF_SETTINGS = [
    ("`evaluation.tta`", "evaluation.tta=flips", {TEST, CELL}),
    ("`evaluation.calibration`", "evaluation.calibration=none", {TEST, CELL}),
    ("`evaluation.coverage`", "evaluation.coverage=0.9", {TEST}),
    ("`evaluation.risk`", "evaluation.risk=0.05", {TEST}),
    ("`tracking.tsne_every`", "tracking.tsne_every=5", {EMBED}),
    ("`tracking.tsne_per_class`", "tracking.tsne_per_class=20", {EMBED}),
    ("`tracking.project`", "tracking.project=meadows", NOTHING),
    ("`tracking.wandb`", "tracking.wandb=offline", NOTHING),
    ("`cluster.gpu`", "cluster.gpu=L4:1", NOTHING),
    ("a changed augmentation", "training.augment.crop=0.5", AFTER_DECODING),
    ("`training.batch_size`", "training.batch_size=8", AFTER_DECODING),
    ("`training.checkpoint_minutes`", "training.checkpoint_minutes=1", NOTHING),
    ("`seed`", "seed=1", AFTER_DECODING),
    ("`data.budget`", "data.budget=20", AFTER_DECODING),
    ("`data.split.kind`", "data.split.kind=spatial", AFTER_DECODING),
    ("`data.gsd`", "data.gsd=10", NOTHING),
    ("`data.patch_size`", "data.patch_size=8", ALL),
]


def keys_of(config: RunConfig) -> dict[str, str]:
    found = keys.of_run(config, "content")
    return vars(found) | {CELL: keys.cell_keys([config], found.load_dataset)[0]}


@pytest.mark.parametrize(("edit", "setting", "expected"), OF_SETTINGS, ids=[row[1] for row in OF_SETTINGS])
def test_a_setting_runs_again_what_reads_it(tiny, edit, setting, expected):
    before, after = keys_of(tiny), keys_of(tiny.replace(setting))
    assert {name for name in before if before[name] != after[name]} == expected - {PRETRAIN}
    told(edit, expected)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("edits")


CONFIG = RunConfig.load(None, [*TINY, "tracking.tsne_every=1", "training.accelerator=cpu"])


@pytest.fixture
def first(home, monkeypatch) -> Path:
    """The cache of a finished run; the folders of results have one in each."""
    monkeypatch.setenv("LANDSIFT_HOME", str(home / "cache"))
    if not (home / "first").exists():
        run(CONFIG, home / "first")
    return home / "cache"


def damaged(file: Path) -> None:
    """Another byte, the same size."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


OF_FILES = [
    ("deleted `CACHE/flyte`", lambda cache: shutil.rmtree(cache / "flyte", ignore_errors=True), (), NOTHING),
    ("deleted training", lambda cache: shutil.rmtree(only(cache / "trained")), (), {TRAIN}),
    ("deleted test", lambda cache: shutil.rmtree(only(cache / "tested")), (), {TEST}),
    ("a damaged weights file of the same size",
     lambda cache: damaged(only(cache / "trained") / "weights.safetensors"), (), {TRAIN}),
    ("a damaged model of the same size",
     lambda cache: damaged(only(cache / "tested") / "model" / "model.safetensors"), (), {TEST}),
    ("`evaluation.tta`", None, ("evaluation.tta=flips",), {TEST}),
    ("`tracking.tsne_every`", None, ("tracking.tsne_every=2",), {EMBED}),
    ("`tracking.project`", None, ("tracking.project=woods",), NOTHING),
]  # fmt: skip


def only(folder: Path) -> Path:
    """The first result that was kept there: later tests add others."""
    return min((p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: p.stat().st_ctime)


@pytest.mark.parametrize(("edit", "damage", "settings", "expected"), OF_FILES, ids=[row[0] for row in OF_FILES])
def test_a_run_after_an_edit_makes_what_is_missing_and_nothing_else(
    first, tmp_path, caplog, edit, damage, settings, expected
):
    if damage:
        damage(first)
    finished = run(CONFIG.replace(*settings), tmp_path / "out")
    stages = finished.manifest["stages"]
    assert list(stages) == [DECODE, TRAIN, TEST, EMBED, "create_report"]
    assert {name for name in stages if not stages[name]["cached"]} - {"create_report"} == expected
    assert not (first / "flyte").exists()
    told(edit, runs_again(expected) if edit in {row[0] for row in OF_SETTINGS} else expected)


def told(edit: str, expected: set[str]) -> None:
    """Check that the page has the row."""
    (row,) = (line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {edit} |"))
    marks = [cell.strip() for cell in row.split("|")[2:-1]]
    named = dict(zip((DECODE, TRAIN, TEST, EMBED), marks, strict=True))
    assert {name for name, mark in named.items() if mark} == expected - {CELL, PRETRAIN}
