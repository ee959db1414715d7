"""Networks of the user's own: registered with timm by a module that `model.module` names.

The module's source counts: what it imports beside it, in its folder or its package, is followed without running
anything, and its fingerprint stands for the network's code. The module itself is imported where a network is made, in
every process anew, so that a process never trains with code that it had imported before the code was changed.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import logging
import os
import sys
import threading
import warnings
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from landsift.config import ModelConfig, RunConfig, cache_folder, digest, is_source_file
from landsift.errors import LandsiftError, ModelError
from landsift.runs import write_text
from landsift.runtime.module_imports import imported, with_packages

logger = logging.getLogger("landsift")

HOW = "name a module that Python finds, or give the path of a .py file"
_LIBRARIES = (
    "landsift timm torch torchvision torchmetrics lightning numpy pandas scipy sklearn pyarrow PIL pydantic yaml "
    "safetensors huggingface_hub flyte flyteplugins wandb plotly jinja2 rich typer click "
    "filelock platformdirs pooch threadpoolctl"
)
_NEVER_BESIDE = sys.stdlib_module_names | {*_LIBRARIES.split()}
"""Nobody's own, whatever lies in the same folder: they are at work in this process and not imported anew."""
_importing = threading.Lock()
_last: dict[str, dict[str, str]] = {}
"""Of the module that was imported last in this process, by its name: the sources that it came from."""


@dataclass(frozen=True)
class Source:
    """Where a module lies.

    Attributes:
        name: by which it is imported.
        root: what must be on `sys.path` for that; None where Python finds it as it is.
        places: folders of the top-level names that count as beside it: the package, or the folder of the file.
        inside: the package's name; "" for a file in a folder.
        file: its source.
    """

    name: str
    root: Path | None
    places: tuple[Path, ...]
    inside: str
    file: Path

    def find(self, name: str) -> Path | None:
        """The source of a module beside this one; None where it is elsewhere or none."""
        parts = name.split(".")
        if parts[0] in _NEVER_BESIDE:
            return None
        if self.inside:
            if parts[0] != self.inside:
                return None
            parts = parts[1:]
        for place in self.places:
            spot = place.joinpath(*parts)
            for file in (spot / "__init__.py", spot.with_suffix(".py") if parts else spot / "__init__.py"):
                if file.is_file():
                    return file
        return None


def located(module: str) -> Source:
    """Find a module by its name or its file, running nothing of it.

    Raises:
        ModelError: there is none, or it has no Python source.
    """
    try:
        if not isinstance(module, str):
            raise ValueError("the name of a module is needed, or the path of a file, as text")
        return _located(module)
    except (OSError, ValueError) as error:  # a name that is too long, or with a 0 in it
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(f"model.module: {str(module)[:100]}: {reason}", HOW) from None


def _located(module: str) -> Source:
    if is_source_file(module):
        file = Path(os.path.abspath(os.path.expanduser(module)))  # noqa: PTH111 (told no home without an error)
        file = file / "__init__.py" if file.is_dir() else file
        if not file.is_file():
            raise ModelError(f"model.module: no file {file}", HOW)
        name, root = file.stem, file.parent
        if name in _NEVER_BESIDE:
            raise ModelError(f"model.module: {file} has the name of a library", "give the file another name")
        if (root / "__init__.py").is_file():  # part of a package, by whose name it imports its neighbours
            while (root / "__init__.py").is_file() and root != root.parent:
                name, root = f"{root.name}.{name}", root.parent
            top = name.split(".")[0]
            return Source(name.removesuffix(".__init__"), root, (root / top,), top, file)
        return Source(name, root, (root,), "", file)
    top, *rest = module.split(".")
    if top in _NEVER_BESIDE:
        raise ModelError(f"model.module: '{top}' is no module of your own", "leave it out: its networks are known")
    try:
        spec = importlib.util.find_spec(top) if all(part.isidentifier() for part in (top, *rest)) else None
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is None:
        here = f"; did you mean {module}.py?" if Path(f"{module}.py").is_file() else ""
        raise ModelError(f"model.module: no module '{top}' is found", HOW + here)
    if spec.submodule_search_locations is None and not rest and spec.origin and spec.origin.endswith(".py"):
        file = Path(spec.origin)
        return Source(module, None, (file.parent,), "", file)
    source = Source(module, None, tuple(map(Path, spec.submodule_search_locations or ())), top, Path())
    found = source.find(module)
    if found is None:
        raise ModelError(f"model.module: '{module}' has no Python source that could be found", HOW)
    return Source(module, None, source.places, top, found)


def files(module: str) -> dict[str, Path]:
    """The source of a module and of all that it imports beside it, anywhere in it, by the modules' names.

    A name that is put together as the code runs is not seen.

    Raises:
        ModelError: as `located`, or a source cannot be read.
    """
    source = located(module)
    found: dict[str, Path] = {}
    ahead = {source.name: source.file}
    while ahead:
        name, file = ahead.popitem()
        found[name] = file
        asked = imported(_parsed(file), name, is_package=file.name == "__init__.py")
        for other in asked.union(with_packages(name)):
            beside = source.find(other)
            if beside is not None and other not in found:
                ahead[other] = beside
    return found


