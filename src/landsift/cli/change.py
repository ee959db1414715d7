"""`landsift change`: what differs between two or more maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from landsift.cli.options import JsonOption

if TYPE_CHECKING:
    from landsift.mapping.change import MapChange

SHOWN = 10
"""Transitions that are printed; all are in the table."""


def change(
    maps: Annotated[
        list[Path], typer.Argument(metavar="MAP MAP...", help="Rasters of the same classes.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="A new or empty folder.", show_default=False)],
    confidence: Annotated[
        float | None,
        typer.Option(
            "--confidence",
            metavar="SHARE",
            help="Changes of a lower confidence are counted apart.  Default: 0.5, below which a calibrated model is "
            "more often wrong than right; none where maps have no confidence.",
            show_default=False,
        ),
    ] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Write DIR/change.html.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Compare maps of two or more dates: a raster of transitions, matrices in hectares, a page.

    Maps of landsift or of other tools, with the same classes. They are compared
    by date where all have one, else in the order given. Maps on another grid
    are resampled to that of the first, each cell to the nearest.
    """
    import landsift.mapping.beyond_maps  # noqa: F401
    from landsift.cli.printing import print_result
    from landsift.mapping.change import CAUTION, map_change
    from landsift.mapping.change_tables import transition_table

    found = map_change(maps, out, confidence=confidence, finish=_write_page if page else None)
    table = transition_table(found.matrix, found.classes.names).to_dict("records")
    print_result(_as_json(found, table), [*_lines(found, table), "", CAUTION, str(found.out)], as_json=as_json)


def _write_page(folder: Path, found: MapChange) -> None:
    from landsift.reports.maps.change_page import write_change_page

    write_change_page(folder, found)


def _lines(found: MapChange, table: list[dict[Any, Any]]) -> list[str]:
    from landsift.mapping.aligned import date_of

    lines = [f"{date_of(each) or 'no date':<12}{each.path}" for each in found.maps]
    share = f"{100 * found.changed / found.compared:.1f} %"
    lines += ["", _figure("compared", found.compared), _figure("changed", found.changed, share)]
    if found.confidence is not None:
        lines.append(_figure("  of low confidence", found.uncertain, f"below {found.confidence:g}"))
    lines.append(_figure("in one map only", found.matrix.one_sided))
    lines.append(_figure("in neither map", found.matrix.empty))
    changes = [row for row in table if row["changed"]]
    if changes:
        width = max(len(row["transition"]) for row in changes[:SHOWN])
        low = "  of low confidence" if found.confidence is not None else ""
        lines += ["", f"{'transition':<{width}}  {'hectares':>14}  {'per cent':>8}{low}"]
        for row in changes[:SHOWN]:
            low = f"  {row['low confidence ha']:>17,.2f}" if found.confidence is not None else ""
            lines.append(f"{row['transition']:<{width}}  {row['hectares']:>14,.2f}  {row['per cent']:>8.2f}{low}")
        if len(changes) > SHOWN:
            lines.append(f"and {len(changes) - SHOWN} more")
    if found.trajectories:
        back = sum(each.hectares for each in found.trajectories if each.returns)
        lines += ["", f"{len(found.trajectories):,} trajectories over {len(found.maps)} maps; "
                  f"{back:,.2f} ha leave a class and come back, which is likely an error of one map"]  # fmt: skip
    return lines


def _figure(name: str, hectares: float, more: str = "") -> str:
    return f"{name:<20}{hectares:>16,.2f} ha  {more}".rstrip()


def _as_json(found: MapChange, table: list[dict[Any, Any]]) -> dict[str, Any]:
    return {
        "out": str(found.out),
        "maps": [
            {"path": str(each.path), "when": each.when.isoformat() if each.when else None, "outside": hectares}
            for each, hectares in zip(found.maps, found.outside, strict=True)
        ],
        "classes": list(found.classes.names),
        "compared": found.compared,
        "changed": found.changed,
        "confidence": found.confidence,
        "low_confidence": None if found.confidence is None else found.uncertain,
        "one_map_only": found.matrix.one_sided,
        "neither_map": found.matrix.empty,
        "transitions": table,
        "trajectories": len(found.trajectories) or None,
    }
