"""The page of a map: one HTML file that works offline, with a map that moves and zooms, areas, uncertain places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift.mapping.certainty import Certainty, Uncertain, certainty
from landsift.mapping.class_areas import AreaCount, area_rows, count_areas
from landsift.mapping.map_file import read_info
from landsift.mapping.map_info import MapInfo
from landsift.mapping.map_place import beside_map
from landsift.mapping.trust_raster import TrustCount, count_trust
from landsift.reports.csv_text import csv_rows, csv_text
from landsift.reports.document import render, script_safe
from landsift.reports.maps import maplibre
from landsift.reports.maps.layers import LONGEST, Backdrop, backdrop_of, map_layers
from landsift.reports.maps.maplibre import Plane
from landsift.reports.wording import hectares, moment, percent
from landsift.runtime.whole import write_whole
from landsift.version import __version__

if TYPE_CHECKING:
    from landsift.mapping.scenes import Scene

JUDGED = (
    ("one class in the set", "#c6dbef"),
    ("several classes in the set", "#f0c94b"),
    ("the model abstains", "#e0701e"),
    ("out of distribution", "#7a308c"),
)
"""What is said of cells, in the order of `trust_raster.ONE` to `OOD`, with the colours of `templates/map.js`."""


PLACE = ("confidence", "longitude", "latitude", "x", "y", "row", "column")


def write_map_page(path: Path | str, backdrop: Backdrop | None = None) -> Path:
    """Write MAP.html beside a map; returns its path.

    Args:
        path: of the map.
        backdrop: a picture of the scene, from `backdrop_of`.

    Raises:
        DataError: the map cannot be read.
        RunError: the page cannot be written.
    """
    page = beside_map(Path(path), "html")
    html = map_html(read_info(path), backdrop)
    write_whole(page, lambda partial: partial.write_text(html, encoding="utf-8"))
    return page


def write_page_of(path: Path, scene: Scene) -> None:
    """Write MAP.html beside a map, over the picture of its scene if that was kept; a `finish` of `make.mapped`."""
    write_map_page(path, None if scene.sketch is None else backdrop_of(scene.sketch))


def map_html(info: MapInfo, backdrop: Backdrop | None = None) -> str:
    """The page of a map as HTML, self-contained: about 1 MB, and the pixels of the map.

    Raises:
        DataError: the map cannot be read.
    """
    areas, sure, plane = count_areas(info), certainty(info), Plane.of(info.grid)
    places = sure.places if sure else ()
    layers = map_layers(info, plane, backdrop)
    layers["places"] = [plane.degrees(place.x, place.y) for place in places]
    return render(
        "map.html",
        {},
        _tables(info, areas, places),
        version=__version__,
        created=moment({}),
        title=info.path.stem,
        subtitle=_subtitle(info),
        policy=maplibre.POLICY,
        map_script=maplibre.script(),
        map_style=maplibre.style(),
        layers=script_safe(layers),
        has_scene=backdrop is not None,
        has_confidence=sure is not None,
        known=areas.known,
        legend=sorted(_rows(info, areas, sure), key=lambda row: -row["amount"]),
        rows=_rows(info, areas, sure),
        judged=_judged(count_trust(info)),
        total=_total(areas),
        empty=_empty(areas),
        places=[_place(info, place) for place in places],
        reduced=_reduced(info, layers["shape"]),
        facts_rows=_facts(info),
    )


def _tables(info: MapInfo, areas: AreaCount, places: Sequence[Uncertain]) -> dict[str, str]:
    """The tables that the page saves, by file name."""
    found = {"areas.csv": csv_rows(area_rows(areas))}
    if places:
        rows = (asdict(place) | {"class": info.classes[place.code - 1].name} for place in places)
        found["places.csv"] = csv_text(("class", *PLACE), rows)
    return found


def _rows(info: MapInfo, areas: AreaCount, sure: Certainty | None) -> list[dict[str, Any]]:
    shares = areas.shares
    return [
        {
            "code": each.code,
            "name": each.name,
            "colour": each.colour,
            "cells": f"{areas.cells[each.code]:,}",
            "hectares": hectares(areas.hectares[each.code]) if areas.known else "–",
            "share": percent(shares[each.code], 1),
            "amount": float(shares[each.code]),
            "confidence": percent(sure.mean[each.code], 0) if sure and areas.cells[each.code] else "–",
        }
        for each in info.classes
    ]


def _judged(count: TrustCount | None) -> list[dict[str, str]]:
    """Of a map of a model with thresholds: what its sets are like, where it abstains, what is out of distribution."""
    if count is None:
        return []
    amounts = (count.cells - count.several, count.several, count.abstained, count.ood)
    return [
        {
            "name": name,
            "colour": colour,
            "cells": "not known" if amount is None else f"{amount:,}",
            "share": "–" if amount is None else percent(amount / max(1, count.cells), 1),
        }
        for (name, colour), amount in zip(JUDGED, amounts, strict=True)
    ]


def _total(areas: AreaCount) -> dict[str, str]:
    return {
        "cells": f"{areas.cells[1:].sum():,}",
        "hectares": hectares(float(areas.hectares[1:].sum())) if areas.known else "–",
    }


def _empty(areas: AreaCount) -> dict[str, str]:
    return {
        "cells": f"{areas.cells[0]:,}",
        "hectares": hectares(float(areas.hectares[0])) if areas.known else "–",
        "share": percent(areas.cells[0] / max(1, areas.cells.sum()), 1),
    }


def _place(info: MapInfo, place: Uncertain) -> dict[str, Any]:
    digits = 6 if info.grid.crs is not None and info.grid.crs.geographic else 0
    there = "–"
    if math.isfinite(place.latitude) and math.isfinite(place.longitude):
        north, east = "N" if place.latitude >= 0 else "S", "E" if place.longitude >= 0 else "W"
        there = f"{abs(place.latitude):.5f}° {north}, {abs(place.longitude):.5f}° {east}"
    each = info.classes[place.code - 1]
    return {
        "name": each.name,
        "colour": each.colour,
        "confidence": percent(place.confidence, 0),
        "there": there,
        "x": f"{place.x:.{digits}f}",
        "y": f"{place.y:.{digits}f}",
    }


def _subtitle(info: MapInfo) -> str:
    parts = [", ".join(info.scenes[:3]) + (f" and {len(info.scenes) - 3} more" if len(info.scenes) > 3 else "")]
    parts.append(f"{info.when:%Y-%m-%d %H:%M} UTC" if info.when else "")
    parts.append(f"{info.grid.width:,} × {info.grid.height:,} cells")
    return " · ".join(filter(None, parts))


def _reduced(info: MapInfo, shape: list[int]) -> str:
    """What is to be said where the page shows fewer pixels than the map has cells."""
    factor = max(info.grid.shape) / max(shape)
    if factor <= 1:
        return ""
    return (
        f"The page shows at most {LONGEST:,} pixels a side: each stands for about {factor:.1f} × {factor:.1f} cells, "
        "with their most frequent class and mean confidence. Areas and places are those of all cells."
    )


def _facts(info: MapInfo) -> list[tuple[str, str]]:
    about, crs = info.about, info.grid.crs
    side = f"{about.stride} pixels" if about.stride else ""
    if about.stride and about.gsd:
        side += f", {about.stride * about.gsd:g} m"
    rows = [
        ("File", info.path.name),
        ("Scenes", ", ".join(about.scenes)),
        ("Acquired", f"{about.when:%Y-%m-%d %H:%M} UTC" if about.when else "not known"),
        ("CRS", "none" if crs is None else f"EPSG:{crs.epsg}" if crs.epsg else crs.to_wkt()[:120]),
        ("Cell", side),
        ("Patch", f"{about.patch} pixels" if about.patch else ""),
        ("Ground sampling distance", f"{about.gsd:g} m" if about.gsd else ""),
        ("Model", about.model or ""),
        ("Run", about.run or ""),
        ("Test-time augmentation", about.tta or ""),
        ("Mode", "dense" if about.dense else "patch by patch" if info.own else ""),
        ("Smoothing", (about.smoothing or "none") if info.own else ""),
        ("Mask", about.mask or ""),
        ("Valid pixels", f"at least {percent(about.min_valid, 0)} of a patch" if about.min_valid is not None else ""),
        ("landsift", about.landsift if info.own else ""),
    ]
    return [(name, value) for name, value in rows if value]
