"""The figures of a search's page, as dicts that plotly.js draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from landsift.reports.style import ACCENT, PALE, SECOND, WARM, Figure, axis_of, layout_of, text

Trials = Sequence[Mapping[str, Any]]
HEIGHT, SMALL = 340, 230
STATES = {"done": ("trained to the end", ACCENT), "pruned": ("ended early", PALE), "stopped": ("out of time", SECOND)}
"""Of trials that have an accuracy: words and colour."""


def history_figure(trials: Trials, chosen: int) -> Figure:
    """Validation accuracy of each trial in the order in which they were tried, and the best so far.

    Args:
        trials: as metrics.json has them.
        chosen: number of the trial that is chosen.
    """
    traces: list[dict[str, Any]] = []
    done = [trial for trial in trials if trial["state"] == "done"]
    best = list(accumulate((trial["accuracy"] for trial in done), max))
    traces.append(
        {
            **{"type": "scatter", "mode": "lines", "name": "best so far", "hoverinfo": "skip"},
            "x": [trial["number"] + 1 for trial in done],
            "y": [_percent(value) for value in best],
            "line": {"color": SECOND, "width": 2, "shape": "hv"},
        }
    )
    for state, (words, colour) in STATES.items():
        of_state = [trial for trial in trials if trial["state"] == state and trial["accuracy"] is not None]
        if of_state:
            traces.append(_points(words, colour, [t["number"] + 1 for t in of_state], of_state, 8))
    marked = [trial for trial in done if trial["number"] == chosen]
    traces.append(_points("chosen", WARM, [t["number"] + 1 for t in marked], marked, 13) | {"hoverinfo": "skip"})
    traces[-1]["marker"] |= {"symbol": "circle-open", "line": {"width": 2.5, "color": WARM}}
    last = len(trials)
    layout = layout_of(
        HEIGHT,
        hovermode="closest",
        xaxis=axis_of("trial", range=[0.4, last + 0.6], dtick=1 if last <= 15 else None, tickformat="d"),
        yaxis=axis_of("validation accuracy, %"),
    )
    return {"data": traces, "layout": layout}


def slice_figure(trials: Trials, name: str, dimension: Mapping[str, Any]) -> Figure:
    """Validation accuracy of the trials over the values of one dimension.

    Args:
        trials: as metrics.json has them.
        name: of the dimension.
        dimension: what `asked.search` says of it.
    """
    traces = []
    for state, (words, colour) in STATES.items():
        shown = [t for t in trials if t["state"] == state and t["accuracy"] is not None and name in t["values"]]
        if shown:
            values = [t["values"][name] for t in shown]
            traces.append(_points(words, colour, [text(v) if dimension["choices"] else v for v in values], shown, 7))
    of_choices = {"type": "category", "categoryorder": "array", "categoryarray": [*map(text, dimension["choices"])]}
    of_range = {"type": "log", "dtick": "D2"} if dimension["log"] else {}
    layout = layout_of(
        SMALL,
        hovermode="closest",
        showlegend=False,
        xaxis=axis_of(**(of_choices if dimension["choices"] else of_range)),
        yaxis=axis_of(ticksuffix=" %"),
    )
    return {"data": traces, "layout": layout}


def importance_figure(shares: Mapping[str, float]) -> Figure:
    """Bars of how much each dimension explains.

    Args:
        shares: by name; they add up to 1.
    """
    order = sorted(shares, key=lambda name: shares[name])
    trace = {
        **{"type": "bar", "orientation": "h", "marker": {"color": ACCENT}},
        "x": [_percent(shares[name]) for name in order],
        "y": [text(name) for name in order],
        "hovertemplate": "%{y}: %{x} %<extra></extra>",
    }
    layout = layout_of(60 + 28 * len(order), showlegend=False, xaxis=axis_of("share, %"), yaxis=axis_of())
    return {"data": [trace], "layout": layout}


def _points(words: str, colour: str, x: Sequence[Any], trials: Trials, size: int) -> dict[str, Any]:
    return {
        **{"type": "scatter", "mode": "markers", "name": words},
        "x": list(x),
        "y": [_percent(trial["accuracy"]) for trial in trials],
        "text": [f"trial {trial['number'] + 1}" for trial in trials],
        "marker": {"size": size, "color": colour},
        "hovertemplate": f"%{{text}}, %{{x}}: %{{y}} %<extra>{words}</extra>",
    }


def _percent(share: float) -> float:
    return round(100 * share, 3)
