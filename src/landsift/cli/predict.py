"""`landsift predict`: what it checks before the work, and what it prints of it."""

from __future__ import annotations

import fnmatch
import glob
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landsift.cli.printing import print_result
from landsift.engine import EngineOptions
from landsift.errors import RunError
from landsift.runtime.outputs import absolute, check_file, check_output, check_outside


def predict_command(
    run: Path,
    paths: Sequence[str],
    out: str,
    module: str | None,
    reading: Mapping[str, Any],
    explain: Path | None,
    engine: EngineOptions,
    *,
    as_json: bool,
) -> None:
    """Classify files into `out`; arguments as of the command.

    Raises:
        LandsiftError: as `predict_into`, or the output is among what is read.
    """
    from landsift.evaluation.in_parts import MOST_LISTED
    from landsift.evaluation.stream import is_folder, predict_into

    folder = is_folder(out)
    if not folder:
        from landsift.evaluation.predict import table_writer

        check_file(out)
        table_writer(Path(out))
    check_outside(out, paths)
    for pattern in paths:
        if glob.has_magic(pattern) and fnmatch.fnmatch(str(absolute(out)), str(absolute(pattern))):
            raise RunError(f"--out {out} fits the pattern {pattern}, which is read", "give --out a path outside of it")
    if explain is None:
        at = engine.to_dict()
        done = predict_into(run, paths, out, module, reading, engine=at.pop("address"), **at)
    else:
        if folder:
            raise RunError("--explain goes with one table", "give --out a .csv or .parquet file")
        if not engine.in_process:
            raise RunError("--explain runs in one process of this machine", "leave --engine and --workers out")
        if check_output(explain, "--explain") == absolute(out):
            raise RunError(f"--out and --explain are both {out}", "give --explain a folder of its own")
        check_outside(explain, paths, "--explain", "give --explain a path outside of it")
        done = _explained(run, paths, Path(out), module, reading, explain)
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
