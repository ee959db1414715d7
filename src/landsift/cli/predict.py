"""`landsift predict`: what it checks before the work, and what it prints of it."""

from __future__ import annotations

import fnmatch
import glob
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from landsift.cli import slips
from landsift.cli.options import (
    EngineOption,
    GpusOption,
    JsonOption,
    ModuleOption,
    ReadingOption,
    RunArgument,
    ThreadsOption,
    reading,
)
from landsift.engine.options import LOCAL
from landsift.errors import RunError
from landsift.runtime.outputs import absolute, check_file, check_output, check_outside


def predict(
    run: RunArgument,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Image files, folders, patterns ('*'), zip and tar archives, tables with a column 'path', .txt lists, "
            "URLs (s3://...).",
            show_default=False,
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE|FOLDER",
            help="A .csv or .parquet file, or a folder for Parquet files of some thousand rows each.",
            show_default=False,
        ),
    ],
    settings: ReadingOption = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            "--explain",
            metavar="DIR",
            help="A new or empty folder for a picture per patch that shows where its class comes from (Grad-CAM).",
            show_default=False,
        ),
    ] = None,
    module: ModuleOption = None,
    engine: EngineOption = LOCAL,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            "-j",
            metavar="N",
            help="Processes of this machine.  Default: this one alone.",
            min=1,
            show_default=False,
        ),
    ] = None,
    threads: ThreadsOption = None,
    gpus: GpusOption = None,
    as_json: JsonOption = False,
) -> None:
    """Classify any number of image files: writes one row per patch with path, predicted and p_<class>.

    Memory stays the same however many there are, and after an interruption the
    same command goes on.

    If the model has thresholds: also the set of classes, whether it abstains,
    and whether the patch is out of distribution (ood).

    Of RUN only the folder RUN/model is needed; a file that `landsift export`
    wrote serves as well, without torch.
    """
    from landsift.cli.printing import print_result
    from landsift.evaluation.in_parts import MOST_LISTED
    from landsift.evaluation.stream import is_folder, predict_into

    slips.run_first("predict", run, paths, out)
    given, folder = reading(settings or (), "in a prediction"), is_folder(out)
    if not folder:
        from landsift.evaluation.predict import table_writer

        check_file(out)
        table_writer(Path(out))
    check_outside(out, paths)
    for pattern in paths:
        if glob.has_magic(pattern) and fnmatch.fnmatch(str(absolute(out)), str(absolute(pattern))):
            raise RunError(f"--out {out} fits the pattern {pattern}, which is read", "give --out a path outside of it")
    if explain is None:
        done = predict_into(run, paths, out, module, given, engine=engine, workers=workers, threads=threads, gpus=gpus)
    else:
        if folder:
            raise RunError("--explain goes with one table", "give --out a .csv or .parquet file")
        if engine != LOCAL or workers or threads or gpus:
            raise RunError("--explain runs in one process of this machine", "leave --engine and --workers out")
        if check_output(explain, "--explain") == absolute(out):
            raise RunError(f"--out and --explain are both {out}", "give --explain a folder of its own")
        check_outside(explain, paths, "--explain", "give --explain a path outside of it")
        done = _explained(run, paths, Path(out), module, given, explain)
    counts = dict(done.predicted.most_common())
    result: dict[str, Any] = {"out": str(out), "patches": done.rows, "predicted": counts, "skipped": done.skipped}
    if done.left_out > MOST_LISTED:
        result["left_out"] = done.left_out
    lines = [f"{n:>8,}  {name}" for name, n in counts.items()]
    said = {"abstain": "the model abstains", "ood": "out of distribution"}
    judged = {name: n for name in said if (n := getattr(done, name)) is not None}
    result.update(judged)
    lines += [f"{n:>8,}  {said[name]}" for name, n in judged.items()]
    if explain is not None:
        result["explain"] = str(explain)
        lines.append(f"pictures: {explain}")
    print_result(result, [f"{done.rows:,} patches classified: {out}", *lines], as_json=as_json)


def _explained(
    run: Path, paths: Sequence[str], out: Path, module: str | None, reading: Mapping[str, Any], explain: Path
) -> Any:
    """With pictures, whose folder is there whole or not at all: not part by part."""
    from landsift.evaluation.in_parts import Result
    from landsift.evaluation.predict import predict_files, table_writer

    found = predict_files(run, paths, module, reading, explain)
    table_writer(out)(found)
    columns = found.columns()
    judged = {name: int(columns[name].sum()) for name in ("abstain", "ood") if name in columns}
    counts = Counter(found.predicted)
    return Result(
        out, len(found.paths), counts, found.skipped, len(found.skipped), judged.get("abstain"), judged.get("ood")
    )
