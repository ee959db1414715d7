"""The page of a change: one HTML file that works offline, with a swipe between the dates, transitions and flows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landsift.mapping.change import CAUTION, MapChange, tables_of
from landsift.mapping.transitions import Trajectory
from landsift.reports.document import render, script_safe
from landsift.reports.maps import maplibre
from landsift.reports.maps.change_layers import change_layers, dates_of
from landsift.reports.maps.sankey import sankey
from landsift.reports.wording import hectares, moment, number_of, percent
from landsift.version import __version__

NAME = "change.html"
MOST_TRAJECTORIES = 20


def write_change_page(folder: Path, change: MapChange) -> None:
    """Write change.html into a folder that nobody else writes to.

    Raises:
        DataError: a map cannot be read.
        OSError: the page cannot be written.
    """
    (folder / NAME).write_text(change_html(change), encoding="utf-8")


def change_html(change: MapChange) -> str:
    """The page of a change as HTML, self-contained: about 1 MB, and the pixels of the maps.

    Raises:
        DataError: a map cannot be read.
    """
    dates = dates_of(change.maps)
    layers = change_layers(change, dates)
    through = len(dates) > 2 and bool(change.trajectories)
    flows = sankey(dates if through else [dates[0], dates[-1]], _flows(change), change.classes)
    return render(
        "change.html",
        {},
        {name: table.to_csv(index=False) for name, table in tables_of(change).items()},
        version=__version__,
        created=moment({}),
        title=f"{dates[0]} to {dates[-1]}",
        subtitle=f"Change between {len(dates)} maps · {_cells(change)}",
        policy=maplibre.POLICY,
        map_script=maplibre.script(),
        map_style=maplibre.style(),
        layers=script_safe(layers),
        dates=dates,
        first=dates[0],
        last=dates[-1],
        figures=_figures(change),
        limit=None if change.confidence is None else f"{change.confidence:g}",
        caution=CAUTION,
        classes=change.classes.classes,
        sankey=flows.svg,
        small=number_of(flows.small, "flow") if flows.small else "",
        through=through,
        matrix=_matrix(change),
        rows=_rows(change),
        trajectories=[_trajectory(change, each) for each in change.trajectories[:MOST_TRAJECTORIES]],
        trajectories_more=max(0, len(change.trajectories) - MOST_TRAJECTORIES),
        several=len(dates) > 2,
        reduced=_reduced(layers["step"]),
        maps=_maps(change, dates),
    )


def _cells(change: MapChange) -> str:
    grid = change.maps[0].grid
    return f"{grid.width:,} × {grid.height:,} cells"


def _figures(change: MapChange) -> list[tuple[str, str, str]]:
    """What is said first: name, hectares, and more."""
    share = f"{percent(change.changed / change.compared, 1)} of the compared area"
    found = [
        ("changed", hectares(change.changed), share),
        ("compared", hectares(change.compared), "classified at both dates"),
    ]
    if change.confidence is not None:
        part = change.uncertain / change.changed if change.changed else 0.0
        low = f"{percent(part, 1)} of the changed area: confidence below {change.confidence:g} at one date"
        found.insert(1, ("changed, of low confidence", hectares(change.uncertain), low))
    one = change.matrix.one_sided
    if one:
        found.append(("in one map only", hectares(one), "no class at one of the dates: not compared"))
    return found


def _flows(change: MapChange) -> list[NDArray[np.float64]]:
    """Hectares from class to class, from each date to the next; over all dates where there are trajectories."""
    if not change.trajectories:
        return [change.matrix.hectares]
    K, steps = len(change.classes), len(change.maps) - 1
    flows = [np.zeros((K, K)) for _ in range(steps)]
    for each in change.trajectories:
        for step in range(steps):
            flows[step][each.codes[step] - 1, each.codes[step + 1] - 1] += each.hectares
    return flows


def _matrix(change: MapChange) -> dict[str, Any]:
    """The from-to matrix of the classes that occur, its cells with the depth of their colour."""
    values = change.matrix.hectares
    there = np.flatnonzero(values.sum(axis=0) + values.sum(axis=1))
    total = values.sum()
    others = values * (1 - np.eye(len(values)))
    most = max(others.max(), np.finfo(float).tiny)
    return {
        "classes": [change.classes[k] for k in there.tolist()],
        "rows": [
            {
                "of": change.classes[a],
                "cells": [
                    {
                        "hectares": hectares(float(values[a, b])),
                        "share": percent(values[a, b] / total, 1),
                        "zero": not values[a, b],
                        "same": a == b,
                        "depth": f"{0.55 * (others[a, b] / most) ** 0.5:.2f}",
                    }
                    for b in there.tolist()
                ],
                **_sum(values[a].sum(), total),
            }
            for a in there.tolist()
        ],
        "totals": [_sum(values[:, b].sum(), total) for b in there.tolist()],
        "total": hectares(float(total)),
        "left_out": number_of(len(values) - len(there), "class", "classes") if len(there) < len(values) else "",
    }


def _sum(amount: float, total: float) -> dict[str, str]:
    return {"hectares": hectares(float(amount)), "share": percent(amount / total, 1)}


def _rows(change: MapChange) -> list[dict[str, Any]]:
    margins, values = change.matrix.margins(), change.matrix.hectares
    return [
        {
            "of": each,
            "first": hectares(float(values[k].sum())),
            "last": hectares(float(values[:, k].sum())),
            "net": _signed(float(margins["net"][k])),
            **{name: hectares(float(margins[name][k])) for name in ("gain", "loss", "swap", "persistence")},
        }
        for k, each in enumerate(change.classes)
        if values[k].sum() or values[:, k].sum()
    ]


def _signed(amount: float) -> str:
    if not amount:
        return "0"
    return ("+" if amount > 0 else "−") + hectares(abs(amount))


def _trajectory(change: MapChange, each: Trajectory) -> dict[str, Any]:
    total = sum(one.hectares for one in change.trajectories)
    return {
        "classes": [change.classes[code - 1] for code in each.codes],
        "hectares": hectares(each.hectares),
        "share": percent(each.hectares / total, 1),
        "returns": each.returns,
    }


def _reduced(step: int) -> str:
    if step == 1:
        return ""
    return (
        f"The map is large: this page shows one of {step} × {step} cells, the middle one. Narrow changes may not be "
        f"seen in it. Figures are those of all cells, if none stands with “about”."
    )


def _maps(change: MapChange, dates: Sequence[str]) -> list[dict[str, str]]:
    return [
        {
            "date": date,
            "file": each.path.name,
            "scenes": ", ".join(each.scenes) or "–",
            "method": f"model {each.model}" if each.model else "landsift" if each.own else "another tool",
            "outside": hectares(outside) if outside else "–",
        }
        for date, each, outside in zip(dates, change.maps, change.outside, strict=True)
    ]
