"""What decides whether a stage runs again: the key of its result.

A key is the SHA-256 of everything a stage's result depends on: the content of the patches, the settings the stage
reads, the code it runs, the libraries that decide its numbers, and the keys of the stages before it. The key is an
input of the stage's Flyte task, so that Flyte's cache looks results up by it, and it names the folder that holds the
result. `docs/decisions/0001-caching.md` says why Flyte's own keys do not suffice.
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from landsift.config import BUILT_IN_SOURCES, DataConfig, RunConfig, digest
from landsift.pipeline.cache.fingerprints import network_fingerprint
from landsift.pipeline.cache.noted import keyed
from landsift.training.phases import deciding_settings, settled

STORE_LIBRARIES = ("numpy", "pillow")
"""Libraries whose version may change a decoded pixel."""
TRAINING_LIBRARIES = (
    *STORE_LIBRARIES, "torch", "torchvision", "timm", "lightning", "scikit-learn", "scipy", "torchmetrics",
)  # fmt: skip
"""Libraries whose version may change a trained weight, a figure or a t-SNE frame."""

_PACKAGE = Path(__file__).parents[2]


def store_key(data: DataConfig, fingerprint: str) -> str:
    """Key of the patch store.

    Args:
        data: the data section; its split and budget divide the store later and are left out.
        fingerprint: `landsift.data.sources.base.content_fingerprint(data)`.
    """
    settings = store_settings(data)
    return keyed(
        {
            "stage": "load_dataset",
            "content": fingerprint,
            # The content stands for the rest: how patches were generated, from where an archive came.
            "settings": {
                "source": settings.source,
                "root": str(settings.eurosat.root) if data.source == "eurosat" else None,
                "patch_size": settings.patch_size,
                "max_unreadable": settings.max_unreadable,
            },
            "code": code_version("load_dataset"),
            "libraries": _versions(STORE_LIBRARIES),
        }
    )


def store_settings(data: DataConfig) -> DataConfig:
    """The settings that shape a store: no split and no budget, a file's or folder's path absolute."""
    defaults = DataConfig()
    path = data.source if data.source in BUILT_IN_SOURCES else os.path.abspath(Path(data.source).expanduser())
    left_out = {name: getattr(defaults, name) for name in ("split", "budget", "budget_seed")}
    return data.model_copy(update={**left_out, "source": path})


def training_key(config: RunConfig, store: str) -> str:
    """Key of the trained run.

    Where the run is tracked and what it asks of a cluster are left out: they change no weight. The t-SNE settings
    stay in, because the run directory holds the frames. A strategy counts by its phases, not by its name, and
    `model.weights` only where the strategy uses them.

    Args:
        config: the complete configuration.
        store: the store's key, which stands for the data, and for the code and the libraries that read them.

    Raises:
        ConfigError: the strategy cannot be resolved.
        ModelError: as `network_fingerprint`.
    """
    config = settled(config)
    code = code_version("train_model")
    return _training_key("train_model", config, store, network_fingerprint(config.model), code)


def cell_keys(configs: Sequence[RunConfig], store: str) -> list[str]:
    """Keys of a comparison's trainings, one per configuration; otherwise as `training_key`."""
    configs = [settled(config) for config in configs]
    models = {config.model.model_dump_json(): config.model for config in configs}
    prints = {name: network_fingerprint(model) for name, model in models.items()}
    code = code_version("train_cell")
    return [
        _training_key("train_cell", config, store, prints[config.model.model_dump_json()], code) for config in configs
    ]


def _training_key(stage: str, config: RunConfig, store: str, network: dict[str, Any], code: str) -> str:
    return keyed(
        {
            "stage": stage,
            "store": store,
            "settings": deciding_settings(config),
            "network": network,
            "code": code,
            "libraries": _versions(TRAINING_LIBRARIES),
        }
    )


def code_version(task: str, package: Path = _PACKAGE) -> str:
    """SHA-256 (hex) of the code that one task of `tasks.py` runs: its own lines and every module in reach.

    In reach are the landsift modules that the task's function imports in its body, those that they import anywhere,
    and so on. A task therefore imports all of landsift that it runs inside its body. Not followed: imports for type
    checkers alone, and `landsift/__init__.py`, which only names what users may import.

    Args:
        task: the name of the function.
        package: the folder of the landsift package.
    """
    text = (package / "pipeline" / "tasks.py").read_text(encoding="utf-8")
    functions = {n.name: n for n in ast.parse(text).body if isinstance(n, ast.AsyncFunctionDef)}
    found: dict[str, str] = {"task": ast.get_source_segment(text, functions[task]) or ""}
    ahead = _imports(functions[task], "landsift.pipeline.tasks")
    while ahead:
        name = ahead.pop()
        file = _module_file(name, package)
        if name in found or file is None:
            continue
        code = file.read_bytes()
        found[name] = hashlib.sha256(code).hexdigest()
        ahead |= _imports_of(code, name, is_package=file.name == "__init__.py")
    return digest(found)


@cache
def _imports_of(code: bytes, module: str, *, is_package: bool) -> frozenset[str]:
    """What a module imports; two stages share most of theirs, so that what was parsed once is kept."""
    return frozenset(_imports(ast.parse(code), module, is_package=is_package))


def _imports(tree: ast.AST, module: str, *, is_package: bool = False) -> set[str]:
    """Names of landsift modules, and of their packages, that the code imports anywhere in it."""
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
    inside = {name for name in names if name.startswith("landsift.")}
    return {".".join(name.split(".")[:n]) for name in inside for n in range(2, name.count(".") + 2)}


def _module_file(name: str, package: Path) -> Path | None:
    """The source of a landsift module; None where the name is a function or class of its module."""
    place = package.joinpath(*name.split(".")[1:])
    return next((f for f in (place / "__init__.py", place.with_suffix(".py")) if f.is_file()), None)


def _versions(packages: tuple[str, ...]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # installed without metadata, as some distributions do
            found[name] = None
    return found
