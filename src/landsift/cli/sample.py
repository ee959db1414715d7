"""`landsift sample`: points of a map to label, drawn at random."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from landsift.cli.options import JsonOption, MapArgument
from landsift.errors import DataError, listed
from landsift.runtime.outputs import check_file, check_outside

if TYPE_CHECKING:
    from landsift.mapping.sample_design import SampleDesign
    from landsift.reports.maps.place_pictures import DatedScene

_DATED = re.compile(r"(\d{4}(?:-\d\d(?:-\d\d)?)?)=(.+)", re.DOTALL)


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
    scenes: Annotated[
        list[str] | None,
        typer.Option(
            "--scene",
            metavar="[DATE=]SCENE",
            help="A scene that the page shows each place in: a raster, files of its bands with commas between, a STAC "
            "item or a folder .SAFE; repeatable, one for each date.",
            show_default=False,
        ),
    ] = None,
    bands: Annotated[
        str | None,
        typer.Option(
            "--bands",
            metavar="R,G,B",
            help="Bands of the scenes to show as red, green and blue: numbers from 1, or names.  Default: those of "
            "these names, else the first three.",
            show_default=False,
        ),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Write POINTS.label.html, a page to label the points.")
    ] = True,
    page_only: Annotated[
        bool, typer.Option("--page-only", help="Write only the page, for points that are there already.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Draw points of a map at random, to label and to estimate areas from.

    The points do not say what the map says of them, nor does the page to
    label them; the file POINTS.design.json beside them does, and `landsift
    areas` needs it.
    """
    import landsift.mapping.beyond_maps  # noqa: F401
    from landsift.cli.printing import print_result
    from landsift.mapping.sample_design import check_new, design_path, page_path, write_sample
    from landsift.mapping.sampling import draw_sample

    given = [_scene(each) for each in scenes or ()]
    shown = None if bands is None else _bands(bands)
    if (given or page_only) and not page:
        raise typer.BadParameter("changes nothing with --no-page", param_hint="--scene" if given else "--page-only")
    if shown and not given:
        raise typer.BadParameter("changes nothing without --scene", param_hint="--bands")
    if out.suffix.lower() not in {".csv", ".gpkg"}:
        raise DataError(f"--out {out} is neither .csv nor .gpkg", "give it a name that ends in one of them")
    if page:
        check_file(page_path(out))
        check_outside(page_path(out), [source for each in given for source in each.sources if "://" not in str(source)])
    if page_only:
        html, design = _page_of(map_path, out, given, shown)
        _write_page(out, html)
        print_result({"out": str(out), "page": str(page_path(out)), "points": len(design.points)},
                     [f"to label them: {page_path(out)}"], as_json=as_json)  # fmt: skip
        return
    check_file(out)
    check_file(design_path(out))
    check_new(out)
    design = draw_sample(
        map_path, size=size, error=error, allocation=allocation, minimum=minimum, expected=_accuracies(expected or ()),
        strata=strata, random=random, seed=seed,
    )  # fmt: skip
    found = _html(design, out, given, shown) if page else None
    write_sample(design, out)
    if found is not None:
        _write_page(out, found)
    names = [each.name for each in design.classes]
    drawn = [{"stratum": s.name, "cells": s.cells, "hectares": s.hectares, "points": s.points} for s in design.strata]
    result = {
        "out": str(out),
        "design": str(design_path(out)),
        "page": str(page_path(out)) if page else None,
        "map": str(map_path),
        "points": len(design.points),
        "classes": names,
        "strata": drawn,
    }
    width = max(len("stratum"), *(len(s.name) for s in design.strata))
    lines = [f"{'stratum':<{width}}  {'cells':>13}  {'hectares':>15}  {'points':>7}"]
    lines += [f"{s.name:<{width}}  {s.cells:>13,}  {s.hectares:>15,.2f}  {s.points:>7,}" for s in design.strata]
    when = f" of {design.when[:10]}" if design.when else ""
    lines += [
        "",
        f"{len(design.points):,} points: {out}",
        f"how they were drawn: {design_path(out)}; keep it beside them, and from whoever labels them",
        *(
            [f"to label them: {page_path(out)}" + ("" if given else "; --page-only --scene SCENE adds pictures")]
            if page
            else []
        ),
        f"{'or ' if page else ''}write the class{when} into the column reference: {listed(names, 20)}",
    ]
    print_result(result, lines, as_json=as_json)


def _html(design: SampleDesign, out: Path, scenes: Sequence[DatedScene], bands: Sequence[str] | None) -> str:
    from landsift.reports.maps.label_page import label_html

    if not scenes:
        return label_html(design, out)
    from landsift.reports.maps.place_pictures import pictures_of

    return label_html(design, out, pictures_of(design, scenes, bands))


def _page_of(
    map_path: Path, out: Path, scenes: Sequence[DatedScene], bands: Sequence[str] | None
) -> tuple[str, SampleDesign]:
    """The page of points that were drawn from a map before."""
    from landsift.mapping.map_file import read_info
    from landsift.mapping.sample_design import design_path, read_design
    from landsift.mapping.sampling import survey

    design = read_design(design_path(out), out)
    if survey(read_info(map_path)).fingerprint != design.fingerprint:
        raise DataError(f"{out} was drawn from another map than {map_path}", f"give {design.map}, as it was then")
    return _html(design, out, scenes, bands), design


def _write_page(out: Path, html: str) -> None:
    from landsift.reports.maps.label_page import write_label_page

    write_label_page(out, html)


def _scene(given: str) -> DatedScene:
    """`--scene` as the page takes it: the files of a scene, and its day."""
    from landsift.reports.maps.place_pictures import DatedScene

    found = _DATED.fullmatch(given)
    date, path = (found[1], found[2]) if found and not Path(given).exists() else (None, given)
    if date is not None:
        try:
            datetime.strptime(date, ("%Y", "%Y-%m", "%Y-%m-%d")[date.count("-")])
        except ValueError:
            raise typer.BadParameter(f"{date} is no date such as 2024-06-30", param_hint="--scene") from None
    before, equals, after = path.partition("=")
    if date is None and equals and not Path(path).exists() and Path(after).exists():
        raise typer.BadParameter(f"{before or 'nothing'} is no date such as 2024-06-30", param_hint="--scene")
    if not path.strip():
        raise typer.BadParameter("an empty text is no scene", param_hint="--scene")
    parts = path.split(",")
    several = len(parts) > 1 and not Path(path).exists() and all(Path(each).exists() for each in parts)
    return DatedScene(tuple(parts) if several else (path,), date)


def _bands(given: str) -> list[str]:
    names = [each.strip() for each in given.split(",")]
    if len(names) not in (1, 3) or not all(names):
        raise typer.BadParameter(f"{given!r} are not three bands, nor one", param_hint="--bands")
    return names


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
