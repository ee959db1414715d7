"""Predictions of any number of files in constant memory, written part by part; resumed where they were interrupted.

    FOLDER/
      part-00000.parquet ...  some thousand rows each, in the order of the files
      _manifest.json          the model, the sources, the settings, and which rows each part has
      _unreadable.csv         the files that are left out, and why; only if there are some
      .work/                  the list of files, until all is done

One file (.csv, .parquet) is put together in the end from parts that lie beside it in `.NAME.parts/` until then. Names
that begin with _ are passed over by what reads a folder of Parquet files.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from landsift.engine import LOCAL
from landsift.errors import RunError
from landsift.evaluation.in_chunks import Answered, in_chunks
from landsift.evaluation.in_parts import MANIFEST, MOST_LISTED, WORK, Result, Runner, Work, plan_of, write_left_out
from landsift.evaluation.on_engine import on_engine, options_of, shared_files
from landsift.evaluation.parts import Part, PartDone, loaded_model, note_of, predict_part
from landsift.evaluation.predict import OpenedModel, open_model, predictions_of, table_writer, tell_left_out
from landsift.evaluation.told import Told
from landsift.extras import needs
from landsift.runtime.locks import Lock
from landsift.runtime.outputs import absolute, check_name, output_error
from landsift.runtime.progress_bar import long_progress
from landsift.runtime.whole import short, writing

CHUNKS = 16
"""In a part; with a whole number of them the model's batches are those of one table."""


def one_after_another(parts: Iterator[Part], advance: Callable[[int], None]) -> Iterator[PartDone]:
    """Do parts in this process."""
    try:
        for part in parts:
            yield predict_part(part, advance)
    finally:
        loaded_model.cache_clear()  # whoever called goes on without its memory


def is_folder(out: Path | str) -> bool:
    """Whether an output is a folder of parts: one that is there, or a name without an ending."""
    return str(out).endswith("/") or os.path.isdir(out) or not Path(out).suffix  # noqa: PTH112 (no error of long names)


def predict_into(
    model: Path | str,
    paths: Path | str | Iterable[Path | str],
    out: Path | str,
    module: str | None = None,
    reading: Mapping[str, Any] | None = None,
    *,
    engine: str = LOCAL,
    workers: int | None = None,
    threads: int | None = None,
    gpus: int | None = None,
) -> Result:
    """Classify any number of files into a table or a folder of Parquet files.

    After an interruption the same call goes on: parts that are there are not computed again.

    Args:
        model: as of `predict_files`, as are paths, module and reading.
        paths: the same.
        out: a .csv or .parquet file, or a folder: new, empty, or one that the same call has begun.
        module: the same.
        reading: the same.
        engine: "local", or the address of a Dask scheduler, whose workers must see the model, the files and the output
            at the same paths; as are the next three, of `landsift.engine.EngineOptions`.
        workers: processes of this machine; None: this one alone.
        threads: that each of them computes in.
        gpus: for each of them alone.

    Raises:
        ConfigError: an engine's options cannot be used.
        LandsiftError: as `predict_files`.
        RunError: the output cannot be written, or was begun with another model, other files or other settings.
    """
    options = options_of(engine, workers, threads, gpus)
    folder = is_folder(out)
    out = absolute(out)
    given = list(paths) if isinstance(paths, Iterable) and not isinstance(paths, str) else [paths]
    if folder:
        _check_folder(out)
        work, above = out / WORK, next(each for each in (out, *out.parents) if each.is_dir())
    else:
        check_name(out, "--out")
        table_writer(out)
        work, above = out.with_name(f".{short(out.name)}.parts"), out.parent
    # Where the list is long it lies on the output's disk: /tmp may be small, or memory.
    opened = open_model(model, given, module, reading, above if os.access(above, os.W_OK) else None, CHUNKS)
    with closing(opened.listed.entries) as entries:
        if not folder and not work.exists() and len(entries.slices()) <= 1:
            return _at_once(opened, out)
        plan = plan_of(opened, given, reading or {})
        with writing(work):
            work.mkdir(parents=True, exist_ok=True)
        run: Runner = one_after_another
        if not options.in_process:
            run = on_engine(options, shared_files(model, entries, work))
        with _alone(work / "lock", out):
            return Work(opened, plan, out, work, folder=folder).done(run)


def _check_folder(out: Path) -> None:
    needs("pandas", "pyarrow", extra="train", what="a folder of Parquet files")
    check_name(out, "output folder")
    try:
        names = [each for each in out.iterdir() if not each.name.startswith(".")] if out.exists() else []
    except OSError as error:
        raise output_error(out, error) from None
    if names and not (out / MANIFEST).is_file():
        raise RunError(
            f"output folder {out} is not empty", "give --out a new or empty folder, or a .csv or .parquet file"
        )


def _at_once(opened: OpenedModel, out: Path) -> Result:
    """A table of a few files, of which nothing is kept before it is written."""
    loaded = opened.load()
    found, told, entries = list[Answered](), Told(), opened.listed.entries
    with long_progress("Classifying", entries.count) as advance:
        for chunk in in_chunks(loaded, entries, told):
            found.append(chunk._replace(images=chunk.images[:0]))
            advance(chunk.entries)
    told.heard = loaded.patches.take()
    tell_left_out(((path, reason) for chunk in found for path, reason in chunk.unreadable), told.files)
    told.say(loaded.patches, loaded.size)
    predictions = predictions_of(loaded, found, opened.listed.passed_over)
    table_writer(out)(predictions)
    result = Result(out, skipped=predictions.skipped[:MOST_LISTED], left_out=len(predictions.skipped), parts=(1, 0))
    result.add(note_of(predictions, found, told))
    if result.left_out > MOST_LISTED:
        write_left_out(out, folder=False, rows=((each["path"], each["reason"]) for each in predictions.skipped))
    return result


@contextlib.contextmanager
def _alone(file: Path, out: Path) -> Iterator[None]:
    """While no other command of this machine writes the same."""
    lock = Lock(file)
    try:
        taken = lock.take()
    except RunError:  # a file system without locks; two commands would do the same work twice, and no harm
        yield
        return
    if not taken:
        raise RunError(f"another command is writing {out}", "wait for it, or give --out another path")
    try:
        yield
    finally:
        lock.release()
