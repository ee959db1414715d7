"""The one walk through a folder, for training and prediction alike: which files are images, what is passed over.

Passed over without a word are names that begin with a dot, the folders that systems keep for themselves (recycle bins,
thumbnails, snapshots, what archivers leave), and the small files that lie beside images (`SIDE_SUFFIXES`). Links are
followed, but no folder is entered twice, so that a circle of links ends. Every other file that is not read is told.
"""

from __future__ import annotations

import heapq
import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from landsift.data.decoding.decode import IMAGE_SUFFIXES
from landsift.errors import DataError
from landsift.runtime.notices import once

SYSTEM_FOLDERS = frozenset({
    "__macosx", "network trash folder", "temporary items", "thevolumesettingsfolder",  # macOS
    "$recycle.bin", "recycler", "recycled", "system volume information", "config.msi", "msocache",  # Windows
    "lost+found", "lost.dir",  # Linux, Android
    "@eadir", "@recycle", "@recently-snapshot", "@snapshot", "@tmp", "@__thumb", "#recycle", "#snapshot", "~snapshot",
    "__pycache__", "node_modules", "cvs", "_gsdata_",
})  # fmt: skip
"""Folders (lower case) that hold no patches of the user's: of operating systems, network drives and tools."""

SIDE_SUFFIXES = frozenset({
    ".txt", ".csv", ".tsv", ".parquet", ".pq", ".json", ".geojson", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".rst",
    ".html", ".htm", ".pdf", ".log", ".db", ".ini", ".lnk", ".url", ".py", ".ipynb", ".sh", ".bat", ".toml",
    ".xls", ".xlsx", ".ods", ".doc", ".docx", ".md5", ".sha1", ".sha256",
    ".tfw", ".jgw", ".pgw", ".bpw", ".wld", ".prj", ".ovr", ".cpg", ".dbf", ".shp", ".shx", ".qgz", ".qml", ".hdr",
})  # fmt: skip
"""Endings (lower case) of the files that lie beside images and are none: notes, labels, georeferences, indices."""

_SIDE_NAMES = frozenset({"readme", "license", "licence", "copying", "changelog", "citation", "authors", "makefile"})
_CHECKED_DISK = re.compile(r"found\.\d{3}")  # of Windows' chkdsk
_ENDINGS = 5  # named in a notice at most


class Folder(NamedTuple):
    """A folder met by the walk."""

    path: str
    """Relative to where the walk began, with forward slashes; "" is that folder itself."""
    images: list[str]
    """Names of the images directly in it."""
    others: list[str]
    """Names of the other files in it, hidden ones and side files left out."""
    again: bool = False
    """It leads to a folder that was met before, and was not entered."""


class PassedOver(NamedTuple):
    """A file or folder that is not read."""

    path: str
    reason: str


def walk(root: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> Iterator[Folder]:
    """Meet `root` and every folder below it: first what lies there, then where links lead, each in order of its name.

    Args:
        root: where the walk begins.
        suffixes: endings (lower case) of the files that count as images.

    Raises:
        OSError: a folder cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    waiting, links = [""], list[str]()
    while waiting or links:
        path = waiting.pop() if waiting else heapq.heappop(links)
        status = os.stat(root / path)  # noqa: PTH116 (fast, on strings)
        if (status.st_dev, status.st_ino) in seen:
            yield Folder(path, [], [], again=True)
            continue
        seen.add((status.st_dev, status.st_ino))
        images, others, inner = list[str](), list[str](), list[str]()
        with os.scandir(root / path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    below = f"{path}/{entry.name}" if path else entry.name
                    if _of_the_system(entry.name):
                        continue
                    if entry.is_symlink():
                        heapq.heappush(links, below)
                    else:
                        inner.append(below)
                elif _ending(entry.name) in suffixes:
                    images.append(entry.name)
                elif not _beside(entry.name):
                    others.append(entry.name)
        waiting += sorted(inner, reverse=True)
        yield Folder(path, images, sorted(others))


def not_read(folder: Folder) -> Iterator[PassedOver]:
    """The files in a folder that are left out for their ending."""
    for name in folder.others:
        ending = _ending(name)
        reason = f"files that end in {ending} are not read" if ending else "files without an ending are not read"
        path = f"{folder.path}/{name}" if folder.path else name
        yield PassedOver(path.encode(errors="backslashreplace").decode(), reason)


def verdict(path: str, suffixes: Collection[str]) -> str | None:
    """What the walk would make of a path that it does not meet: of a member of an archive, of an object of a store.

    Args:
        path: with forward slashes.
        suffixes: endings (lower case) of the files that count as images.

    Returns:
        "": an image; None: passed over without a word; else why it is not read.
    """
    *folders, name = path.split("/")
    if any(part.startswith(".") and part != ".." for part in (*folders, name)) or any(map(_of_the_system, folders)):
        return None
    if _ending(name) in suffixes:
        return ""
    if _beside(name):
        return None
    return next(not_read(Folder("", [], [name]))).reason


def by_ending(names: Iterable[str]) -> Counter[str]:
    """How many files have each ending."""
    return Counter(_ending(name) or "no ending" for name in names)


def counted(endings: Mapping[str, int]) -> str:
    """Counts by ending in words: "4 .jp2, 1 .npy"."""
    most = sorted(endings.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(most) - _ENDINGS} more" if len(most) > _ENDINGS else ""
    return ", ".join(f"{count:,} {ending}" for ending, count in most[:_ENDINGS]) + more


def tell_not_read(root: Path, unread: Sequence[PassedOver]) -> None:
    """Warn of files that are left out for their ending."""
    if unread:
        count = f"{len(unread):,} file{'s are' if len(unread) > 1 else ' is'}"
        endings = counted(by_ending(entry.path for entry in unread))
        once(logging.WARNING, f"{count} left out by ending ({endings}); the first: {root / unread[0].path}")


def tell_again(root: Path, links: Sequence[str]) -> None:
    """Warn of links that lead to a folder that is read anyway: a class may be one of them."""
    if links:
        count = f"{len(links):,} link{'s lead' if len(links) > 1 else ' leads'}"
        once(logging.WARNING, f"{count} to a folder that is read already; the first: {root / links[0]}")


def cannot_read(error: OSError, root: Path) -> DataError:
    """The error for a folder that the walk cannot enter."""
    reason = (error.strerror or str(error)).lower()
    return DataError(f"cannot read {error.filename or root}: {reason}", "check its rights")


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (fast, on strings)


def _of_the_system(name: str) -> bool:
    return name.lower() in SYSTEM_FOLDERS or _CHECKED_DISK.fullmatch(name.lower()) is not None


def _beside(name: str) -> bool:
    ending = _ending(name)
    return ending in SIDE_SUFFIXES if ending else name.strip().lower() in _SIDE_NAMES


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
