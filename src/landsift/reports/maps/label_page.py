"""The page to label a sample: one HTML file that works offline, with the pictures of each place.

It holds nothing of what the map says of a place: no class, and no stratum.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from landsift.mapping.change_tables import ARROW
from landsift.mapping.sample_design import LABELLED, SampleDesign, design_path, page_path
from landsift.palette import class_colours
from landsift.reports.document import render, script_safe
from landsift.reports.maps.place_pictures import ScenePictures
from landsift.reports.wording import moment
from landsift.runtime.whole import write_whole
from landsift.version import __version__

KEYS = "123456789abcdefghijklmopqrstuvwyz"
"""Of classes; x is "cannot tell"."""


def write_label_page(points: Path, html: str) -> Path:
    """Write the page beside its points; returns its path.

    Raises:
        RunError: it cannot be written.
    """
    page = page_path(points)
    write_whole(page, lambda partial: partial.write_text(html, encoding="utf-8"))
    return page


def label_html(design: SampleDesign, points: Path, pictures: Sequence[ScenePictures] = ()) -> str:
    """The page to label the points of a sample, as HTML.

    Args:
        design: of the sample.
        points: the file of the points.
        pictures: of all points, by scene.
    """
    parts = parts_of([each.name for each in design.classes])
    names = parts or tuple(each.name for each in design.classes)
    colours = class_colours(names)
    questions = _questions(pictures) if parts else [""]
    saved = points.stem + LABELLED
    table = design.table()
    data = {
        "key": design.key,
        "file": saved,
        "arrow": ARROW,
        "questions": questions,
        "classes": [
            {"name": name, "colour": colours[name], "key": KEYS[i] if i < len(KEYS) else ""}
            for i, name in enumerate(names)
        ],
        "scenes": [{"name": each.name, "date": each.date} for each in pictures],
        "points": [
            {
                "id": point.id,
                **{name: _finite(table[name].iloc[i]) for name in ("lon", "lat", "x", "y")},
                "pictures": [_picture(each, i) for each in pictures],
            }
            for i, point in enumerate(design.points)
        ],
    }
    map_name = design.map
    return render(
        "label.html",
        {},
        version=__version__,
        created=moment({}),
        title=f"Label {len(design.points):,} places",
        subtitle=f"A random sample of {map_name}" + (f", of {design.when[:10]}" if design.when and not parts else ""),
        data=script_safe(data),
        count=len(design.points),
        keyed=len(names) <= len(KEYS),
        two=bool(parts),
        metres=_metres(design),
        has_pictures=bool(pictures),
        saved=saved,
        design=design_path(points).name,
        command=f"landsift areas {_word(map_name)} {_word(saved)}",
        add=f"landsift sample {_word(map_name)} --out {_word(points.name)} --page-only --scene 2024-06-30=SCENE.tif",
    )


def parts_of(names: Sequence[str]) -> tuple[str, ...] | None:
    """The K classes of which names are the K × K transitions (`transition_classes`); None: they are not transitions."""
    K = math.isqrt(len(names))
    if K < 2 or len(names) != K**2:
        return None
    parts = tuple(name[: (len(name) - len(ARROW)) // 2] for name in names[:: K + 1])  # of "Forest → Forest"
    return parts if list(names) == [f"{one}{ARROW}{other}" for one in parts for other in parts] else None


def _word(name: str) -> str:
    """A file's name as a shell takes it; in double quotes where it can, which Windows knows as well."""
    if re.fullmatch(r"[\w.,+@%:=-]+", name) and not name.startswith("-"):
        return name
    return shlex.quote(name) if re.search(r'["$`\\!]', name) else f'"{name}"'


def _questions(pictures: Sequence[ScenePictures]) -> list[str]:
    """What the two classes of a transition are called."""
    if len(pictures) < 2 or not (pictures[0].date and pictures[-1].date) or pictures[0].date == pictures[-1].date:
        return ["Before", "After"]
    return [f"Before, {pictures[0].date}", f"After, {pictures[-1].date}"]


def _picture(scene: ScenePictures, i: int) -> dict[str, Any] | None:
    found = scene.pictures[i]
    return None if found is None else {"data": found.data, "outline": [list(each) for each in found.outline]}


def _finite(value: float) -> float | None:
    """A coordinate for JSON, which has no infinity: that of a place beyond the Earth's edge."""
    return float(value) if math.isfinite(value) else None


def _metres(design: SampleDesign) -> str:
    """The side of a cell in words; "" where cells are not squares of one size."""
    from pyproj import CRS

    a, b, _, d, e, _ = design.transform
    sides = [math.sqrt(point.hectares * 10_000) for point in design.points]
    if CRS(design.crs).is_geographic or b or d or abs(abs(a / e) - 1) > 0.01 or max(sides) > 1.05 * min(sides):
        return ""
    side = sum(sides) / len(sides)
    return f"{side:,.0f} m" if side >= 100 else f"{side:.3g} m"
