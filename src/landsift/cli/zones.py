"""`landsift zones`: areas of a map's classes per polygon."""

from __future__ import annotations

import math
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any

import typer

from landsift.cli.options import JsonOption, MapArgument
from landsift.errors import DataError, plain
from landsift.runtime.outputs import check_file, check_outside

SHOWN = 20
"""Zones that are printed; all are in the table."""
LONGEST = 60
"""Letters of a name that are printed."""


def zones(
    map_path: MapArgument,
    polygons: Annotated[
        Path, typer.Argument(metavar="POLYGONS", help="A GeoPackage, GeoJSON or Shapefile.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The table to write: .csv or .gpkg.", show_default=False)
    ],
    column: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="COLUMN", help="The column that names the zones.  Default: 1, 2, ...", show_default=False
        ),
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", metavar="LAYER", help="Of a file of several layers.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Areas of a map's classes per polygon: hectares and shares.

    MAP is any raster of whole numbers whose classes have names in it: a raster
    attribute table or category names. A cell that a border cuts counts by the
    part inside.
    """
    import landsift.mapping.beyond_maps  # noqa: F401
    from landsift.cli.printing import print_result
    from landsift.mapping.zone_files import check_geopackage
    from landsift.mapping.zones import ZONE, write_zones, zone_areas

    if out.suffix.lower() not in {".csv", ".gpkg"}:
        raise DataError(f"--out {out} is neither .csv nor .gpkg", "give it a name that ends in one of them")
    check_file(out)
    check_outside(out, [map_path, polygons], hint="give --out another name")
    check_geopackage(out)
    table = zone_areas(map_path, polygons, column=column, layer=layer)
    write_zones(table, out)
    classes = [name.removesuffix(" ha") for name in table.columns if name.endswith(" ha")]
    rows = table.drop(columns="geometry").to_dict("records")
    result = {"out": str(out), "map": str(map_path), "classes": classes, "zones": [_plain(row) for row in rows]}
    names = [shorten(plain(str(row[ZONE])), LONGEST, placeholder="…") for row in rows[:SHOWN]]
    width = max(map(len, [ZONE, *names]))
    lines = [f"{ZONE:<{width}}  {'hectares':>14}  {'no data':>9}  {'outside':>9}  largest classes"]
    for row, name in zip(rows[:SHOWN], names, strict=True):
        gone = [_per_cent(row[part], row["hectares"]) for part in ("no data", "outside")]
        lines.append(f"{name:<{width}}  {row['hectares']:>14,.2f}  {gone[0]}  {gone[1]}  {_largest(row, classes)}")
    if len(rows) > SHOWN:
        lines.append(f"and {len(rows) - SHOWN} more")
    print_result(result, [*lines, "", str(out)], as_json=as_json)


def _per_cent(part: float, whole: float) -> str:
    return f"{100 * part / whole:>7.1f} %" if whole else f"{'–':>9}"


def _largest(row: dict[str, Any], classes: list[str]) -> str:
    shares = sorted(((row[f"{name} share"], name) for name in classes if row[f"{name} ha"] > 0), reverse=True)
    return ", ".join(f"{name} {share:.1%}" for share, name in shares[:3]) or "none"


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row for JSON, which has no NaN."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
