"""The figure of a comparison's page: accuracy against label budget, or against strategy where there is one budget.

The axis of accuracy follows the logarithm of the error, so that the step from 98 to 99 %, which halves the errors, is
as long as that from 80 to 90 %, and good strategies can be told apart beside a bad one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from landsift.reports.comparison.symbols import Mark, faint, marks_of
from landsift.reports.style import INK, Figure, axis_of, layout_of, text
from landsift.reports.wording import percent, percents


def accuracy_figure(comparison: Mapping[str, Any]) -> Figure:
    """Test accuracy with 95 % intervals: lines with bands over budgets, or points with whiskers for one budget.

    Args:
        comparison: What comparison.json holds; at least one result.
    """
    results, marks = comparison["results"], marks_of(comparison["rows"])
    least = smallest_error(comparison)
    axis = _accuracy_axis(
        [r["accuracy"] for r in results] + [v for r in results for v in r["accuracy_interval"]], least
    )
    if len(comparison["budgets"]) == 1:
        return _points(results, marks, least, axis)
    return _lines(comparison, marks, least, axis)


def smallest_error(comparison: Mapping[str, Any]) -> float:
    """Half a test patch as a share: the position of an accuracy of 100 %, which a logarithmic axis does not have."""
    return 0.5 / max(1, int(comparison["data"]["split"]["test"]))


def _lines(comparison: Mapping[str, Any], marks: Mapping[str, Mark], least: float, axis: dict[str, Any]) -> Figure:
    budgets = comparison["budgets"]
    of_row: dict[str, list[dict[str, Any]]] = {}
    for result in sorted(comparison["results"], key=lambda r: r["budget"]):
        of_row.setdefault(result["row"], []).append(result)
    # The legend and the hover list then read like the right end of the figure.
    names = sorted(of_row, key=lambda name: (-of_row[name][-1]["budget"], -of_row[name][-1]["accuracy"]))
    bands, lines = [], []
    for name in names:
        rows, mark = of_row[name], marks[name]
        x = [r["budget"] for r in rows]
        low, high = ([max(1 - r["accuracy_interval"][side], least) for r in rows] for side in (0, 1))
        shared = {"type": "scatter", "name": text(name), "legendgroup": name}
        bands.append(
            shared
            | {"x": x + x[::-1], "y": high + low[::-1], "mode": "lines", "line": {"width": 0}, "fill": "toself"}
            | {"fillcolor": faint(mark.colour), "hoverinfo": "skip", "showlegend": False}
        )
        lines.append(
            shared
            | {"x": x, "y": [max(1 - r["accuracy"], least) for r in rows], "mode": "lines+markers"}
            | {"line": {"color": mark.colour, "width": 2, "dash": mark.dash}}
            | {"marker": {"size": 9, "symbol": mark.symbol, "line": {"width": 1.5 if mark.hollow else 0}}}
            | {"customdata": [_words(r) for r in rows], "hovertemplate": "%{customdata}"}
        )
    below = {"orientation": "h", "x": 0, "xanchor": "left", "y": -0.18, "yanchor": "top"}
    pad = 0.05 * math.log10(budgets[-1] / budgets[0])
    layout = layout_of(
        490,
        hovermode="x unified",
        hoverdistance=100,
        # The narrow window's place for the legend, and a hover box that leaves something to see.
        meta={"narrow": {"legend": below, "hovermode": "closest"}},
        xaxis=axis_of(
            "labelled patches",
            type="log",
            tickvals=budgets,
            ticktext=[f"{budget:,}" for budget in budgets],
            range=[math.log10(budgets[0]) - pad, math.log10(budgets[-1]) + pad],
            hoverformat=",d",
        ),
        yaxis=axis_of("test accuracy", **axis),
    )
    layout["margin"]["t"] = 36  # the buttons stand above the legend, not on it
    layout["legend"] = {"x": 1.02, "xanchor": "left", "y": 1, "yanchor": "top"}
    return {"data": bands + lines, "layout": layout}


def _points(
    results: Sequence[Mapping[str, Any]], marks: Mapping[str, Mark], least: float, axis: dict[str, Any]
) -> Figure:
    order = sorted(results, key=lambda r: r["accuracy"])  # drawn from the bottom
    places = list(range(len(order)))
    traces = []
    for place, result in zip(places, order, strict=True):
        mark = marks[result["row"]]
        error, worst, best = (max(1 - v, least) for v in (result["accuracy"], *result["accuracy_interval"]))
        whiskers = {"type": "data", "symmetric": False, "array": [worst - error], "arrayminus": [error - best]}
        traces.append(
            {"type": "scatter", "x": [error], "y": [place], "mode": "markers", "showlegend": False}
            | {"error_x": whiskers | {"color": INK, "thickness": 1.25, "width": 4}}
            | {"marker": {"size": 11, "symbol": mark.symbol, "color": mark.colour}}
            | {
                "customdata": [_words(result)],
                "hovertemplate": f"{text(result['row'])}: %{{customdata}}<extra></extra>",
            }
        )
    names = [text(result["row"]) for result in order]
    return {
        "data": traces,
        "layout": layout_of(
            34 * len(order) + 90,
            hovermode="closest",
            xaxis=axis_of("test accuracy", **axis),
            yaxis=axis_of(tickvals=places, ticktext=names, range=[-0.7, len(order) - 0.3]),
        ),
    }


def _words(result: Mapping[str, Any]) -> str:
    """The text on hover."""
    return f"{percent(result['accuracy'])} ({percents(result['accuracy_interval'])})"


def _accuracy_axis(accuracies: Sequence[float], least: float) -> dict[str, Any]:
    """A log axis of the error, labelled with the accuracy, that holds all `accuracies`, the highest at the far end."""
    errors = [max(1 - accuracy, least) for accuracy in accuracies]
    low, high = math.log10(min(errors)), math.log10(max(errors))
    pad = max(0.05 * (high - low), 0.02)
    low, high = low - pad, high + pad
    ticks = _ticks(10**low, min(10**high, 1.0))
    return {
        "type": "log",
        "range": [high, low],
        "tickvals": ticks,
        "ticktext": [f"{round(100 * (1 - error), 6):g}\N{NO-BREAK SPACE}%" for error in ticks],
    }


def _ticks(low: float, high: float) -> list[float]:
    """Round errors between two: in equal ratios over a decade and more, in equal steps where they lie close."""
    if high / low > 3:
        mantissas = (1, 2, 5) if high / low > 10 else (1, 1.5, 2, 3, 5, 7)
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
        steps = (mantissa * 10.0**decade for decade in decades for mantissa in mantissas)
        return [error for error in steps if low <= error <= high]
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
