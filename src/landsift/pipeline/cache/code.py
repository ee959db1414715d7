"""Which code a stage runs, and a digest of it.

Parsing a hundred modules takes half a second, so that what was found in each is noted in the cache folder, by its
content: `CACHE/code.json`. The note may be deleted at any time.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import sys
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from landsift.config import RunConfig, cache_folder, digest
from landsift.errors import LandsiftError
from landsift.pipeline.stage_table import Stage
from landsift.runs import read_json, write_json
from landsift.runtime import module_imports
from landsift.runtime.module_imports import imported, with_packages

PACKAGE = Path(__file__).parents[2]
CONFIG = ("landsift.config", "landsift.config_data", "landsift.config_training")
NOTE = "code.json"
"""In the cache folder: per module and content, its digest and what it imports."""

Known = tuple[str, str, list[str]]
"""SHA-256 of a module's file; of its code, without comments; the modules that it imports."""
_found: dict[str, Known] = {}
"""By module, in this process."""


def code_version(stage: Stage, package: Path = PACKAGE) -> str:
    """SHA-256 (hex) of the code that a stage runs, which comments, docstrings and the layout of lines do not change.

    Of the configuration's sections only the properties count, and only of the sections that the stage is given: their
    values are in the key as they are, and the rest says what is wrong with them.

    Args:
        stage: whose code.
        package: the folder of the landsift package.
    """
    before = dict(_found)
    files = in_reach(stage, package)
    found = {name: _read(name, file)[1] for name, file in files.items() if name not in CONFIG}
    for name in files.keys() & {*CONFIG}:
        found[name] = _properties(files[name].read_bytes(), sections(stage))
    noted = _noted(cache_folder() / NOTE)
    if _found != before and any(noted.get(name) != known for name, known in _found.items()):
        with contextlib.suppress(LandsiftError):  # who cannot write the cache is told by those who must
            write_json(cache_folder() / NOTE, {"by": _by(), "found": noted | _found})
        _noted.cache_clear()
    return digest(found)


def in_reach(stage: Stage, package: Path = PACKAGE) -> dict[str, Path]:
    """The landsift modules that belong to a stage, with their files.

    These are the modules that it begins in, those that they import anywhere, at their top or inside a function, and so
    on. Not followed: imports for type checkers alone, those of the configuration's modules but for each other, and
    `landsift/__init__.py`, which only names what users may import.
    """
    found: dict[str, Path] = {}
    ahead = {part for name in stage.code for part in with_packages(name)[1:]}
    while ahead:
        name = ahead.pop()
        file = _file_of(name, package)
        if name in found or file is None:
            continue
        found[name] = file
        read = {*_read(name, file)[2]}
        ahead |= read & {*CONFIG} if name in CONFIG else read
    return found


def sections(stage: Stage) -> set[str]:
    """The classes of the configuration that the stage's settings are in, and those below them."""
    found: set[str] = set()

    def add(value: object) -> None:
        if isinstance(value, BaseModel):
            found.add(type(value).__name__)
            for name in type(value).model_fields:
                add(getattr(value, name))

    for key in stage.settings:
        value: Any = RunConfig()
        for name in key.split("."):
            found.add(type(value).__name__)
            value = getattr(value, name)
        add(value)
    return found


@cache
def _parsed(text: bytes) -> ast.Module:
    """Code without docstrings, and without the texts below names, which serve as such."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [line for line in node.body if not _is_text(line)]
    return tree


def _read(module: str, file: Path) -> Known:
    """What there is to know of a module; from the note where that knows this content."""
    text = file.read_bytes()
    content = hashlib.sha256(text).hexdigest()
    known = _found.get(module) or _noted(cache_folder() / NOTE).get(module)
    if known is None or known[0] != content:
        tree = _parsed(text)
        names = imported(tree, module, is_package=file.name == "__init__.py")
        asked = sorted(name for name in names if name.startswith("landsift."))
        known = content, hashlib.sha256(ast.dump(tree).encode()).hexdigest(), asked
    _found[module] = known
    return known


@cache
def _noted(file: Path) -> dict[str, Known]:
    """What an earlier process has noted, by this code and this Python; nothing where it is missing or damaged."""
    with contextlib.suppress(LandsiftError, TypeError, ValueError, KeyError, AttributeError):
        note = read_json(file)
        if note["by"] == _by():
            found = note["found"].items()
            return {str(name): (str(of), str(code), [str(each) for each in names]) for name, (of, code, names) in found}
    return {}


@cache
def _by() -> str:
    deciding = [Path(file).read_bytes() for file in (__file__, module_imports.__file__)]
    return digest([sys.version, *(hashlib.sha256(text).hexdigest() for text in deciding)])


def _properties(text: bytes, of: set[str]) -> str:
    classes = (node for node in _parsed(text).body if isinstance(node, ast.ClassDef) and node.name in of)
    return digest([ast.dump(line) for each in classes for line in each.body if _is_property(line)])


def _is_text(line: ast.AST) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def _is_property(line: ast.AST) -> bool:
    return isinstance(line, ast.FunctionDef) and any(ast.unparse(d) == "property" for d in line.decorator_list)


def _file_of(name: str, package: Path) -> Path | None:
    """The source of a landsift module; None where the name is a function or class of its module."""
    place = package.joinpath(*name.split(".")[1:])
    return next((f for f in (place / "__init__.py", place.with_suffix(".py")) if f.is_file()), None)
