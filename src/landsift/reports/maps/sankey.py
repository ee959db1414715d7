"""A Sankey diagram of classes over dates, as SVG: a few kilobytes, where plotly's script has 4.8 MB.

It prints, scales, and is read without a script; what a flow is stands in its title.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from landsift.mapping.change_tables import ARROW
from landsift.mapping.classes import ClassTable
from landsift.reports.wording import hectares, percent

WIDTH, TOP, MARGIN, BAR, GAP, LINE = 960, 30, 170, 12, 7, 15
"""In units of the drawing: its width, the room for dates, that for names at both sides, the width of a bar, the room
between two, and the height of a line of text."""
LEAST = 0.0005
"""Share of the area that a flow has at least to be drawn."""
LONGEST_NAME = 20
LETTER = 7.5
"""Width of a letter."""


@dataclass(frozen=True)
class Sankey:
    """A diagram and what is not in it.

    Attributes:
        svg: the drawing.
        small: flows that are too small to be drawn.
    """

    svg: str
    small: int


def sankey(dates: Sequence[str], flows: Sequence[NDArray[np.float64]], classes: ClassTable) -> Sankey:
    """Draw the flows between classes from date to date.

    Args:
        dates: D names.
        flows: D - 1 matrices of hectares [K, K], rows: the class before.
        classes: K.
    """
    bars = np.array([flows[0].sum(axis=1), *(flow.sum(axis=0) for flow in flows)])  # hectares [D, K]
    total = float(bars[0].sum())
    there = np.flatnonzero(bars.sum(axis=0) > 0)
    order = there[np.argsort(-bars[:, there].sum(axis=0), kind="stable")]
    height = max(220, 26 * len(order))
    unit = (height - GAP * (len(order) - 1)) / total
    step = (WIDTH - 2 * MARGIN - BAR) / (len(dates) - 1)
    lefts = [MARGIN + step * date for date in range(len(dates))]
    tops = [_tops(bars[date], order, unit) for date in range(len(dates))]
    parts, small = [], 0
    for date, flow in enumerate(flows):
        begins, ends = dict(tops[date]), dict(tops[date + 1])
        for before in order:
            for after in order:
                amount = float(flow[before, after])
                if amount < LEAST * total:
                    small += amount > 0
                else:
                    title = f"{classes[before].name}{ARROW}{classes[after].name}: {_said(amount, total)}"
                    parts.append(
                        _ribbon(
                            (lefts[date] + BAR, begins[before]),
                            (lefts[date + 1], ends[after]),
                            amount * unit,
                            classes[after].colour,
                            0.12 if before == after else 0.6,
                            title,
                        )
                    )
                begins[before] += amount * unit
                ends[after] += amount * unit
    crowded = step < LETTER * max(map(len, dates))  # then every other date stands in a line of its own
    for date, name in enumerate(dates):
        parts += _column(lefts[date], tops[date], bars[date], unit, total, classes)
        anchor = "start" if date == 0 else "end" if date == len(dates) - 1 else "middle"
        x = lefts[date] + {"start": 0, "middle": BAR / 2, "end": BAR}[anchor]
        text = escape(_short(name, max(6, int(2 * step / LETTER)))) if crowded else escape(name)
        y = (11 if date % 2 else 25) if crowded else 14
        parts.append(
            f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" class="date">{text}<title>{escape(name)}</title></text>'
        )
    left, lowest = _names(MARGIN - 8, "end", tops[0], bars[0], unit, classes)
    right, lower = _names(WIDTH - MARGIN + 8, "start", tops[-1], bars[-1], unit, classes)
    whole = round(max(TOP + height + 2, lowest + 6, lower + 6))
    label = f"Flows between classes from {dates[0]} to {dates[-1]}"
    drawing = "".join([*parts, *left, *right])
    return Sankey(
        f'<svg class="sankey" viewBox="0 0 {WIDTH} {whole}" role="img" aria-label="{escape(label)}">{drawing}</svg>',
        small,
    )


def _tops(bars: NDArray[np.float64], order: NDArray[np.intp], unit: float) -> dict[int, float]:
    """Where the bar of each class begins; a class that is not there at a date takes no room but the gap."""
    found, y = {}, float(TOP)
    for k in order.tolist():
        found[k] = y
        y += float(bars[k]) * unit + GAP
    return found


def _said(amount: float, total: float) -> str:
    return f"{hectares(amount)} ha, {percent(amount / total, 1)}"


def _ribbon(
    begin: tuple[float, float], end: tuple[float, float], thick: float, colour: str, opacity: float, title: str
) -> str:
    (x0, y0), (x1, y1) = begin, end
    middle = (x0 + x1) / 2
    return (
        f'<path d="M{x0:.1f} {y0:.1f}C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}'
        f"V{y1 + thick:.1f}C{middle:.1f} {y1 + thick:.1f} {middle:.1f} {y0 + thick:.1f} {x0:.1f} {y0 + thick:.1f}Z"
        f'" fill="{colour}" fill-opacity="{opacity}"><title>{escape(title)}</title></path>'
    )


def _column(
    x: float, tops: dict[int, float], bars: NDArray[np.float64], unit: float, total: float, classes: ClassTable
) -> list[str]:
    return [
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{BAR}" height="{max(1.0, bars[k] * unit):.1f}" '
        f'fill="{classes[k].colour}"><title>{escape(classes[k].name)}: {_said(float(bars[k]), total)}</title></rect>'
        for k, y in tops.items()
        if bars[k] > 0
    ]


def _names(
    x: float, anchor: str, tops: dict[int, float], bars: NDArray[np.float64], unit: float, classes: ClassTable
) -> tuple[list[str], float]:
    """Names beside the bars of a date, a line apart at least, and where the last one stands."""
    parts, last = [], float("-inf")
    for k, y in tops.items():
        if not bars[k]:
            continue
        last = max(y + float(bars[k]) * unit / 2 + 4, last + LINE)
        name = classes[k].name
        text = f"{escape(_short(name, LONGEST_NAME))}<title>{escape(name)}</title>"
        parts.append(f'<text x="{x}" y="{last:.1f}" text-anchor="{anchor}">{text}</text>')
    return parts, last


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
