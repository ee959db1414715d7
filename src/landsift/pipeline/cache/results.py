"""The results of stages, kept in the cache folder: written whole, checked before they are used again.

    CACHE/stores/KEY/     a patch store
    CACHE/trained/KEY/    weights, checkpoints and history of a training
    CACHE/tested/KEY/     its model, with predictions and figures
    CACHE/embeddings/KEY/ its t-SNE frames
    CACHE/cells/KEY/      the figures of a training of a comparison
    CACHE/unfinished/KEY/ a training that was interrupted, with a checkpoint to go on from

A whole folder under its key is the result; nothing else says whether there is one. Beside the result it holds a
`stage.json`: how long the work took, which run did it, every file with its size, and the SHA-256 of those that later
stages compute with. So a file that was deleted, cut or damaged is noticed before it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from landsift.config import cache_folder
from landsift.errors import CollapseError, ModelError
from landsift.pipeline.cache import keys
from landsift.pipeline.stage_table import Stage
from landsift.runs import WEIGHTS
from landsift.runtime.whole import beside, exchange, flush, remove_partials, writing
from landsift.version import __version__

STAGE = "stage.json"
UNFINISHED = "unfinished"
LAST_CHECKPOINT = Path("checkpoints", "last.ckpt")
OF_RUN = ".run"
"""Which run began an unfinished training."""
OF_KEY = ".key.json"
"""What the key of an unfinished training was made from."""
TRACKED = ".tracking.json"
"""Where an unfinished training is tracked."""

_log = logging.getLogger("landsift")


class _Seal(BaseModel):
    sha256: str
    mtime_ns: int


class _Record(BaseModel):
    """What a `stage.json` holds; older ones lack what has a default."""

    seconds: float
    run: str
    files: dict[str, int]
    sha256: dict[str, str]
    made_from: str = ""
    sealed: dict[str, _Seal] = {}
    of: dict[str, Any] | None = None
    landsift: str = ""


def place(stage: Stage, key: str, *, local: bool) -> Path:
    """Where a stage's result goes: durable on one machine, a scratch folder on a cluster, which keeps it itself."""
    root = cache_folder() if local else Path(tempfile.mkdtemp(prefix="landsift-"))
    return root / stage.folder / key


@contextmanager
def building(folder: Path, run: str, checked: Sequence[str] = (), made_from: str = "") -> Iterator[Path]:
    """Yield a path beside `folder` to build at; on success what is there becomes `folder`, else it is deleted.

    An older `folder` is replaced. The path does not exist yet.

    Args:
        folder: where the finished result goes.
        run: name of the Flyte run that does the work.
        checked: files and folders of the result that are to be known by their content.
        made_from: `weights_of` the training that the result is made from.

    Raises:
        RunError: the cache folder cannot be written.
    """
    start, began = time.monotonic(), time.time()
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with beside(folder) as partial:
        yield partial
        _finish(partial, folder, run, checked, time.monotonic() - start, began, made_from)


@contextmanager
def continuing(folder: Path, run: str, checked: Sequence[str] = (), *, afresh: bool = False) -> Iterator[Path]:
    """The same for a training, which is more often interrupted than failing: its last checkpoint is kept.

    Nobody else may be making `folder` (`locks.turn`). What the attempts before took counts as work on it.

    Args:
        folder: where the finished result goes.
        run: name of the Flyte run that does the work.
        checked: as in `building`.
        afresh: begin again, unless what is there is of this very run.

    Raises:
        RunError: the cache folder cannot be written.
    """
    start, began = time.monotonic(), time.time()
    partial = unfinished(folder)
    with writing(partial):
        if afresh and _text(partial / OF_RUN) != run:
            shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, exist_ok=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        (partial / OF_RUN).write_text(run, encoding="utf-8")
        (partial / OF_KEY).write_text(json.dumps(keys.parts_of(folder.name)), encoding="utf-8")
    try:
        yield partial
        before = float(json.loads((partial / "manifest.json").read_text(encoding="utf-8")).get("seconds_before", 0))
        for name in (OF_RUN, OF_KEY, TRACKED):
            (partial / name).unlink(missing_ok=True)
        _finish(partial, folder, run, checked, before + time.monotonic() - start, began)
        shutil.rmtree(partial, ignore_errors=True)  # an older result, if it has changed places with one
    except BaseException as error:
        remove_partials(partial)  # of processes that were ended
        if not (partial / LAST_CHECKPOINT).is_file():
            shutil.rmtree(partial, ignore_errors=True)
        elif isinstance(error, CollapseError):
            pass  # no checkpoint of it is good, and the same command would end the same way
        elif isinstance(error, ModelError):
            _log.warning("the last good checkpoint is %s", partial / LAST_CHECKPOINT)
        else:
            _log.warning("the training so far is kept in %s: the same command resumes it", partial)
        raise