def sources(module: str) -> dict[str, str]:
    """The hashes of `files`, SHA-256 (hex) of each without comments, docstrings and layout; raises ModelError."""
    return {
        name: hashlib.sha256(ast.unparse(_parsed(file)).encode()).hexdigest()
        for name, file in sorted(files(module).items())
    }


def fingerprint(module: str | None) -> str | None:
    """SHA-256 (hex) of a module's code as `sources` has it, wherever it lies; None without a module."""
    return None if module is None else digest(sources(module))


def load(config: ModelConfig) -> None:
    """Import `model.module`, if the configuration names one, so that timm knows its networks.

    What is on the disk is what is imported, even where an older state of it was imported before.

    Raises:
        ModelError: it cannot be found or imported.
    """
    if config.module is None:
        return
    source, code = located(config.module), sources(config.module)
    with _importing:
        if _last.get(source.name) != code or source.name not in sys.modules:
            _last.clear()
            _import(source, files(config.module), code)
            _last[source.name] = code


def _import(source: Source, found: dict[str, Path], code: dict[str, str]) -> None:
    before = {name: sys.modules.pop(name) for name in code if name in sys.modules}
    path = [*sys.path]
    sys.meta_path[:] = [_FromSource(found), *(f for f in sys.meta_path if not isinstance(f, _FromSource))]
    try:
        if source.root is not None:
            sys.path.insert(0, str(source.root))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Overwriting .* in registry")  # of a network that is imported anew
            importlib.import_module(source.name)
    except (Exception, SystemExit) as error:  # whatever the code of a stranger raises
        for name in code:
            sys.modules.pop(name, None)
        sys.modules.update(before)
        reason = " ".join(str(error).split())[:200]
        message = f"model.module: {source.file} cannot be imported: {type(error).__name__}: {reason}"
        raise ModelError(message, "it must run by itself in a new Python process") from error
    finally:
        sys.path[:] = path


class _FromSource(MetaPathFinder):
    """Finds modules by the files that were hashed, also when a network imports them later."""

    def __init__(self, found: dict[str, Path]) -> None:
        self.found = found

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Where the module is, if it is one of these."""
        file = self.found.get(name)
        if file is None:
            return None
        inside = [str(file.parent)] if file.name == "__init__.py" else None
        loader = _Uncompiled(name, str(file))
        return importlib.util.spec_from_file_location(name, file, loader=loader, submodule_search_locations=inside)


class _Uncompiled(SourceFileLoader):
    """Runs what stands in the file; compiled code beside it may be that of another text of the same second and size."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the source."""
        return self.source_to_code(self.get_data(self.path), self.path)


def by_file(config: RunConfig) -> RunConfig:
    """The configuration for another process, which may not find a module by its name: by its file it does.

    Raises:
        ModelError: as `located`.
    """
    if config.model.module is None:
        return config
    model = config.model.model_copy(update={"module": str(located(config.model.module).file)})
    return config.model_copy(update={"model": model})


def check_known(config: ModelConfig) -> bool:
    """Refuse a network whose code is neither timm's nor `model.module`'s: no key and no other process knows it.

    Where timm is not loaded, nobody can have registered anything. A module must have been loaded.

    Returns:
        Whether it is one of `model.module`.

    Raises:
        ModelError: the network is registered by something else.
    """
    if "timm" not in sys.modules:
        return False
    import timm
    from timm.models import is_model, model_entrypoint

    name = config.backbone.split(".")[0]
    if not is_model(name):
        return False
    entry: Any = model_entrypoint(name)
    by, code = str(getattr(entry, "__module__", None)), getattr(entry, "__code__", None)
    file = Path(code.co_filename) if code is not None else None
    if by.split(".")[0] == "timm" and (file is None or file.is_relative_to(Path(timm.__file__).parent)):
        return False
    if config.module is not None:
        own = files(config.module)
        if by in own or file in own.values():
            return True
    message = f"model.backbone: '{name}' is registered with timm by '{by}', whose code landsift does not know"
    raise ModelError(message, "set model.module to that module, or to its .py file, which must run by itself")


def trust(module: str | None) -> None:
    """Note that the user has had this module imported, so that a model that names it is loaded without a question."""
    if module is None:
        return
    with contextlib.suppress(LandsiftError):  # a model is then loaded with the module given again
        file = located(module).file
        write_text(_trusted(file), f"{file}\n")


def check_trusted(module: str) -> None:
    """Refuse to import what a model's description names and the user has not; else a model could run anything.

    Raises:
        ModelError: the module is not there, or no configuration of the user's has named it here.
    """
    file = located(module).file
    if not _trusted(file).is_file():
        message = f"the model's network is code of its own, {file}, which no training on this machine has used"
        raise ModelError(message, f"read it; if you trust it: --module {module}, in Python load_model(..., module=...)")


def _trusted(file: Path) -> Path:
    name = hashlib.sha256(os.fsencode(os.path.realpath(file))).hexdigest()
    return cache_folder() / "networks" / f"{name}.txt"


def _parsed(file: Path) -> ast.Module:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(f"model.module: {file} cannot be read: {reason}", HOW) from None
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            first = body[0].value if isinstance(body[0], ast.Expr) else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                node.body = body[1:] or [ast.Pass()]
    return tree
