"""Which code a stage runs, and a digest of it."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from landsift.config import RunConfig, digest
from landsift.pipeline.stage_table import Stage

PACKAGE = Path(__file__).parents[2]
CONFIG = "landsift.config"


def code_version(stage: Stage, package: Path = PACKAGE) -> str:
    """SHA-256 (hex) of the code that a stage runs, which comments, docstrings and the layout of lines do not change.

    Of the configuration's sections only the properties count, and only of the sections that the stage is given: their
    values are in the key as they are, and the rest says what is wrong with them.

    Args:
        stage: whose code.
        package: the folder of the landsift package.
    """
    files = in_reach(stage, package)
    found = {name: _digest_of(file.read_bytes()) for name, file in files.items() if name != CONFIG}
    if CONFIG in files:
        found[CONFIG] = _properties(files[CONFIG].read_bytes(), sections(stage))
    return digest(found)


def in_reach(stage: Stage, package: Path = PACKAGE) -> dict[str, Path]:
    """The landsift modules that belong to a stage, with their files.

    These are the modules that it begins in, those that they import anywhere, at their top or inside a function, and so
    on. Not followed: imports for type checkers alone, those of the configuration's module, and `landsift/__init__.py`,
    which only names what users may import.
    """
    found: dict[str, Path] = {}
    ahead = {part for name in stage.code for part in _with_packages(name)}
    while ahead:
        name = ahead.pop()
        file = _file_of(name, package)
        if name in found or file is None:
            continue
        found[name] = file
        if name != CONFIG:
            ahead |= _imports_of(file.read_bytes(), name, is_package=file.name == "__init__.py")
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


@cache
def _digest_of(text: bytes) -> str:
    return hashlib.sha256(ast.dump(_parsed(text)).encode()).hexdigest()


def _properties(text: bytes, of: set[str]) -> str:
    classes = (node for node in _parsed(text).body if isinstance(node, ast.ClassDef) and node.name in of)
    return digest([ast.dump(line) for each in classes for line in each.body if _is_property(line)])


def _is_text(line: ast.AST) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def _is_property(line: ast.AST) -> bool:
    return isinstance(line, ast.FunctionDef) and any(ast.unparse(d) == "property" for d in line.decorator_list)


@cache
def _imports_of(text: bytes, module: str, *, is_package: bool) -> frozenset[str]:
    return frozenset(imports(_parsed(text), module, is_package=is_package))


def imports(tree: ast.AST, module: str, *, is_package: bool = False) -> set[str]:
    """Names of landsift modules, and of their packages, that the code of a module imports anywhere in it."""
    names: set[str] = set()
    ahead: list[ast.AST] = [tree]
    while ahead:
        node = ahead.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            ahead.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            package = parts[: len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*package, *filter(None, [node.module])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        ahead.extend(ast.iter_child_nodes(node))
    return {part for name in names if name.startswith("landsift.") for part in _with_packages(name)}


def _with_packages(name: str) -> set[str]:
    """A module's name and those of the packages that it is in, but landsift itself."""
    parts = name.split(".")
    return {".".join(parts[:n]) for n in range(2, len(parts) + 1)}


def _file_of(name: str, package: Path) -> Path | None:
    """The source of a landsift module; None where the name is a function or class of its module."""
    place = package.joinpath(*name.split(".")[1:])
    return next((f for f in (place / "__init__.py", place.with_suffix(".py")) if f.is_file()), None)
