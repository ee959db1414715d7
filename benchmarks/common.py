"""What the benchmarks share: tables, JSON, the machine, and programs run in a fresh process with their memory watched.

Imported by the scripts beside it; it measures nothing by itself.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WATCH_EVERY = 0.5
"""Seconds between two looks at the memory: each costs the watched program some milliseconds."""


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in aligned plain text that is Markdown as well; numbers stand right, text left."""
    cells = [[str(value) for value in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(headers, *cells, strict=True)]
    right = [
        bool(cells) and all(row[i][:1].isdigit() or row[i] in {"", "–"} for row in cells) for i in range(len(widths))
    ]

    def line(texts: Sequence[str]) -> str:
        parts = [t.rjust(w) if r else t.ljust(w) for t, w, r in zip(texts, widths, right, strict=True)]
        return f"| {' | '.join(parts)} |"

    rule = [f"{'-' * (w - 1)}{':' if r else '-'}" for w, r in zip(widths, right, strict=True)]
    return "\n".join([line(headers), line(rule), *(line(row) for row in cells)])


def number(value: float | None, digits: int = 1) -> str:
    """A number for a table; a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def median(values: Iterable[float]) -> float | None:
    """The median, or None of nothing."""
    found = list(values)
    return statistics.median(found) if found else None


def steady(seconds: Sequence[float]) -> float | None:
    """The median epoch without the first, which starts workers and warms up; of a single epoch, that one."""
    return median(seconds[1:] or seconds)


def timed(
    command: Sequence[str], environment: Mapping[str, str]
) -> tuple[float, float, subprocess.CompletedProcess[str]]:
    """Wall seconds and processor seconds (user and system) of a command, from its start to its end, and what it said.

    The script ends with the command's own message where it fails.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stderr)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done


def machine() -> dict[str, Any]:
    """Versions and hardware, to stand beside every figure."""
    from landsift.training.provenance import hardware, versions

    waiting = {name: os.environ.get(name) for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")}
    return {"versions": versions(), "hardware": hardware(), "environment": waiting}


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    """Write a result with the machine and the command, if a file is asked for."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result | machine() | {"command": sys.argv}, indent=1) + "\n", encoding="utf-8")


def import_timm() -> None:
    """Import timm without Weights & Biases, which its helpers for scripts load where it is installed."""
    hidden = "wandb" not in sys.modules
    if hidden:
        sys.modules["wandb"] = None  # type: ignore[assignment]
    try:
        import timm  # noqa: F401
    finally:
        if hidden:
            del sys.modules["wandb"]


def run_part(script: str, arguments: Sequence[object]) -> dict[str, Any]:
    """Run a benchmark beside this file in a fresh process and return the JSON that it wrote.

    What it prints goes to standard error. Three figures are added: `process_seconds` (from start to end, imports
    and all), `peak_memory_mib` and `peak_main_process_mib`. The first memory is the largest sum, seen twice a second,
    of the process's resident memory and of what is private to each process that it started, such as the workers of a
    loader; pages that they share with it count once. The second is the kernel's own record (VmHWM) for the process
    alone. Both are None where there is no /proc.
    """
    with tempfile.TemporaryDirectory(prefix="landsift-bench-") as scratch:
        out = Path(scratch) / "result.json"
        command = [sys.executable, str(HERE / script), *map(str, arguments), "--json", str(out)]
        print("$", *command[1:-2], file=sys.stderr, flush=True)
        start = time.perf_counter()
        peak, peak_main = 0.0, 0.0
        process = subprocess.Popen(command, stdout=sys.stderr)
        try:
            while process.poll() is None:
                own, *workers = _tree(process.pid)
                private = sum(_kib(pid, "smaps_rollup", "Private_Clean:", "Private_Dirty:") for pid in workers)
                peak = max(peak, (_kib(own, "status", "VmRSS:") + private) / 1024)
                peak_main = max(peak_main, _kib(own, "status", "VmHWM:") / 1024)
                time.sleep(WATCH_EVERY)
        finally:
            process.kill()
        seconds = time.perf_counter() - start
        if process.returncode:
            sys.exit(f"{script} ended with status {process.returncode}")
        result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return result | {
        "process_seconds": round(seconds, 1),
        "peak_memory_mib": round(max(peak, peak_main)) or None,  # the record knows what fell between two looks
        "peak_main_process_mib": round(peak_main) or None,
    }


def _tree(pid: int) -> list[int]:
    """A process and all below it; empty where it has ended or there is no /proc."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text().split()]
            except OSError:  # it has ended since
                continue
    return found


def _kib(pid: int, file: str, *fields: str) -> float:
    """The sum of some fields of a file of /proc, in KiB; 0 where it cannot be read."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.split()[1]) for line in lines if line.startswith(fields))
