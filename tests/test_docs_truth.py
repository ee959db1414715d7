"""What the documents name exists: commands, options, keys, public names, anchors; and every page is listed."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import typer
import yaml

import landsift
from landsift.cli.main import app
from landsift.config import known_keys
from landsift.training.strategies import STRATEGIES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
SECTIONS = ("data", "model", "training", "pretraining", "evaluation", "tracking", "cluster")
ELSEWHERE = {
    "--complete",
    "--user",
    "--no-deps",
    "--durations",
    "--count",
    "--require-hashes",
    "--only",
    "--case",
    "--signal",
    "--compressed",
    "--nthreads",
    "--nworkers",
}
"""Options of other programs that the documents name."""
WRONG = {"--dataset", "--output", "--batch-size", "--epochs", "--lr"}
"""Options that the page of the command line names as slips."""
OF_A_MANIFEST = {"data.KEY", "data.checks", "model.weights_file", "data.learned_from"}
"""Keys of manifest.json that look like the configuration's."""
FREE = ("model.backbone_args.", "strategies.")
"""Keys below these are anybody's."""


@cache
def commands():
    """The options of each command: "run", "data build", ..."""
    found = {}

    def walk(command, name):
        for child_name, child in getattr(command, "commands", {}).items():
            walk(child, f"{name} {child_name}".strip())
        if not hasattr(command, "commands") or not name:
            options = {o for p in command.params for o in (*p.opts, *p.secondary_opts) if o.startswith("-")}
            found[name] = options | {"--help", "-h"}

    walk(typer.main.get_command(app), "")
    return found


def spans(page):
    """Code in a text: inline spans, and lines of blocks, with those that go on joined."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:console|bash|sh|)\n(.*?)```", text, re.DOTALL)
    for block in blocks:
        yield from re.sub(r"\\\n\s*", " ", block).splitlines()
    yield from re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def told(page):
    """The commands of landsift in a page, each with its words."""
    for span in spans(page):
        line = " ".join(span.split()).removeprefix("$ ")
        if not line.startswith("landsift ") or line.startswith("landsift ["):
            continue
        words = line.replace("[", " ").replace("]", " ").replace("|", " | ").replace("...", " ").split()[1:]
        two = " ".join(words[:2])
        name = two if two in commands() else words[0] if words else ""
        yield name, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_exists(page):
    wrong = []
    groups = {name.split()[0] for name in commands() if " " in name}
    for name, words in told(page):
        if name.split(" ")[0] in groups and (name in groups or name not in commands() or "|" in words):
            name = name.split(" ")[0]
            known = set().union(*(options for each, options in commands().items() if each.startswith(f"{name} ")))
        elif name.startswith("-"):
            known = commands()[""]
        elif name in commands():
            known = commands()[name]
        elif name.islower() and name.isalpha():
            wrong.append(f"landsift {name}")
            continue
        else:
            continue
        used = {word.split("=")[0].rstrip(",.;:)") for word in words if re.match(r"--?[a-z]", word)}
        wrong += [f"landsift {name} {option}" for option in used - known - WRONG]
    anywhere = set().union(*commands().values()) | ELSEWHERE | WRONG
    for span in spans(page):
        if re.match(r"--[a-z]", span):
            wrong += [option for option in re.findall(r"(?:^| )(--[a-z][a-z-]+)", span) if option not in anywhere]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_key_exists(page):
    known = {*known_keys()}
    wrong = []
    for span in spans(page):
        if re.search(r"\.(json|yaml|parquet|safetensors|csv|KEY)\b", span) and "--set" not in span:
            continue
        settings = re.findall(r"(?:--set|-s) [\"']?([\w.]+)=", span)
        alone = re.match(rf"((?:{'|'.join(SECTIONS)})(?:\.\w+)+)(?:$|[=: ])", span)
        for key in [*settings, *([alone[1]] if alone else [])]:
            first = key.split(".")[0]
            if first in ("strategy", "key") or key.startswith(FREE) or key in known or key in OF_A_MANIFEST:
                continue
            if alone and (ROOT / "src" / "landsift" / first).is_dir() and _in_code(key):
                continue  # such as `data.sources`: a module
            wrong.append(key)
    assert [key for key in wrong if key not in {"training.lr", "data.split.train"}] == []  # named as slips


def _in_code(name: str) -> bool:
    parts = name.split(".")
    return any(
        (ROOT / "src" / "landsift" / Path(*parts[:n])).with_suffix(".py").is_file() for n in range(2, len(parts) + 1)
    )


def test_every_public_name_is_on_the_page_of_python():
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    missing = [name for name in landsift.__all__ if not re.search(rf"\b{re.escape(name)}\b", text)]
    assert missing == []
    named = set(re.findall(r"\blandsift\.(\w+)\(", text))
    assert named <= set(landsift.__all__) | {"models"}, named - set(landsift.__all__)


def test_every_strategy_that_is_named_exists():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert set(re.findall(r"--set strategy=([a-z_]+)\b", text)) - {"twophase", "two"} <= set(STRATEGIES)


def anchors(page):
    """The anchors of a page, as GitHub and mkdocs make them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_headings_that_exist(page):
    for file, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
        target = page if not file else (page.parent / file).resolve()
        assert anchor in anchors(target), f"{page.name}: {file}#{anchor}"


def test_every_page_is_listed_and_is_on_the_site():
    listed = re.findall(r"\]\(([^)#]+\.md)\)", (DOCS / "README.md").read_text(encoding="utf-8"))
    there = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} - {"README.md"}
    assert sorted(listed) == sorted(there)
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    shown = [page for entry in nav for pages in entry.values() if isinstance(pages, list) for page in pages]
    assert [path for page in shown for path in page.values()] == listed


def test_examples_on_the_pages_can_be_split_into_words():
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                if line.startswith("$ landsift"):
                    shlex.split(line[2:])
