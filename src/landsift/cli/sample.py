"""`landsift sample`: points of a map to label, drawn at random."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from landsift.cli.options import JsonOption, MapArgument
from landsift.errors import DataError
from landsift.runtime.outputs import check_file


def sample(
    map_path: MapArgument,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE", help="The points to write: .gpkg or .csv.", show_default=False),
    ],
    size: Annotated[
        int | None, typer.Option("--size", metavar="N", help="Number of points.", show_default=False)
    ] = None,
    error: Annotated[
        float | None,
        typer.Option(
            "--error",
            metavar="SHARE",
            help="Instead of a size: the standard error of the overall accuracy to aim at.  Default: 0.02.",
            show_default=False,
        ),
    ] = None,
    allocation: Annotated[
        str,
        typer.Option("--allocation", metavar="NAME", help="Points per stratum: proportional, equal or neyman."),
    ] = "proportional",
    minimum: Annotated[int, typer.Option("--minimum", metavar="M", help="Points per stratum at least.")] = 50,
    expected: Annotated[
        list[str] | None,
        typer.Option(
            "--expected",
            metavar="[STRATUM=]SHARE",
            help="Expected accuracy, of all strata or of one; repeatable.  Default: the map's mean confidence.",
            show_default=False,
        ),
    ] = None,
    strata: Annotated[
        Path | None,
        typer.Option(
            "--strata",
            metavar="RASTER",
            help="A raster of classes on the same grid, whose classes are the strata.  Default: the map's classes.",
            show_default=False,
        ),
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="Draw from the whole map, without strata.")] = False,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Of the draw.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Draw points of a map at random, to label and to estimate areas from.

    The points do not say what the map says of them; the file
    POINTS.design.json beside them does, and `landsift areas` needs it.
    """
    import landsift.mapping.beyond_maps  # noqa: F401
    from landsift.cli.printing import print_result
    from landsift.mapping.sample_design import check_new, design_path, write_sample
    from landsift.mapping.sampling import draw_sample

    if out.suffix.lower() not in {".csv", ".gpkg"}:
        raise DataError(f"--out {out} is neither .csv nor .gpkg", "give it a name that ends in one of them")
    check_file(out)
    check_file(design_path(out))
    check_new(out)
    design = draw_sample(
        map_path, size=size, error=error, allocation=allocation, minimum=minimum, expected=_accuracies(expected or ()),
        strata=strata, random=random, seed=seed,
    )  # fmt: skip
    write_sample(design, out)
    drawn = [{"stratum": s.name, "cells": s.cells, "hectares": s.hectares, "points": s.points} for s in design.strata]
    result = {
        "out": str(out),
        "design": str(design_path(out)),
        "map": str(map_path),
        "points": len(design.points),
        "classes": [each.name for each in design.classes],
        "strata": drawn,
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
