"""Whether what a command is to write can be written: asked before the work, not after it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from landsift.errors import RunError

LONGEST, LONGEST_NAME = 4096, 255
"""Bytes of a path, and of a name in it, that Linux takes."""
_SCHEME = re.compile("(s3a?|gs|gcs|az|abfss?|adl|wasbs?|https?|ftp|sftp|ssh|hdfs|webhdfs|dbfs|oci|r2|file|memory):")
"""What is left of a URL's beginning, such as s3://, in a path."""
BELOW = 512
"""Bytes that the names below an output folder may need, with those that are there while it is written."""


def as_path(given: object) -> Path:
    """What a call from Python gives as a path; `~` is the home folder, as it is on the command line.

    Raises:
        RunError: it is no path, is empty, or begins with the home folder of nobody.
    """
    if not (isinstance(given, str) or hasattr(given, "__fspath__")) or isinstance(given, bytes):
        raise RunError(f"a path is needed, not {type(given).__name__}", "give a text or a pathlib.Path")
    if given == "":
        raise RunError("a path is needed, not an empty text", "'.' is the working folder")
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise RunError(f"{given}: there is no such user's home folder", "give the whole path") from None
    except TypeError:  # an os.PathLike of bytes
        raise RunError("a path is needed as text, not as bytes", "os.fsdecode makes text of it") from None


def absolute(path: Path | str) -> Path:
    """The path from the root of the file system; links stay as they are.

    Raises:
        RunError: it is no path, begins with the home folder of nobody, or there is no working folder.
    """
    try:
        return Path(os.path.abspath(as_path(path)))
    except FileNotFoundError:
        raise no_working_folder() from None


def no_working_folder() -> RunError:
    """What to say where the working folder was deleted under the process."""
    return RunError("the working folder does not exist any more", "change to one that does (cd) and try again")


def check_output(path: Path | str, option: str = "--out") -> Path:
    """Check that `path` is none that somebody needs and return it absolute; `output_error` is for what comes after.

    Args:
        path: of a folder.
        option: that names it.

    Raises:
        RunError: it is a file, is not empty, leads nowhere, cannot be looked into, or has no name that can be written.
    """
    path = absolute(path)
    check_name(path, "output folder")
    try:
        if path.exists() and not path.is_dir():
            raise RunError(f"output {path} is a file", f"give {option} a new folder")
        if path.is_dir() and any(path.iterdir()):
            raise RunError(f"output folder {path} is not empty", f"give {option} a new or empty folder")
    except OSError as error:
        raise output_error(path, error) from None
    return path


def check_file(path: Path | str, option: str = "--out") -> None:
    """Check that a file may be put at `path`, in the place of another one or in a folder that is there.

    Raises:
        RunError: it may not.
    """
    whole = absolute(path)
    check_name(whole, option)
    folder = whole.parent
    try:
        mode = whole.stat().st_mode if whole.exists() else stat.S_IFREG
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise RunError(f"{option} {path} is {kind}", "give the name of a file")
        above = next(p for p in whole.parents if os.path.lexists(p))
        if not above.is_dir():
            raise RunError(f"{option} {path}: {above} is not a folder", "give a file in a folder")
        if not os.access(above, os.W_OK | os.X_OK):
            raise RunError(f"{option} {path}: {above} may not be written", "give a file in another folder")
        if len(os.fsencode(whole.name)) > os.pathconf(above, "PC_NAME_MAX"):
            raise RunError(f"{option} {path}: the name is too long", "give a shorter one")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RunError(f"{option} {path} cannot be written: {folder}: {reason}", "give another file") from None


def check_outside(
    path: Path | str,
    sources: Iterable[Path | str],
    what: str = "--out",
    hint: str = "give --out a path outside of it",
    *,
    may_be_hidden: bool = False,
) -> None:
    """Check that an output is none of the sources of a command and lies in none of them.

    What lies in a folder of patches is read as a part of it the next time, and counts for what the cache knows it by; a
    table would be gone. Sources that are not there, such as names, are passed over.

    Args:
        path: of the output.
        sources: what is read.
        what: people call the output.
        hint: what to do about it.
        may_be_hidden: it may lie in a hidden folder, which nothing is read from.

    Raises:
        RunError: it is or does.
    """
    whole = Path(os.path.realpath(absolute(path)))
    for source in sources:
        if not str(source).strip():
            continue
        try:
            there = Path(os.path.realpath(absolute(source)))
        except (RunError, OSError, ValueError):  # no path: that is told where it is read
            continue
        below = whole.relative_to(there).parts if whole.is_relative_to(there) else ()
        hidden = may_be_hidden and any(part.startswith(".") and part != "." for part in below)
        if there.is_dir() and whole.is_relative_to(there) and not hidden:
            raise RunError(f"{what} {path} lies in {source}, which is read", hint)
        if whole == there and there.exists():
            raise RunError(f"--out {path} is a file that is read, and would be replaced", "give --out another file")


def check_name(path: Path, what: str, hint: str = "give --out another path", *, as_text: bool = True) -> None:
    """Check that a path is text, not too long, and leads somewhere.

    Args:
        path: absolute.
        what: people call it.
        hint: what to do about it.
        as_text: whether it is noted in files, which hold text.

    Raises:
        RunError: it is not, or a link on the way leads to nothing.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        if as_text:
            raise RunError(f"{what} {path}: not valid UTF-8, as what a run records must be", hint) from None
    if scheme := next((part for part in path.parts if _SCHEME.fullmatch(part)), None):
        raise RunError(f"{what} {scheme}//...: results are written to disks of this machine, not to a URL", hint)
    if path.name == "-":
        raise RunError(f"{what} -: results are not written to standard output", hint)
    if "\0" in str(path):
        raise RunError(f"{what} {path}: a name cannot hold the character 0", hint)
    if len(os.fsencode(path)) + BELOW > LONGEST:
        raise RunError(f"{what} {str(path)[:100]}...: the path is too long", hint)
    if long := next((part for part in path.parts if len(os.fsencode(part)) > LONGEST_NAME), None):
        raise RunError(f"{what} {path.parent}: the name {long[:100]}... is too long", hint)
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            raise RunError(f"{what} {path}: {place} is a link to {place.readlink()}, which is not there", hint)


def output_error(path: Path, error: OSError) -> RunError:
    """What to say where the run directory cannot be made."""
    there = next(p for p in (path, *path.parents) if os.path.lexists(p))
    reason = (error.strerror or str(error)).lower()
    return RunError(f"output folder {path} cannot be written: {there}: {reason}", "give --out another folder")
