"""What the figures of a page have in common: colours, layout, axes, and escaped names.

A figure is the dict that plotly.js draws (`data`, `layout`, `frames`). Plotly's Python classes would check and copy
each of its values, which took most of the time that a page takes; the tests pass the dicts through those classes.
"""

from __future__ import annotations

from html import escape
from typing import Any

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
INK, QUIET, GRID, PAPER = "#1f2933", "#616e7c", "#e4e7eb", "#ffffff"
ACCENT, SECOND, WARM = "#1d5c96", "#94a3b8", "#c2571a"
"""Validation or test; the series beside it; what should be noticed."""
SOFT, PALE = "#7fb0d8", "#c3d0dd"
"""Lighter than `ACCENT`: further series of the same kind."""
EDGE = "rgba(255,255,255,0)"
"""The edge of a marker in a class's colour: it is seen on a dark page alone, where some classes are as dark."""
DARK = {
    INK: "#e4e8ee",
    QUIET: "#a3b1c0",
    GRID: "#333e4a",
    PAPER: "#1a2129",
    ACCENT: "#6db3f2",
    SECOND: "#8795a6",
    WARM: "#f0965a",
    SOFT: "#3f78a8",
    PALE: "#47566a",
    EDGE: "rgba(255,255,255,0.55)",
    "rgba(29,92,150,0.15)": "rgba(109,179,242,0.22)",
}
"""What figures have on a dark page in place of a colour (figures.js); paper is as `--paper` in style.css."""

Figure = dict[str, Any]


def layout_of(height: int, **more: Any) -> dict[str, Any]:
    """What all figures have in common, and `more`."""
    return {
        "autotypenumbers": "strict",  # a class called "1" is a name
        "font": {"family": FONT, "size": 13, "color": INK},
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1 + 24 / height, "yanchor": "bottom"},
        "height": height,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": SECOND, "activecolor": ACCENT},
        "hoverlabel": {"font": {"family": FONT, "size": 13}, "align": "left"},
        **more,
    }


def axis_of(title: str | None = None, **axis: Any) -> dict[str, Any]:
    """What all axes have in common, and `axis`."""
    if title:
        axis["title"] = {"text": title, "font": {"size": 13, "color": QUIET}, "standoff": 15}
    return {"automargin": True, "ticks": "", "gridcolor": GRID, "zeroline": False, **axis}


def text(name: object) -> str:
    """A name as Plotly's text, which reads a few HTML tags: shown as it is written."""
    return escape(str(name), quote=False)
