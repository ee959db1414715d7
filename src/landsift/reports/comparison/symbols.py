"""The mark of each row of a comparison: one colour, shape and dash in the figure, the tables and the legend.

Colours alone do not distinguish eight lines for everyone, so neighbours in the list differ in shape as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from landsift import palette

COLOURS = tuple(colour for colour in palette.COLOURS if colour not in {"#ddaa33", "#88ccee", "#ee99aa", "#bbcc33"})
"""The palette without what is too pale for a thin line on white."""
ON_DARK = {
    "#332288": "#9b8cf2",
    "#117733": "#35a862",
    "#cc6677": "#de8391",
    "#882255": "#d0629d",
    "#aa4499": "#cf72c0",
    "#777777": "#a7aeb6",
    "#0077bb": "#3fa6e6",
    "#bb1122": "#f0606a",
    "#225522": "#7fae6b",
    "#004488": "#5f97dd",
    "#997700": "#c29a1f",
    "#663333": "#bb8080",
    "#222222": "#d6dae0",
}
"""What a dark page has in place of those that are too dark for it."""
SHAPES = {
    "circle": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
    "square": "M-4.5-4.5h9v9h-9z",
    "diamond": "M0-6L6 0L0 6L-6 0z",
    "cross": "M-2-5.5h4v3.5h3.5v4h-3.5v3.5h-4v-3.5h-3.5v-4h3.5z",
    "x": "M-5.3-2.5L-2.5-5.3L0-2.8L2.5-5.3L5.3-2.5L2.8 0L5.3 2.5L2.5 5.3L0 2.8L-2.5 5.3L-5.3 2.5L-2.8 0z",
    "star": "M0-6L1.5-1.9L5.8-1.9L2.4.8L3.6 5L0 2.5L-3.6 5L-2.4.8L-5.8-1.9L-1.5-1.9z",
}
"""Plotly's names of marker shapes, each as an SVG path between -6 and 6."""
DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class Mark:
    """How a row is drawn.

    Attributes:
        colour: `#rrggbb`.
        shape: one of `SHAPES`.
        dash: one of `DASHES`; a line that is not solid has hollow markers.
    """

    colour: str
    shape: str
    dash: str

    @property
    def hollow(self) -> bool:
        """Whether the marker is an outline."""
        return self.dash != "solid"

    @property
    def symbol(self) -> str:
        """Plotly's name of the marker."""
        return f"{self.shape}-open" if self.hollow else self.shape

    @property
    def path(self) -> str:
        """The marker as an SVG path between -6 and 6."""
        return SHAPES[self.shape]


def faint(colour: str) -> str:
    """The colour of a band around a line."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.13)"


def on_page(colour: str) -> str:
    """A mark's colour as a style sheet has it, on a light and on a dark page."""
    return f"light-dark({colour}, {ON_DARK[colour]})" if colour in ON_DARK else colour


DARK_MARKS = ON_DARK | {faint(light): faint(dark) for light, dark in ON_DARK.items()}
"""As `style.DARK`."""


def marks_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mark]:
    """A mark for each row by its name: colour and shape by strategy, dash by variant of the model.

    Where there is one strategy only, its variants have colours and shapes of their own.

    Args:
        rows: `name`, `strategy` and `variant` each.
    """
    main, other = ("strategy", "variant") if len({row["strategy"] for row in rows}) > 1 else ("variant", "strategy")
    mains, others = (list(dict.fromkeys(row[key] for row in rows)) for key in (main, other))
    shapes, marks = list(SHAPES), {}
    for row in rows:
        i, j = mains.index(row[main]), others.index(row[other])
        marks[row["name"]] = Mark(COLOURS[i % len(COLOURS)], shapes[i % len(shapes)], DASHES[j % len(DASHES)])
    return marks
