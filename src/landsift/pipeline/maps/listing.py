"""Scenes at addresses of an object store: what lies there, and fetching it.

A folder there is listed as one on this machine: its files are put into a folder with their sizes and times, but empty,
and `scenes_of` looks at that. Only JSON, which STAC is read from, has its content.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Self

from landsift.errors import DataError, DownloadError
from landsift.mapping.many import scenes_of
from landsift.mapping.map_key import files_of, key_of
from landsift.mapping.map_options import LoadedModel, MapOptions
from landsift.mapping.safe import product_of

logger = logging.getLogger("landsift")

SCHEMES = ("s3", "gs", "abfs", "abfss", "file")
"""Of addresses that Flyte reads; file: a disk that all of the cluster's machines have."""
_MAY = "check the address, and what the cluster may read"
_AT_ONCE = 16
_ENDINGS = (".json", ".geojson")
_MOST = 2**26  # bytes of a JSON file


class SceneThere(NamedTuple):
    """A scene at addresses.

    Attributes:
        name: of its map, without an ending.
        key: of its map, as of `key_of`.
        sources: as of `open_scene`, in the folder that the files are fetched to.
        files: the address of each file, by its path in that folder.
    """

    name: str
    key: str
    sources: tuple[str, ...]
    files: Mapping[str, str]

    def to_json(self) -> str:
        """All of it."""
        return json.dumps(self._asdict())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote."""
        return cls(**json.loads(text))


def is_address(source: str) -> bool:
    """Whether a source is an address that Flyte reads."""
    scheme, apart, rest = source.partition("://")
    return bool(apart and rest) and scheme in SCHEMES and (scheme == "file") == rest.startswith("/")


async def list_scenes(addresses: Sequence[str], model: LoadedModel, options: MapOptions) -> list[SceneThere]:
    """The scenes that some addresses stand for, by the rules of `scenes_of`.

    Raises:
        DataError: there is nothing at an address, or no scene.
        DownloadError: it cannot be listed.
    """
    with tempfile.TemporaryDirectory(prefix="landsift-") as scratch:
        known: dict[Path, str] = {}
        versions: dict[Path, str] = {}
        sources = [
            await _mirror(address.rstrip("/"), Path(scratch) / str(number), known, versions)
            for number, address in enumerate(addresses)
        ]

        def called(path: Path) -> str:
            path = Path(os.path.abspath(path))  # of a STAC item's file, which may be ../FILE
            return known.get(path, str(path)) + versions.get(path, "")

        try:
            scenes = scenes_of(sources)
        except DataError as error:
            message = error.message
            for source, address in zip(sources, addresses, strict=True):
                message = message.replace(str(source), address)
            raise DataError(message, error.hint) from None
        found: dict[frozenset[str], SceneThere] = {}
        alike = _by_stem(known)
        for scene in scenes:
            here = [Path(os.path.abspath(source)) for source in scene.sources]
            files = dict.fromkeys(file for source in here for file in _belonging(source, alike) if file in known)
            own = [file for source in here for file in (files_of(source) if source.is_dir() else [source])]
            there = frozenset(known[Path(file)] for file in own if file in known)
            if there in found:  # a folder, and a scene in it
                logger.info("%s is given twice: it is mapped once", ", ".join(sorted(there)))
                continue
            root = os.path.commonpath([path.parent for path in (*here, *files)])
            found[there] = SceneThere(
                scene.name,
                key_of(model, here, options, called),
                tuple(os.path.relpath(source, root) for source in here),
                {os.path.relpath(file, root): known[file] for file in files},
            )
        return [*found.values()]


def _by_stem(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    """Files by what their names begin with, up to each dot: a folder may have ten thousand of them."""
    found: dict[Path, list[Path]] = {}
    for path in paths:
        for dot in (i for i, letter in enumerate(path.name) if letter == "." and i):
            found.setdefault(path.parent / path.name[:dot], []).append(path)
    return found


def _belonging(source: Path, alike: Mapping[Path, list[Path]]) -> list[Path]:
    """The files of a source, those of their name with other endings, such as world files, and a product's metadata."""
    found = [Path(os.path.abspath(each)) for each in files_of(source)]
    if not source.is_dir():
        for path in [each for each in found if each.is_file()]:
            found += sorted(alike.get(path.parent / path.stem, ()))
            if product := product_of(path):
                found += sorted(product.glob("MTD_*.xml"))
    return found


async def fetch(files: Mapping[str, str], folder: Path) -> None:
    """Copy files to a folder of this machine.

    Args:
        files: address of each, by its path in the folder.
        folder: is made.

    Raises:
        DownloadError: one cannot be read.
    """
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(path: str, address: str) -> None:
        async with turns:
            await get(address, folder / path)

    await asyncio.gather(*(one(path, address) for path, address in files.items()))


async def get(address: str, to: Path) -> None:
    """Copy a file to this machine; raises DownloadError."""
    from flyte import storage

    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        await storage.get(address, str(to))
    except Exception as error:  # whatever the object store raises
        raise DownloadError(f"{address} cannot be read: {_words(error)}", _MAY) from error
    if not to.is_file():
        raise DownloadError(f"{address} cannot be read: it is not there", _MAY)


