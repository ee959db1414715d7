"""How results are printed: for people, or as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from landsift.errors import RunError
from landsift.runs import REPORT, Comparison, Run
from landsift.runtime.notices import put_out

if TYPE_CHECKING:
    from pathlib import Path

    from landsift.data.checks.findings import DataChecks


def say(text: str) -> None:
    """Print to standard output; a closed pipe is ignored, because the work itself is done.

    Raises:
        RunError: it cannot be written for another reason, such as a full disk.
    """
    try:
        put_out(text)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RunError(f"standard output cannot be written: {reason}", "the work itself is done") from None


def print_result(result: Mapping[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    """Print `result` as JSON, or the `lines` with the same content for people."""
    if as_json:
        say(json.dumps(result, default=str))
    else:
        say("\n".join(lines))


def print_run(run: Run, *, as_json: bool) -> None:
    """Print a finished run: the test accuracy with its interval, and where the report is."""
    test = run.evaluation["test"]
    low, high = test["intervals"]["accuracy"]
    intervals = test["intervals"]  # one group gives none over groups
    units = "blocks" if run.config.data.split.kind == "spatial" else "groups"
    of_groups = f" in {intervals['groups']:,} {units}" if intervals.get("over") == "groups" else ""
    stages = run.manifest["stages"]
    cached = [name for name, stage in stages.items() if stage["cached"]]
    result = {
        "run": str(run.path),
        "report": str(run.path / REPORT),
        "test": {k: test[k] for k in ("n", "accuracy", "macro_f1", "ece")} | {"accuracy_interval": [low, high]},
        "val_accuracy": run.evaluation["val"]["accuracy"],
        "best_epoch": run.evaluation["epoch"],
        "stages": stages,
    }
    lines = [
        f"test accuracy  {100 * test['accuracy']:.2f} %   (95 % interval {100 * low:.2f} to {100 * high:.2f}, "
        f"{test['n']:,} patches{of_groups})",
        f"macro F1       {test['macro_f1']:.4f}",
        f"from the cache {', '.join(cached)}" if cached else "",
        f"report         {run.path / REPORT}",
    ]
    print_result(result, [line for line in lines if line], as_json=as_json)


def print_comparison(comparison: Comparison, *, as_json: bool) -> None:
    """Print a comparison: accuracy by row and budget, what failed, the recommendations, and where the report is."""
    found = comparison.data
    failed = [cell for cell in found["cells"] if cell["state"] == "failed"]
    result = {
        "comparison": str(comparison.path),
        "report": str(comparison.path / REPORT),
        "results": found["results"],
        "recommendations": found["recommendations"],
        "failed": failed,
        "trained": sum(cell["state"] == "done" and not cell["cached"] for cell in found["cells"]),
        "cached": sum(cell["state"] == "done" and cell["cached"] for cell in found["cells"]),
    }
    best_first = sorted(found["recommendations"], key=lambda advice: -advice["budget"])
    commands = {row["name"]: row["command"] for row in found["rows"]}
    result["commands"] = {advice["row"]: commands[advice["row"]] for advice in best_first}
    accuracy = {(r["row"], r["budget"]): f"{100 * r['accuracy']:.2f}" for r in found["results"]}
    rows = [row["name"] for row in found["rows"]]
    width = max(map(len, [*rows, "test accuracy, %"]))
    lines = ["".join([f"{'test accuracy, %':<{width}}", *(f"{budget:>9,}" for budget in found["budgets"])])]
    for row in rows:
        lines.append("".join([f"{row:<{width}}", *(f"{accuracy.get((row, b), '–'):>9}" for b in found["budgets"])]))
    lines += [""] + [r["sentence"] for r in found["recommendations"]]
    for name, command in result["commands"].items():
        lines += ["", f"{name}, trained on all labels:", f"  {command}"]
    lines += [""] if failed else []
    lines += [f"failed: {c['row']}, {c['budget']:,} labels, seed {c['seed']}: {c['reason']}" for c in failed]
    lines += ["", f"{result['trained']} trained, {result['cached']} from the cache, {len(failed)} failed"]
    print_result(result, [*lines, f"report  {comparison.path / REPORT}"], as_json=as_json)


def print_tuning(folder: Path, record: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a finished search: what was chosen, the test of it and of the configuration as it was, and the commands."""
    from landsift.reports.tuning.page import counts, in_words, train_all, verdict

    found, trials = record["finished"], record["trials"]
    chosen, commands = trials[found["chosen"]], train_all(record["asked"]["config"], str(folder))
    result = {
        "folder": str(folder),
        "report": str(folder / REPORT),
        "best": {"trial": found["chosen"] + 1, "values": chosen["values"], "run": str(folder / "best")},
        "val": found["val"],
        "test": found["test"],
        "trials": len(trials),
    }
    lines = []
    for key, name in (("best", "chosen"), ("default", "as it was")):
        if said := found["test"].get(key):
            low, high = said["interval"]
            lines.append(
                f"test accuracy, {name:<10}{100 * said['accuracy']:.2f} %   (95 % interval {100 * low:.2f} to "
                f"{100 * high:.2f}, {said['n']:,} patches)"
            )
    values = in_words(chosen["values"])
    lines += [verdict(found), f"chosen on validation from {counts(trials)}", f"trial {chosen['number'] + 1}: {values}"]
    lines += [
        "",
        f"on all labels  {commands}",
        f"model          {folder / 'best'}",
        f"report         {folder / REPORT}",
    ]
    print_result(result, lines, as_json=as_json)


def print_checks(source: str, checks: DataChecks, *, as_json: bool) -> None:
    """Print the findings of a data check: ok, warning or error and a sentence per section, and the first few cases."""
    from landsift.data.checks.findings import SHOWN, number_of

    lines = []
    for section in checks.sections:
        verdict, name = (SHOWN.get(word, word) for word in (section.verdict, section.name))
        lines.append(f"{verdict:<9}{name:<17}{section.text}")
        lines += [f"{'':<26}{_case(example)}" for example in section.examples]
    errors, warnings = (sum(s.verdict == verdict for s in checks.sections) for verdict in ("wrong", "look"))
    found = f"{number_of(errors, 'error', 'errors')}, {number_of(warnings, 'warning', 'warnings')}"
    lines.append(f"{found} in {len(checks.sections)} sections")
    print_result({"source": source, **checks.to_dict()}, lines, as_json=as_json)


def _case(example: Mapping[str, Any]) -> str:
    """One example: its files with their classes, and its other details."""
    from landsift.data.checks.findings import SHOWN

    paths, labels = example.get("paths", []), example.get("labels")
    files = [f"{path} ({label})" for path, label in zip(paths, labels, strict=True)] if labels else list(paths)
    others = [
        f"{SHOWN.get(key, key)} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in example.items()
        if key not in {"paths", "labels"}
    ]
    return "  ".join([*others, *files])
