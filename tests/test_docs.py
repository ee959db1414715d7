"""The documents keep their promises: the quickstart's commands run, links lead somewhere, every key is described."""

import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from landsift.config import RunConfig
from landsift.training.phases import Phase
from landsift.training.strategies import STRATEGIES, resolve_strategy

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page):
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_the_quickstart_runs_as_it_stands(tmp_path):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    ran = commands(ROOT / "docs" / "quickstart.md")
    assert len(ran) == 5
    for command in ran:
        program, *arguments = shlex.split(command)
        assert program == "landsift"
        done = subprocess.run(
            [sys.executable, "-m", "landsift", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        if "--out runs/crops" in command:
            assert "from the cache load_dataset" in done.stdout
            assert "train_model" not in done.stdout
    for name in ("runs/first/report.html", "runs/first/model/model.safetensors", "predictions.csv"):
        assert (tmp_path / name).stat().st_size > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_to_files_that_exist(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_key_is_described_with_its_default():
    text = (ROOT / "docs" / "configuration.md").read_text()
    described = dict(re.findall(r"^\| `([\w.]+)` \| `(.*?)` \|", text, re.MULTILINE))

    def leaves(values, prefix=""):
        for key, value in values.items():
            if isinstance(value, dict) and value and key != "backbone_args":
                yield from leaves(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    expected = dict(leaves(RunConfig().to_dict()))
    assert set(described) == set(expected)
    for key, value in expected.items():
        assert yaml.safe_load(described[key]) == value or float(described[key]) == value, key


def test_every_strategy_and_every_key_of_a_phase_is_described_and_the_examples_resolve():
    text = (ROOT / "docs" / "strategies.md").read_text()
    described = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(described) == sorted([*STRATEGIES, *(field.name for field in fields(Phase))])
    examples = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        config = RunConfig.from_dict(yaml.safe_load(example))
        assert resolve_strategy(config.strategy, config.strategies)


def test_every_test_that_the_page_on_reliability_names_is_there():
    tests = sorted((ROOT / "tests").rglob("*.py"))
    names = " ".join(re.findall(r"(?:def|class) (test\w+|Test\w+)", "".join(t.read_text() for t in tests)))
    files = {t.name for t in tests}
    rows = [line for line in (ROOT / "docs" / "reliability.md").read_text().splitlines() if line.startswith("| ")]
    cells = [re.findall(r"`([^`]+)`", row.split(" | ")[-1]) for row in rows]
    mentioned = [part for cell in cells for part in cell]
    assert len(mentioned) > 80
    missing = [m for m in mentioned if (m.split("/")[-1] not in files if m.endswith(".py") else m not in names)]
    assert missing == []