async def _mirror(address: str, folder: Path, known: dict[Path, str], versions: dict[Path, str]) -> Path:
    """Make in `folder` what is at the address, without content; the path that stands for the address.

    Args:
        address: of a file or folder.
        folder: is made.
        known: the address of each file, which is added to.
        versions: what the object store says of their versions, which is added to.
    """
    top = _listed_for(address)
    base = folder / PurePosixPath(top).parent.name / PurePosixPath(top).name
    found: dict[Path, dict[str, Any]] = {}
    there = await _files_at(top)
    root = base
    if top in there:  # a file
        there, root = await _files_beside(top) | there, base.parent
    folders = {name[:i] for name in there for i, letter in enumerate(name) if letter == "/"}
    for name, info in there.items():
        path = base if name == top else Path(os.path.normpath(base / os.path.relpath(name, top)))
        if name.endswith("/") or not path.is_relative_to(root):
            logger.info("%s: no name of a file; passed over", name)
            continue
        if why := _unreadable(name, folders):
            (logger.warning if info.get("size") else logger.info)("%s is passed over: %s", name, why)
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.truncate(path, int(info.get("size") or 0))  # no disk space
        except (OSError, ValueError) as error:
            logger.warning("%s is passed over: a disk can hold no such file (%s)", name, _words(error))
            with contextlib.suppress(OSError, ValueError):
                path.unlink()
            continue
        found[path], known[path], versions[path] = info, name, str(info.get("e_tag") or "")
    texts = [path for path in found if path.suffix.lower() in _ENDINGS and path.stat().st_size <= _MOST]
    await fetch({str(path.relative_to(folder)): known[path] for path in texts}, folder)
    make_relative(texts, {there: path for path, there in known.items()})
    for path, info in found.items():
        os.utime(path, ns=(_when(info), _when(info)))
    source = base if address == top else base / os.path.relpath(address, top)
    if not source.exists():
        raise DataError(f"no such file or folder: {address}", _MAY)
    return source


def make_relative(paths: Iterable[Path], places: Mapping[str, Path]) -> None:
    """Let the STAC files among some files name assets and links by where they are here.

    What is at other addresses stays there: an item names more files than a model takes, large ones and such as cost
    money, and whoever reads it knows which are needed.

    Args:
        paths: files of any content.
        places: of what is here, by its address.
    """
    for path in paths:
        stored = _stac(path)
        entries = [entry for kind in ("assets", "links") for entry in _entries(stored, kind) if entry["href"] in places]
        for entry in entries:
            entry["href"] = os.path.relpath(places[entry["href"]], path.parent)
        if entries:
            path.write_text(json.dumps(stored), encoding="utf-8")


def _stac(path: Path) -> Any:
    """The content of a JSON file; None for others, of which it is said where they are read."""
    if path.suffix.lower() not in _ENDINGS:
        return None
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None


def _entries(stored: Any, kind: str) -> list[dict[str, Any]]:
    """The assets or links of a STAC file that have an address or a path."""
    entries = stored.get(kind) if isinstance(stored, dict) else None
    entries = [*entries.values()] if isinstance(entries, dict) else entries if isinstance(entries, list) else []
    return [each for each in entries if isinstance(each, dict) and isinstance(each.get("href"), str)]


def _listed_for(address: str) -> str:
    """What is listed for an address: of a STAC collection its folder, and of a file of a product the product."""
    parts = address.split("/")
    safe = next((n for n, part in enumerate(parts) if part.upper().endswith(".SAFE")), None)
    if safe is not None:
        return "/".join(parts[: safe + 1])
    return "/".join(parts[:-1]) if address.lower().endswith(_ENDINGS) else address


def _unreadable(name: str, folders: Collection[str]) -> str:
    """Why a file cannot be fetched by its name; "" if it can."""
    if name in folders:
        return "other files have its name as that of their folder"
    if not name.startswith("file://") and any(letter in name for letter in "?#"):
        return "names with ? or # cannot be read; give it another name"  # what follows is cut off from an address
    return ""


async def _files_beside(address: str) -> dict[str, dict[str, Any]]:
    """The files beside a file that have its name with other endings, such as a world file."""
    folder, _, name = address.rpartition("/")
    start = f"{folder}/{PurePosixPath(name).stem}."
    try:
        return {each: info for each, info in (await _files_at(folder, 1)).items() if each.startswith(start)}
    except DownloadError as error:
        logger.warning("%s: files of its name with other endings are not known: %s", address, error.message)
        return {}


async def _files_at(address: str, depth: int | None = None) -> dict[str, dict[str, Any]]:
    """All files at and below an address, by their own, with what the object store says of them."""
    from flyte import storage

    try:
        store = storage.get_underlying_filesystem(path=address)
        found = await store._find(address, depth, detail=True) if store.async_impl else _below(store, address, depth)
        for name, info in found.items():
            if not info:  # of an address that is a file
                found[name] = await store._info(name) if store.async_impl else store.info(name)
        return {store.unstrip_protocol(name): found[name] for name in sorted(found)}
    except FileNotFoundError:
        return {}
    except Exception as error:  # whatever the object store raises
        raise DownloadError(f"{address} cannot be listed: {_words(error)}", _MAY) from error


def _below(store: Any, address: str, depth: int | None) -> dict[str, dict[str, Any]]:
    """As the store's `find`, which takes folders that it may not list for empty ones; raises OSError."""
    found: dict[str, dict[str, Any]] = {}
    for info in store.ls(address, detail=True):
        if info["type"] != "directory":
            found[info["name"]] = info
        elif depth is None:
            found |= _below(store, info["name"], None)
    return found


def _when(info: Mapping[str, Any]) -> int:
    """Nanoseconds since 1970; 0 where the version says more."""
    when = 0 if info.get("e_tag") else info.get("last_modified") or info.get("mtime") or 0
    return int((when.timestamp() if isinstance(when, datetime) else float(when)) * 1e9)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
