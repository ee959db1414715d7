"""`landsift map`: a scene classified patch by patch, as a raster of classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from landsift.cli.options import JsonOption, ModuleOption, RunArgument, reading

if TYPE_CHECKING:
    from landsift.mapping.class_areas import AreaCount


def map_scene(
    run: RunArgument,
    scene: Annotated[
        list[Path],
        typer.Argument(metavar="SCENE...", help="A raster, or the rasters of one scene's bands.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="MAP.tif", help="The map to write.", show_default=False)],
    stride: Annotated[
        int | None,
        typer.Option(
            "--stride",
            metavar="PIXELS",
            help="Side of a cell of the map. Less than a patch: the mean over all patches that cover a cell.  "
            "Default: a patch.",
            show_default=False,
        ),
    ] = None,
    min_valid: Annotated[
        float, typer.Option("--min-valid", metavar="SHARE", help="Of a patch's pixels that must have data.")
    ] = 0.9,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write the probabilities of all classes beside the map.")
    ] = False,
    entropy: Annotated[bool, typer.Option("--entropy", help="Write their entropy beside the map.")] = False,
    no_tta: Annotated[
        bool, typer.Option("--no-tta", help="Without test-time augmentation, which takes eight times as long.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", "-s", metavar="KEY=VALUE", help="How the files are read, such as data.sensor=sentinel2_l2a."
        ),
    ] = None,
    module: ModuleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Map a scene: classify it patch by patch and write a raster of classes.

    MAP.tif is a Cloud-Optimized GeoTIFF with the class and its confidence in
    per cent; names and colours are in it. MAP.areas.csv has the hectares.
    A cell with too few valid pixels has no class.
    """
    from landsift.cli.printing import print_result
    from landsift.mapping.make import map_scene as make
    from landsift.reports.maps.page import write_map_page

    made = make(
        run, scene, out, stride=stride, min_valid=min_valid, probabilities=probabilities, entropy=entropy,
        tta=not no_tta, reading=reading(settings or (), "in a map"), module=module,
    )  # fmt: skip
    page = write_map_page(made.path)
    areas = made.areas
    rows = [
        {"class": name, "cells": int(cells), "hectares": float(hectares), "share": float(share)}
        for name, cells, hectares, share in zip(
            ["no data", *areas.classes.names], areas.cells, areas.hectares, areas.shares, strict=True
        )
    ]
    result = {
        "map": str(made.path), "page": str(page), "stride": made.stride, "patches": made.patches,
        "seconds": round(made.seconds, 3), "areas": rows,
    }  # fmt: skip
    print_result(result, [*_lines(areas), "", f"map   {made.path}", f"page  {page}"], as_json=as_json)


def _lines(areas: AreaCount) -> list[str]:
    names = areas.classes.names
    width = max(map(len, [*names, "no data"]))
    lines = [f"{'':<{width}}  {'cells':>11}  {'hectares':>15}   share"]
    for code in sorted(range(1, len(names) + 1), key=lambda code: -areas.cells[code]):
        if areas.cells[code]:
            lines.append(
                f"{names[code - 1]:<{width}}  {areas.cells[code]:>11,}  {areas.hectares[code]:>15,.2f}  "
                f"{100 * areas.shares[code]:5.1f} %"
            )
    lines.append(f"{'no data':<{width}}  {areas.cells[0]:>11,}  {areas.hectares[0]:>15,.2f}")
    return lines
