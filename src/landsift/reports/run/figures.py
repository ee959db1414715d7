"""The figures of a run's page: each is a pure function of its data and returns a Plotly figure as a dict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from landsift.reports.style import ACCENT, INK, PALE, PAPER, QUIET, SECOND, SOFT, WARM, Figure, axis_of, layout_of, text

METRIC_COLOURS = {"f1": ACCENT, "recall": SOFT, "precision": PALE}


def accuracy_figure(metrics: Sequence[Mapping[str, Any]], best_epoch: int | None = None) -> Figure:
    """Validation accuracy over epochs, the best epoch marked, with a dashed line where each later phase starts.

    Args:
        metrics: Rows of metrics.json.
        best_epoch: Counted from 0; None marks none.
    """
    figure = _figure(metrics, {"val_acc": ("validation", ACCENT)}, "%{y:.2%}", 320)
    best = [row for row in metrics if row["epoch"] == best_epoch and row["val_acc"] is not None]
    if best:
        figure["data"].append(
            {
                "type": "scatter",
                "x": [best[0]["epoch"] + 1],
                "y": [best[0]["val_acc"]],
                "mode": "markers",
                "name": "best epoch",
                "marker": {"size": 12, "color": WARM, "symbol": "circle-open", "line": {"width": 2.5}},
                "hovertemplate": "best epoch: %{y:.2%}<extra></extra>",
            }
        )
    figure["layout"]["yaxis"]["tickformat"] = ".0%" if _spread(metrics, "val_acc") > 0.04 else ".1%"
    return figure


def loss_figure(metrics: Sequence[Mapping[str, Any]], trained_on: Sequence[str] = ()) -> Figure:
    """Training and validation loss over epochs, with a dashed line where each later phase starts.

    Args:
        metrics: Rows of metrics.json.
        trained_on: What makes the training loss differ from the validation loss, such as "label smoothing".
    """
    training = "training (regularised)" if trained_on else "training"  # short: the page's note says how
    series = {"train_loss": (training, SECOND), "val_loss": ("validation", ACCENT)}
    figure = _figure(metrics, series, "%{y:.4f}", 320)
    figure["layout"]["yaxis"]["rangemode"] = "tozero"
    return figure


def learning_rate_figure(metrics: Sequence[Mapping[str, Any]]) -> Figure:
    """Learning rates of head and backbone on a log axis over four decades; a rate of 0 (frozen) is left out.

    The last step of a cosine to 0 lies decades below; an axis that shows it shows nothing else.
    """
    figure = _figure(metrics, {"lr_head": ("head", WARM), "lr_backbone": ("backbone", ACCENT)}, "%{y:.2e}", 320)
    highest = max((max(row["lr_head"], row["lr_backbone"]) for row in metrics), default=1.0)
    top = math.log10(highest) + 0.2
    figure["layout"]["yaxis"] |= {"type": "log", "tickformat": ".0e", "dtick": 1, "range": [top - 4.2, top]}
    return figure


def class_figure(evaluation: Mapping[str, Any]) -> Figure:
    """Precision, recall and F1 of each class as bars with 95 % intervals, the lowest F1 on top.

    Args:
        evaluation: What `landsift.evaluation.metrics.evaluate` returns.
    """
    per_class, intervals = evaluation["per_class"], evaluation["intervals"]["per_class"]
    order = sorted(per_class, key=lambda name: per_class[name]["f1"], reverse=True)  # bars are drawn from the bottom
    labels = [text(name) + ("" if per_class[name]["support"] else " (no patches)") for name in order]
    bars = []
    for metric, colour in METRIC_COLOURS.items():
        values = [per_class[name][metric] for name in order]
        bounds = [intervals[name][metric] for name in order]
        spans = [f"95 % interval {b[0]:.3f} to {b[1]:.3f}" if b else "no interval" for b in bounds]
        bars.append(
            {
                "type": "bar",
                "y": list(range(len(order))),
                "x": values,
                "orientation": "h",
                "name": "F1" if metric == "f1" else metric,
                "marker": {"color": colour, "line": {"color": PAPER, "width": 0.5}},
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [b[1] - v if b else 0.0 for v, b in zip(values, bounds, strict=True)],
                    "arrayminus": [v - b[0] if b else 0.0 for v, b in zip(values, bounds, strict=True)],
                    "color": INK,
                    "thickness": 1,
                    "width": 2,
                },
                "customdata": list(zip(labels, spans, strict=True)),
                "hovertemplate": "%{customdata[0]}: %{x:.3f}<br>%{customdata[1]}<extra>%{fullData.name}</extra>",
            }
        )
    layout = layout_of(
        46 * len(order) + 110,
        barmode="group",
        bargap=0.28,
        hovermode="closest",
        xaxis=axis_of(range=[0, 1.0], dtick=0.2, showgrid=True),
        yaxis=axis_of(tickvals=list(range(len(order))), ticktext=labels, showgrid=False),
    )
    layout["legend"]["traceorder"] = "reversed"
    return {"data": bars, "layout": layout}


def place_figure(points: Mapping[str, str]) -> Figure:
    """Where patches of train, val and test lie; on the middle latitude a kilometre is as long in both directions.

    Args:
        points: some places of each part, as text: "28.56 44.04, -0.20 52.62".
    """
    traces, latitudes = [], []
    for part, name, colour, symbol in (
        ("train", "training", SECOND, "circle"),
        ("val", "validation", ACCENT, "square"),
        ("test", "test", WARM, "cross"),
    ):  # fmt: skip
        places = [tuple(map(float, place.split())) for place in points.get(part, "").split(", ") if place]
        latitudes += [lat for _, lat in places]
        traces.append(
            {"type": "scatter", "mode": "markers", "name": name, "x": [lon for lon, _ in places],
             "y": [lat for _, lat in places], "marker": {"size": 5, "color": colour, "symbol": symbol, "opacity": 0.7},
             "hovertemplate": "%{x:.2f}°, %{y:.2f}°"}
        )  # fmt: skip
    middle = (max(latitudes, default=0.0) + min(latitudes, default=0.0)) / 2
    ratio = 1 / max(math.cos(math.radians(middle)), 0.05)
    layout = layout_of(
        460,
        hovermode="closest",
        xaxis=axis_of("longitude", ticksuffix="°", constrain="domain"),
        yaxis=axis_of("latitude", ticksuffix="°", scaleanchor="x", scaleratio=ratio),
    )
    return {"data": traces, "layout": layout}


def _figure(
    metrics: Sequence[Mapping[str, Any]], series: Mapping[str, tuple[str, str]], hover: str, height: int
) -> Figure:
    """Lines over epochs: series {key of a row: (name, colour)}; missing values and zeros of a rate are left out."""
    epochs = [row["epoch"] + 1 for row in metrics]
    traces = []
    for key, (name, colour) in series.items():
        values = [row.get(key) for row in metrics]
        if key.startswith("lr_"):
            values = [value if value and value > 0 else None for value in values]
            if not any(values):
                continue
        dash = "dot" if key == "lr_backbone" else "solid"  # where rates coincide
        traces.append(
            {
                "type": "scatter",
                "x": epochs,
                "y": values,
                "name": name,
                "mode": "lines+markers",
                "line": {"color": colour, "width": 2.25, "dash": dash},
                "marker": {"size": 5},
                "hovertemplate": f"{name}: {hover}<extra></extra>",
            }
        )
    last = max(epochs, default=1)
    starts = phase_starts(metrics)
    layout = layout_of(
        height,
        hovermode="x unified",
        xaxis=axis_of("epoch", range=[0.5, last + 0.5], dtick=1 if last <= 12 else None, tickformat="d"),
        yaxis=axis_of(),
        shapes=[
            {
                "type": "line",
                **{"x0": epoch + 0.5, "x1": epoch + 0.5, "xref": "x", "y0": 0, "y1": 1, "yref": "y domain"},
                "line": {"dash": "dash", "color": QUIET, "width": 1.25},
            }
            for epoch, _, _ in starts
        ],
        annotations=[
            {
                **{"x": epoch + 0.5, "xref": "x", "xanchor": "left", "y": 1, "yref": "paper", "yanchor": "bottom"},
                "showarrow": False,
                "text": f"phase {number}: {text(name)}" if len(starts) == 1 and name else f"{number}",
                "font": {"size": 11, "color": QUIET},
            }
            for epoch, number, name in starts
        ],
    )
    return {"data": traces, "layout": layout}


def phase_starts(metrics: Sequence[Mapping[str, Any]]) -> list[tuple[int, int, str]]:
    """Where each later phase really starts: (epoch counted from 0, number of the phase, its name)."""
    pairs = pairwise(metrics)
    return [(b["epoch"], b["phase"], str(b.get("phase_name") or "")) for a, b in pairs if a["phase"] != b["phase"]]


def _spread(metrics: Sequence[Mapping[str, Any]], key: str) -> float:
    values = [row[key] for row in metrics if row[key] is not None]
    return max(values) - min(values) if values else 0.0
