"""`landsift cache`: list and prune the cache folder."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from landsift.cli.options import JsonOption
from landsift.cli.slips import Commands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from landsift.pipeline.cache.prune import Entry

app = typer.Typer(cls=Commands, help="List the cache folder, and delete from it.", no_args_is_help=True)

_SHOWN = 12
"""Characters of a key that are printed."""


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List what the cache folder holds: results of stages, unfinished trainings, W&B runs."""
    from landsift.cli.printing import print_result
    from landsift.config import cache_folder
    from landsift.pipeline.cache import prune

    found = prune.entries()
    lines = [*_table(found), *([""] if found else []), f"{_total(found)} in {cache_folder()}"]
    print_result({"cache": str(cache_folder()), "entries": [e.to_dict() for e in found]}, lines, as_json=as_json)


@app.command(no_args_is_help=True)
def prune(
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="TIME", help="Entries not used for this time, such as 30d, 12h or 2w."),
    ] = None,
    unreachable: Annotated[
        bool,
        typer.Option(
            "--unreachable",
            help="Entries that the installed code and libraries cannot use. With --older-than: those that are both.",
        ),
    ] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Unfinished trainings too, which could resume. Alone: all of them.")
    ] = False,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline-runs", help="Offline W&B runs too, of which there is no other copy. Alone: all of them."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be deleted; delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete results from the cache folder; run directories are not affected.

    Unfinished trainings and offline W&B runs are kept unless you ask for them.
    Nothing is deleted while another landsift process uses the cache.
    """
    from landsift.cli.printing import print_result, say
    from landsift.pipeline.cache import prune as cache

    unused = None if older_than is None else cache.seconds(older_than)
    if not (unused is not None or unreachable or unfinished or offline):
        raise typer.BadParameter(
            "say what to delete", param_hint="--older-than, --unreachable, --unfinished or --offline-runs"
        )
    go, kept = cache.selected(
        cache.entries(), unused=unused, unreachable=unreachable, unfinished=unfinished, offline=offline
    )
    note = _kept(kept)
    result: dict[str, Any] = {"dry_run": dry_run, "kept": [e.to_dict() for e in kept]}
    if dry_run or not go:
        lines = [*_table(go), f"{_total(go)} would be deleted" if go else "nothing to delete", *note]
        print_result(result | {"deleted": [e.to_dict() for e in go]}, lines, as_json=as_json)
        return
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise typer.BadParameter(f"{_total(go)} would be deleted", param_hint="--yes or --dry-run is needed")
        say("\n".join([*_table(go), *note]))
        typer.confirm(f"Delete {_total(go)}?", abort=True)
    gone = cache.remove(go)
    freed = _bytes(sum(entry.freed for entry in gone))
    lines = [f"{_total(gone)} deleted, which frees {freed}", *note]
    if len(gone) < len(go):
        lines.append(f"{len(go) - len(gone)} not deleted: used or removed by another process meanwhile")
    print_result(result | {"deleted": [e.to_dict() for e in gone]}, lines, as_json=as_json)


def _table(found: Sequence[Entry]) -> list[str]:
    """One line per entry, under a line of headings; no lines where there are none."""
    from landsift.pipeline.cache.results import UNFINISHED

    if not found:
        return []
    now = time.time()
    rows = [("kind", "key", "made", "used", "size", "what")]
    for entry in found:
        notes = [entry.unreachable]
        if entry.kind == UNFINISHED and not entry.unreachable:
            notes = ["the same command resumes it"]
        what = "; ".join(filter(None, [entry.what, *notes]))
        times = (_ago(now - entry.made), _ago(now - entry.used))
        rows.append((entry.kind, entry.path.name[:_SHOWN], *times, _bytes(entry.size), what))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return [
        "  ".join([*(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=False)), row[5]]).rstrip() for row in rows
    ]


def _kept(kept: Sequence[Entry]) -> list[str]:
    """Entries that match but are kept, because they were not asked for."""
    from landsift.pipeline.cache.results import UNFINISHED

    unfinished = sum(entry.kind == UNFINISHED for entry in kept)
    offline = len(kept) - unfinished
    return [
        f"kept: {count} {what} ({option} deletes them too)"
        for count, what, option in (
            (unfinished, "unfinished trainings", "--unfinished"),
            (offline, "offline W&B runs", "--offline-runs"),
        )
        if count
    ]


def _total(found: Sequence[Entry]) -> str:
    return f"{len(found)} {'entry' if len(found) == 1 else 'entries'} of {_bytes(sum(e.size for e in found))}"


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _ago(span: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if span >= length:
            return f"{span / length:.0f} {unit}"
    return "now"
