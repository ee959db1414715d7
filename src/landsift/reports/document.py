"""Rendering of every page: its template, its figures, and all that lets it work offline.

Plotly's Python package carries one bundle of plotly.js, the full one (4.8 MB minified); it stands in a page once, so
a page is about 5 MB. A content security policy forbids the page every request. All names and paths are escaped:
Jinja2 escapes the page's text, and figures are JSON in which `<`, `>` and `&` cannot occur.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from landsift.reports.style import DARK, Figure

if TYPE_CHECKING:
    import jinja2

PLOT_CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "showSendToCloud": False,  # Plotly's default is a button that uploads the figure
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "svg"},
}


def render(
    template: str,
    plots: Mapping[str, tuple[Figure, str]],
    tables: Mapping[str, str] | None = None,
    dark: Mapping[str, str] | None = None,
    **values: Any,
) -> str:
    """A page from a template of `templates/`.

    Args:
        template: Its file name; it extends base.html.
        plots: Figures with what they show in words, by the name of their place in the template.
        tables: Text of CSV tables by file name, which the page saves for whoever presses `download(name)`.
        dark: Further colours of the figures and what a dark page has in their place, as `style.DARK`.
        values: What else the template names.
    """
    return (
        _environment()
        .get_template(template)
        .render(
            **values,
            plots={name: _plot(name, *plot) for name, plot in plots.items()},
            tables={name: script_safe(text) for name, text in (tables or {}).items()},
            plotly_js=(files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8"),
            plot_config=json.dumps(PLOT_CONFIG),
            dark=json.dumps(DARK | dict(dark or {})),
        )
    )


def _plot(name: str, figure: Figure, description: str) -> str:
    """A place for a figure, of the figure's height, and its data as JSON that is safe inside a script."""
    data, height = script_safe(figure), figure["layout"]["height"]
    return (
        f'<div class="plot" id="plot-{name}" role="group" aria-label="{description}" '
        f'style="height:{height}px"></div>\n'
        f'<script type="application/json" data-figure="plot-{name}">{data}</script>'
    )


def script_safe(value: Mapping[str, Any] | str) -> str:
    """JSON that is safe inside a script."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("landsift.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
