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

from landsift.config import DataConfig, RunConfig, digest
from landsift.training.strategies import deciding_settings, settled

STORE_LIBRARIES = ("numpy", "pillow")
"""Libraries whose version may change a decoded pixel."""
TRAINING_LIBRARIES = (
    *STORE_LIBRARIES, "torch", "torchvision", "timm", "lightning", "scikit-learn", "scipy", "torchmetrics",
)  # fmt: skip
"""Libraries whose version may change a trained weight, a figure or a t-SNE frame."""
BUILT_IN_SOURCES = ("synthetic", "eurosat")
"""Sources that need no file of the user's."""

_PACKAGE = Path(__file__).parents[2]


def store_key(data: DataConfig, fingerprint: str) -> str:
    """Key of the patch store.

    Args:
        data: the data section; its split and budget divide the store later and are left out.
        fingerprint: `landsift.data.sources.base.content_fingerprint(data)`.
    """
    settings = store_settings(data)
    return digest(
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
        ModelError: `model.weights` names a file or folder that does not exist or cannot be read.
    """
    config = settled(config)
    code = code_version("train_model")
    return _training_key("train_model", config, store, weights_fingerprint(config.model.weights), code)


def cell_keys(configs: Sequence[RunConfig], store: str) -> list[str]:
    """Keys of a comparison's trainings, one per configuration; otherwise as `training_key`."""
    configs = [settled(config) for config in configs]
    prints = {weights: weights_fingerprint(weights) for weights in {config.model.weights for config in configs}}
    code = code_version("train_cell")
    return [_training_key("train_cell", config, store, prints[config.model.weights], code) for config in configs]


def _training_key(stage: str, config: RunConfig, store: str, weights: str, code: str) -> str:
    return digest(
        {
            "stage": stage,
            "store": store,
            "settings": deciding_settings(config),
            "weights": weights,
            "code": code,
            "libraries": _versions(TRAINING_LIBRARIES),
        }
    )


def weights_fingerprint(weights: str) -> str:
    """SHA-256 (hex) of a weights file or folder; a name such as `imagenet` stands for itself.

    Raises:
        ModelError: it is neither a name nor a readable file or folder.
    """
    path = Path(weights).expanduser()
    if weights in {"imagenet", "none"}:
        return weights
    if path.is_file():
        return _file_digest(path)
    if path.is_dir():
        # A run directory may serve as weights: of it, the model is read and the rest is not.
        root = path / "model" if (path / "model").is_dir() else path
        return digest({str(f.relative_to(root)): _file_digest(f) for f in sorted(root.rglob("*")) if f.is_file()})
    from landsift.models.backbone import weights_source

    return str(weights_source(weights))  # raises the error that names the alternatives


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


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        from landsift.errors import ModelError

        raise ModelError(f"cannot read weights {path}: {error.strerror}", "check the file and its rights") from None
