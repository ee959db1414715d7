"""Files and folders that are there whole or not at all: written beside their place, then renamed.

What is being written is called `.NAME.MACHINE.PID-N.partial`, so that it can be told whose it is: N counts what the
process PID has begun to write. Two that write the same file do not meet, and the last to rename wins. Whoever writes
the next time deletes what dead processes of this machine have left of it; others may share the disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import itertools
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from landsift.config import cache_folder
from landsift.errors import LandsiftError, RunError

LONGEST = 64
"""Bytes of a name that stands in its partial's as it is; a longer one stands by its hash, as names have an end."""
AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""Of Linux's renameat2."""
_PARTIAL = re.compile(r"\.(?P<name>.+)\.(?P<machine>[^.]+)\.(?P<pid>\d+)-\d+\.partial", re.DOTALL)
_count = itertools.count()
_begun: set[str] = set()
"""Names of what this process writes, because a dead process may have had its number."""


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path beside `path`, on the same disk and not there yet, to write at and then to rename; deleted in the end.

    What dead processes have left of `path` is deleted first.

    """
    remove_left_behind(path)
    partial = path.with_name(f".{_base(path.name)}.{_machine()}.{os.getpid()}-{next(_count)}.partial")
    _begun.add(partial.name)
    try:
        _delete(partial)  # of a dead process that had this one's number
        yield partial
    finally:
        _delete(partial)
        _begun.discard(partial.name)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then rename it into place; folders above it are made.

    Raises:
        RunError: the folder cannot be written or the disk is full.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside(path) as partial:
            write(partial)
            partial.chmod(0o666 & ~_umask())  # some writers make files that only their owner may read
            flush(partial)
            os.replace(partial, path)


def flush(path: Path) -> None:
    """Have the disk hold a file, or all files below a folder: a name must not outlive a power cut without its content.

    Raises:
        OSError: one cannot be read.
    """
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as written:
                os.fsync(written.fileno())


def exchange(one: Path, other: Path) -> None:
    """Let two folders of one disk change places.

    Linux does it in one step; elsewhere there is a moment in which `other` is not there.
    """
    with contextlib.suppress(AttributeError, OSError):  # no libc, or one that is too old
        paths = (os.fsencode(one), os.fsencode(other))
        if ctypes.CDLL(None).renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE) == 0:
            return
    with beside(other) as aside:
        other.rename(aside)
        try:
            one.rename(other)
        except BaseException:
            aside.rename(other)
            raise
        aside.rename(one)


def partials_of(path: Path) -> list[Path]:
    """What processes of any machine are writing of `path`, or have left of it when they died."""
    with contextlib.suppress(OSError, ValueError), os.scandir(path.parent) as entries:  # no path at all, or no folder
        start = f".{_base(path.name)}."
        found = [Path(entry.path) for entry in entries if entry.name.startswith(start)]
        return [each for each in found if _PARTIAL.fullmatch(each.name) and _base(each.name) == _base(path.name)]
    return []


def remove_left_behind(path: Path) -> None:
    """Delete what dead processes of this machine have left of `path`, as far as that can be done."""
    for each in partials_of(path):
        if left_behind(each):
            _delete(each)


def remove_others(path: Path, spared: Collection[Path]) -> None:
    """Delete what is being written of `path` but for what is spared: when all who wrote it for us have ended."""
    for each in partials_of(path):
        if each not in spared:
            _delete(each)


def left_behind(path: Path) -> bool:
    """Whether `path` is what a dead process of this machine was writing."""
    found = _PARTIAL.fullmatch(path.name)
    if found is None or found["machine"] != _machine():
        return False
    pid = int(found["pid"])
    return path.name not in _begun if pid == os.getpid() else not _alive(pid)


def remove_partials(folder: Path) -> None:
    """Delete all that was not written to its end in a folder that nobody else writes to."""
    for path in [*folder.rglob(".*.partial")]:
        _delete(path)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's errors while `path` is written into a RunError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error, shutil.Error):  # of a whole tree: each file's source, destination and reason
            reason = str(error.args[0][0][2]).split("] ", 1)[-1].split(": '", 1)[0]
        hint = "check the disk's free space and the folder's rights"
        if _in_cache(path):
            hint += ", or set LANDSIFT_HOME to another folder"
        raise RunError(f"cannot write {path}: {reason}", hint) from None


def _in_cache(path: Path) -> bool:
    with contextlib.suppress(LandsiftError, ImportError):  # prediction alone has no cache folder
        return path.is_relative_to(cache_folder())
    return False


def _base(name: str) -> str:
    """What stands for a name in that of its partial; of a partial's own name, what stands in that."""
    if found := _PARTIAL.fullmatch(name):
        return found["name"]
    return short(name)


def short(name: str) -> str:
    """A name, or what stands for a long one in that of something beside it."""
    raw = os.fsencode(name)
    return name if len(raw) <= LONGEST else hashlib.sha256(raw).hexdigest()[:32]


def _delete(path: Path) -> None:
    """Delete a file or folder if that can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):  # where nothing could be written, there is nothing
            path.unlink()


def _machine() -> str:
    return os.uname().nodename.replace(".", "-")[:40] or "localhost"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
