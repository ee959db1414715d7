"""Whether a worker is of the same landsift as the client, and sees the same files."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from landsift.version import __version__

_PACKAGES = ("distributed", "lightning", "numpy", "timm", "torch")
_TRIES = 5
"""Looks, one each second, for a file that was just written: a network's file system may show it late."""


@cache
def described() -> dict[str, str]:
    """The versions that results depend on, and what cannot differ between processes that talk to each other."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2]), "landsift": f"{__version__} ({_code()})"}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def different(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """What differs, such as "torch 2.10.0 there and 2.11.0 here"; a package that one of the two lacks does not."""
    return [
        f"{name} {there[name]} there and {here[name]} here"
        for name in here
        if there.get(name, here[name]) != here[name]
    ]


def unseen(shared: Sequence[tuple[str, str]]) -> list[str]:
    """Of paths with what proves that they are the same, those that are not seen here.

    Args:
        shared: a folder with the name of a file in it, or a file with its size in bytes.
    """
    missing = list(shared)
    for n in range(_TRIES):
        missing = [each for each in missing if not _seen(*each)]
        if not missing:
            break
        if n + 1 < _TRIES:
            time.sleep(1)
    return [path for path, _ in missing]


def _seen(path: str, proof: str) -> bool:
    try:
        if Path(path).is_dir():
            return (Path(path) / proof).exists()
        return str(Path(path).stat().st_size) == proof
    except OSError:
        return False


def _code() -> str:
    """A fingerprint of landsift's code: two checkouts may have the same version."""
    root, found = Path(__file__).parents[1], hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        found.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return found.hexdigest()[:8]
