"""What lies in the cache folder, what of it nothing can reach any more, and its removal.

Nothing that could be lost goes silently: unfinished trainings and W&B runs that are kept offline are left where they
are unless they are asked for by name of their kind. Nothing goes while another process works with the cache.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from landsift.config import BUILT_IN_SOURCES, cache_folder
from landsift.errors import ConfigError
from landsift.pipeline.cache import locks, results
from landsift.pipeline.cache.code import code_version
from landsift.pipeline.cache.keys import version_of
from landsift.pipeline.stage_table import STAGES
from landsift.runs import CONFIG
from landsift.runtime.whole import beside, left_behind, writing

WANDB, OFFLINE, LEFT_BEHIND = "wandb", "wandb offline", "left behind"
PROTECTED = (results.UNFINISHED, OFFLINE)
"""Kinds that hold what exists nowhere else."""
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True)
class Entry:
    """Something in the cache folder that can be deleted by itself.

    Attributes:
        kind: the folder of the cache that it lies in; "wandb offline", "wandb"; "left behind" by a killed process.
        path: the file or folder.
        what: the source, strategy and backbone that it is of, as far as it says.
        made: seconds since the epoch.
        used: when it was last used, in seconds since the epoch.
        size: bytes of its files.
        freed: bytes that its removal gives back; run directories may share the others.
        unreachable: why no present code can use it; "" where it can, or where that is not known.
    """

    kind: str
    path: Path
    what: str
    made: float
    used: float
    size: int
    freed: int
    unreachable: str

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**vars(self), "path": str(self.path), "key": self.path.name, "protected": self.kind in PROTECTED}


def entries(cache: Path | None = None) -> list[Entry]:
    """All that lies in the cache folder and can be deleted by itself, by kind, the last used first."""
    cache = cache or cache_folder()
    versions: dict[str, str] = {}
    found = [_entry(kind, path, versions) for kind, path in _places(cache)]
    return sorted((entry for entry in found if entry), key=lambda e: (e.kind, -e.used))


def selected(
    found: Iterable[Entry], *, unused: float | None, unreachable: bool, unfinished: bool, offline: bool
) -> tuple[list[Entry], list[Entry]]:
    """What is to go, and what fits as well but is protected.

    Args:
        found: of `entries`.
        unused: seconds since the last use, at least; None: any.
        unreachable: only what no present code can use.
        unfinished: unfinished trainings as well; all of them where nothing else narrows them down.
        offline: W&B runs that are kept offline as well.
    """
    asked = {results.UNFINISHED: unfinished, OFFLINE: offline}
    by_filter = unused is not None or unreachable
    go, kept = [], []
    now = time.time()
    for entry in found:
        if entry.kind == LEFT_BEHIND:
            go.append(entry)
            continue
        fits = (unused is None or now - entry.used >= unused) and (not unreachable or bool(entry.unreachable))
        if entry.kind in PROTECTED:
            if fits and asked[entry.kind]:
                go.append(entry)
            elif fits and by_filter:
                kept.append(entry)
        elif fits and by_filter:
            go.append(entry)
    return go, kept


def remove(wanted: Iterable[Entry], cache: Path | None = None) -> list[Entry]:
    """Delete entries, each at once out of its place, so that what is interrupted leaves nothing half there.

    Returns:
        Those that were there and have not been used since they were listed.

    Raises:
        RunError: another process works with the cache, or something cannot be deleted.
    """
    cache = cache or cache_folder()
    gone = []
    with locks.nobody_else(cache):
        for entry in sorted(wanted, key=lambda e: e.kind != LEFT_BEHIND):  # which `beside` deletes without a count
            now = _entry(entry.kind, entry.path, {})
            if now is None or (now.used, now.made) != (entry.used, entry.made):
                continue
            with writing(entry.path), ExitStack() as stack:
                aside = entry.path
                if entry.kind != LEFT_BEHIND:
                    aside = stack.enter_context(beside(entry.path))
                    entry.path.rename(aside)
                if aside.is_dir() and not aside.is_symlink():
                    shutil.rmtree(aside)
                else:
                    aside.unlink()
            gone.append(entry)
    return gone


def seconds(text: str) -> float:
    """A length of time such as "30d", "12h", "2w" or "90m".

    Raises:
        ConfigError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", text.strip().lower())
    if not found:
        raise ConfigError(
            f"--older-than {text!r} is not a length of time", "write minutes, hours, days or weeks: 90m, 12h, 30d, 2w"
        )
    return float(found[1]) * _UNITS[found[2]]