def unfinished(folder: Path) -> Path:
    """Where a training is that will become `folder`."""
    return folder.parents[1] / UNFINISHED / folder.name


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _finish(
    partial: Path, folder: Path, run: str, checked: Sequence[str], seconds: float, began: float, made_from: str = ""
) -> None:
    """Note what the work has made, and put it into its place."""
    files = {str(f.relative_to(partial)): f.stat().st_size for f in sorted(partial.rglob("*")) if f.is_file()}
    with writing(folder):
        contents = {name: _sha256(partial / name) for name in files if {name, name.split("/")[0]} & {*checked}}
        stage = {"seconds": round(seconds, 3), "run": run, "files": files, "sha256": contents, "made_from": made_from}
        stage |= {"sealed": _sealed(partial, files.keys() - contents.keys()), "landsift": __version__}
        stage["of"] = keys.parts_of(folder.name)
        (partial / STAGE).write_text(json.dumps(stage), encoding="utf-8")
        flush(partial)
        _replace(partial, folder, began)


def damage(folder: Path, made_from: str = "") -> str:
    """What is wrong with a kept result that is to be used, such as "it is not there"; "" if it is whole.

    Args:
        folder: its place.
        made_from: `weights_of` the training that it must have been made from: on a GPU, the same training made again
            has other last bits, and a test of the first is none of the second.
    """
    if not folder.is_dir():
        return "it is not there"
    try:
        record = stage_record(folder)
    except (OSError, ValueError):
        return f"its {STAGE} was deleted or changed"
    files, contents, sealed = record["files"], record["sha256"], record["sealed"]
    if made_from and record["made_from"] != made_from:
        return "it was made from a training with other weights"
    for name, size in files.items():
        file = folder / name
        if not file.is_file():
            return f"its file {name} was deleted"
        try:
            same = file.stat().st_size == size and (name not in contents or _sha256(file) == contents[name])
        except OSError as error:
            return f"its file {name} cannot be read ({error.strerror or error})"
        if not same or _changed(file, sealed.get(name)):
            return f"its file {name} was changed"
    with contextlib.suppress(OSError):
        os.utime(folder / STAGE)  # when it was last used
    return ""


def _sealed(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Of files too large or too many to be read before every use: their content and when they were written."""
    files = {name: folder / name for name in sorted(names)}
    return {name: {"sha256": _sha256(file), "mtime_ns": file.stat().st_mtime_ns} for name, file in files.items()}


def _changed(file: Path, sealed: dict[str, Any] | None) -> bool:
    """Whether a file holds other bytes than those it was written with, by its time, and in doubt by its bytes."""
    if sealed is None or file.stat().st_mtime_ns == sealed["mtime_ns"]:
        return False
    return bool(_sha256(file) != sealed["sha256"])


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def weights_of(training: Path) -> str:
    """The SHA-256 of the weights that a training has left."""
    return str(stage_record(training)["sha256"][WEIGHTS])


def stage_record(folder: Path) -> dict[str, Any]:
    """What `building` noted: `seconds`, the `run` that did it, `files` with their sizes in bytes, `sha256` of some.

    Also `sealed`: SHA-256 and time of the others; `of`: what its key was made from, or None; `landsift`: version.

    Raises:
        OSError: there is none.
        ValueError: it holds something else.
    """
    return _Record.model_validate_json((folder / STAGE).read_bytes(), strict=True).model_dump()


def _replace(partial: Path, folder: Path, began: float) -> None:
    """Rename `partial` to `folder`, over an older result, but not over one that another process made meanwhile.

    Args:
        partial: the finished result.
        folder: its place.
        began: when the work on it began, in seconds since the epoch.
    """
    if folder.is_symlink() or folder.is_file():  # no result, and no folder can be renamed to it
        folder.unlink()
    try:
        os.replace(partial, folder)
    except OSError:
        if not folder.is_dir():
            raise
        if folder.stat().st_mtime > began and not damage(folder):
            return  # of two equal results the first stays: somebody may be reading it
        exchange(partial, folder)  # a process that reads the older one keeps its open files
