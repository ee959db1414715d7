"""The figures of a run's page: each is a pure function of its data and returns a Plotly figure as a dict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.reports.style import ACCENT, INK, QUIET, SECOND, WARM, Figure, axis_of, layout_of, text

if TYPE_CHECKING:
    import pandas as pd

METRIC_COLOURS = {"f1": ACCENT, "recall": "#7fb0d8", "precision": "#c3d0dd"}
SHARES = [[0.0, "#ffffff"], [0.15, "#e3eef8"], [0.4, "#a9cbe8"], [0.7, "#4f8fc4"], [1.0, "#123f6b"]]
CALIBRATION_BINS = 15


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


def confusion_figure(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Confusion matrix: counts in the cells, count and share of the row on hover.

    Colour shows the square root of the share of the row, so that rare confusions are visible beside the diagonal.

    Args:
        confusion: [K][K] counts, rows are true classes.
        classes: K names.
    """
    counts = np.asarray(confusion, dtype=np.int64).reshape(len(classes), len(classes))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names, K = [text(name) for name in classes], len(classes)
    hover = [
        [
            f"true <b>{names[i]}</b><br>predicted <b>{names[j]}</b><br>"
            f"{counts[i, j]:,} patches, {share[i, j]:.1%} of this true class"
            for j in range(K)
        ]
        for i in range(K)
    ]
    heatmap = {
        "type": "heatmap",
        "z": np.sqrt(share).tolist(),
        "zmin": 0,
        "zmax": 1,
        "text": [[f"{n:,}" if n else "" for n in row] for row in counts],
        "texttemplate": "%{text}" if K <= 20 else None,
        "textfont": {"size": 12 if K <= 12 else 9},
        "customdata": hover,
        "hovertemplate": "%{customdata}<extra></extra>",
        "colorscale": SHARES,
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
    }
    ticks = {"tickvals": list(range(K)), "ticktext": names, "showgrid": False}
    return {
        "data": [heatmap],
        "layout": layout_of(
            max(380, 34 * K + 200),
            hovermode="closest",
            xaxis=axis_of("predicted", tickangle=-45, **ticks),
            yaxis=axis_of("true", autorange="reversed", **ticks),
        ),
    }


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
                "marker": {"color": colour, "line": {"color": "white", "width": 0.5}},
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


def reliability_figure(predictions: pd.DataFrame) -> Figure:
    """Reliability diagram: accuracy against confidence in 15 bins, for test and val.

    Points below the diagonal are over-confident. Beneath is a histogram of the test patches.

    Args:
        predictions: Columns split, label, predicted and `p_<class>` (predictions.parquet).
    """
    import pandas as pd

    diagonal = {"color": QUIET, "dash": "dot", "width": 1}
    traces: list[dict[str, Any]] = [
        {"type": "scatter", "x": [0, 1], "y": [0, 1], "mode": "lines", "line": diagonal, "hoverinfo": "skip",
         "name": "perfectly calibrated"},
    ]  # fmt: skip
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    for split, name, colour in (("val", "validation", SECOND), ("test", "test", ACCENT)):
        rows = predictions[predictions["split"] == split]
        if rows.empty:
            continue
        confidence = rows.filter(regex="^p_").max(axis=1).clip(0, 1).to_numpy(dtype=np.float64)
        correct = (rows["label"] == rows["predicted"]).to_numpy()
        # Mean per bin by pandas: importing sklearn.calibration would cost a cached run more than all its other work.
        bins = pd.cut(confidence, edges.tolist(), include_lowest=True)
        table = pd.DataFrame({"mean": confidence, "right": correct, "bin": bins})
        points = table.groupby("bin", observed=True).mean()
        traces.append(
            {"type": "scatter", "x": points["mean"].tolist(), "y": points["right"].tolist(), "mode": "lines+markers",
             "name": name, "line": {"color": colour, "width": 2}, "marker": {"size": 7},
             "hovertemplate": "confidence %{x:.1%}: accuracy %{y:.1%}"}
        )  # fmt: skip
        if split == "test":
            traces.append(
                {"type": "bar", "x": ((edges[1:] + edges[:-1]) / 2).tolist(),
                 "y": np.histogram(confidence, edges)[0].tolist(),
                 "marker": {"color": "#c3d0dd", "line": {"color": "white", "width": 0.5}}, "showlegend": False,
                 "hovertemplate": "%{y:,} test patches<extra></extra>", "xaxis": "x2", "yaxis": "y2"}
            )  # fmt: skip
    across: dict[str, Any] = {"range": [0, 1.01], "tickformat": ".0%"}
    layout = layout_of(
        420,
        hovermode="closest",
        bargap=0.08,
        xaxis=axis_of(anchor="y", matches="x2", showticklabels=False, **across),
        yaxis=axis_of("accuracy", anchor="x", domain=[0.27, 1], range=[-0.02, 1.03], tickformat=".0%"),
        xaxis2=axis_of("confidence (probability of the predicted class)", anchor="y2", **across),
        yaxis2=axis_of("patches", anchor="x2", domain=[0, 0.21], nticks=3),
    )
    return {"data": traces, "layout": layout}


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