def _places(cache: Path) -> Iterator[tuple[str, Path]]:
    folders = _folders(cache)
    for folder in folders:
        for path in _inside(folder):
            if re.fullmatch(r"[0-9a-f]{64}", path.name) or (folder.name == "scans" and path.suffix == ".npz"):
                yield folder.name, path
    for path in (each for folder in (cache, *folders) for each in _inside(folder)):
        if left_behind(path):
            yield LEFT_BEHIND, path
    for path in _inside(cache / "tracking" / "wandb"):
        if path.is_dir() and not path.is_symlink() and re.match(r"(offline-)?run-", path.name):
            yield OFFLINE if path.name.startswith("offline-") else WANDB, path


def _folders(cache: Path) -> list[Path]:
    """The folders in the cache; of links to folders elsewhere, those that hold results, moved to a larger disk."""
    results_in = {results.UNFINISHED, "scans", *(stage.folder for stage in STAGES.values())}
    return [p for p in _inside(cache) if p.is_dir() and (not p.is_symlink() or p.name in results_in)]


def _inside(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []


def _entry(kind: str, path: Path, versions: dict[str, str]) -> Entry | None:
    """What is known of a place; None where nothing is there any more."""
    try:
        stage = path / results.STAGE
        made = path.stat().st_mtime
        used = stage.stat().st_mtime if stage.is_file() else _latest(path)
        sizes = [f.lstat() for f in (path.rglob("*") if path.is_dir() else [path]) if not f.is_dir()]
    except OSError:
        return None
    size = sum(each.st_size for each in sizes)
    freed = sum(each.st_size for each in sizes if each.st_nlink == 1)
    of = _json(path / results.OF_KEY) if kind == results.UNFINISHED else _json(stage)
    if kind != results.UNFINISHED:
        of = of.get("of") if isinstance(of, dict) else None
    reason = _unreachable(of, versions) if isinstance(of, dict) else ""
    return Entry(kind, path, _what(path), min(made, used), max(made, used), size, freed, reason)


def _latest(path: Path) -> float:
    """When anything directly in a folder, or in its checkpoints, was last written."""
    files = [path, *(path.glob("*") if path.is_dir() else ()), *path.glob("checkpoints/*")]
    return max((file.lstat().st_mtime for file in files), default=0.0)


def _what(path: Path) -> str:
    """Source, strategy and backbone of a training, source of a store."""
    store = _json(path / "store.json")
    if isinstance(store, dict) and isinstance(info := store.get("info"), dict):
        return f"{info.get('root') or info.get('source', '')}, {store.get('shape', ['?'])[0]} patches"
    values: Any = None
    with suppress(OSError, ValueError, yaml.YAMLError):
        values = yaml.load((path / CONFIG).read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    if not isinstance(values, dict):
        return ""
    data, model, strategy = (values.get(name) or {} for name in ("data", "model", "strategy"))
    source = str(data.get("source", ""))
    parts = [
        source if source in BUILT_IN_SOURCES else Path(source).name,
        _named(strategy),
        model.get("backbone"),
    ]
    budget = [f"{data['budget']} labels"] if data.get("budget") else []
    return ", ".join(str(part) for part in [*parts, *budget, f"seed {values.get('seed')}"] if part)


def _named(strategy: Any) -> str:
    if isinstance(strategy, list):
        return " + ".join(str(phase.get("name", i + 1)) for i, phase in enumerate(strategy) if isinstance(phase, dict))
    return str(strategy or "")


def _unreachable(parts: dict[str, Any], versions: dict[str, str]) -> str:
    """Why no key that is made today can be the one that was made from these parts; "" where one could."""
    stage = str(parts.get("stage"))
    if stage not in versions:
        try:
            versions[stage] = code_version(STAGES[stage])
        except KeyError:
            versions[stage] = ""
    if parts.get("code") != versions[stage]:
        return f"landsift's code for {stage} has changed"
    libraries = parts.get("libraries")
    for name, then in libraries.items() if isinstance(libraries, dict) else ():
        if then != version_of(name):
            return f"made with {name} {then}"
    above = parts.get("above")
    each = (_unreachable(one, versions) for one in (above if isinstance(above, list) else []) if isinstance(one, dict))
    return next(filter(None, each), "")


def _json(file: Path) -> Any:
    with suppress(OSError, ValueError, RecursionError):
        return json.loads(file.read_text(encoding="utf-8"))
    return None
