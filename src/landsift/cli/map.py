"""`landsift map`: a scene classified patch by patch, as a raster of classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from landsift.cli.options import reading
from landsift.cli.printing import print_result
from landsift.mapping.class_areas import AreaCount


def map_scene(
    run: Path,
    scene: Sequence[Path],
    out: Path,
    *,
    stride: int | None,
    min_valid: float,
    probabilities: bool,
    entropy: bool,
    tta: bool,
    settings: Iterable[str],
    module: str | None,
    as_json: bool,
) -> None:
    """Map the scene and print what is in the map."""
    from landsift.mapping.make import map_scene as make
    from landsift.reports.maps.page import write_map_page

    made = make(
        run, scene, out, stride=stride, min_valid=min_valid, probabilities=probabilities, entropy=entropy, tta=tta,
        reading=reading(settings, "in a map"), module=module,
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
