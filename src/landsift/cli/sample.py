"""`landsift sample`: points of a map to label, drawn at random."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

from landsift.cli.printing import print_result
from landsift.errors import DataError
from landsift.runtime.outputs import check_file


def sample(map_path: Path, out: Path, *, expected: Iterable[str], as_json: bool, **how: Any) -> None:
    """Draw the points, write them with their design, print the strata."""
    from landsift.mapping.sample_design import check_new, design_path, write_sample
    from landsift.mapping.sampling import draw_sample

    if out.suffix.lower() not in {".csv", ".gpkg"}:
        raise DataError(f"--out {out} is neither .csv nor .gpkg", "give it a name that ends in one of them")
    check_file(out)
    check_file(design_path(out))
    check_new(out)
    design = draw_sample(map_path, expected=_accuracies(expected), **how)
    write_sample(design, out)
    strata = [{"stratum": s.name, "cells": s.cells, "hectares": s.hectares, "points": s.points} for s in design.strata]
    result = {
        "out": str(out),
        "design": str(design_path(out)),
        "map": str(map_path),
        "points": len(design.points),
        "classes": [each.name for each in design.classes],
        "strata": strata,
    }
    width = max(len("stratum"), *(len(s.name) for s in design.strata))
    lines = [f"{'stratum':<{width}}  {'cells':>13}  {'hectares':>15}  {'points':>7}"]
    lines += [f"{s.name:<{width}}  {s.cells:>13,}  {s.hectares:>15,.2f}  {s.points:>7,}" for s in design.strata]
    when = f" of {design.when}" if design.when else ""
    lines += [
        "",
        f"{len(design.points):,} points: {out}",
        f"how they were drawn: {design_path(out)}; keep it beside them, and from whoever labels them",
        f"write the class{when} into the column reference: {', '.join(each.name for each in design.classes)}",
    ]
    print_result(result, lines, as_json=as_json)


def _accuracies(given: Iterable[str]) -> dict[str, float] | float | None:
    """`--expected` as the sample takes it: one share for all, or shares by name."""
    found: dict[str, float] = {}
    single: float | None = None
    for each in given:
        name, _, value = each.rpartition("=")
        try:
            share = float(value)
        except ValueError:
            raise typer.BadParameter(f"{each} is no SHARE or STRATUM=SHARE", param_hint="--expected") from None
        if name:
            found[name] = share
        else:
            single = share
    if single is not None and found:
        raise typer.BadParameter("give one share for all, or shares by name", param_hint="--expected")
    return found or single
