"""The figures of a run's page: each is a pure function of its data and returns a Plotly figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
INK, QUIET, GRID = "#1f2933", "#616e7c", "#e4e7eb"
ACCENT, SECOND, WARM = "#1d5c96", "#94a3b8", "#c2571a"
"""Validation or test, whatever stands beside it, and what should be noticed."""
METRIC_COLOURS = {"f1": ACCENT, "recall": "#7fb0d8", "precision": "#c3d0dd"}
SHARES = [[0.0, "#ffffff"], [0.15, "#e3eef8"], [0.4, "#a9cbe8"], [0.7, "#4f8fc4"], [1.0, "#123f6b"]]
CALIBRATION_BINS = 15


def accuracy_figure(metrics: Sequence[Mapping[str, Any]], best_epoch: int | None = None) -> go.Figure:
    """Validation accuracy over epochs, the best one marked, with a dashed line where each later phase starts.

    Args:
        metrics: Rows of metrics.json.
        best_epoch: Counted from 0; None marks none.
    """
    figure = _figure(metrics, {"val_acc": ("validation", ACCENT)}, "%{y:.2%}", 320)
    best = [row for row in metrics if row["epoch"] == best_epoch and row["val_acc"] is not None]
    if best:
        figure.add_scatter(
            x=[best[0]["epoch"] + 1],
            y=[best[0]["val_acc"]],
            mode="markers",
            name="best",
            marker={"size": 12, "color": WARM, "symbol": "circle-open", "line": {"width": 2.5}},
            hovertemplate="best: %{y:.2%}<extra></extra>",
        )
    return figure.update_yaxes(tickformat=".0%" if _spread(metrics, "val_acc") > 0.04 else ".1%")


def loss_figure(metrics: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Training and validation loss over epochs, with a dashed line where each later phase starts."""
    return _figure(
        metrics, {"train_loss": ("training", SECOND), "val_loss": ("validation", ACCENT)}, "%{y:.4f}", 320
    ).update_yaxes(rangemode="tozero")


def learning_rate_figure(metrics: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Learning rates of head and backbone on a log axis over four decades; a rate of 0 (frozen) is left out.

    The last step of a cosine to 0 lies decades below; an axis that shows it shows nothing else.
    """
    figure = _figure(metrics, {"lr_head": ("head", WARM), "lr_backbone": ("backbone", ACCENT)}, "%{y:.2e}", 320)
    highest = max((max(row["lr_head"], row["lr_backbone"]) for row in metrics), default=1.0)
    top = math.log10(highest) + 0.2
    return figure.update_yaxes(type="log", tickformat=".0e", dtick=1, range=[top - 4.2, top])


def confusion_figure(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> go.Figure:
    """Confusion matrix: counts in the cells, count and share of the row on hover.

    Colour follows the square root of the row's share, so that rare confusions can be seen beside the diagonal.

    Args:
        confusion: [K][K] counts, rows are true classes.
        classes: K names.
    """
    import plotly.graph_objects as go

    counts = np.asarray(confusion, dtype=np.int64).reshape(len(classes), len(classes))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names, K = [text(name) for name in classes], len(classes)
    hover = [
        [
            f"true <b>{names[i]}</b><br>predicted <b>{names[j]}</b><br>"
            f"{counts[i, j]:,} patches, {share[i, j]:.1%} of the row"
            for j in range(K)
        ]
        for i in range(K)
    ]
    heatmap = go.Heatmap(
        z=np.sqrt(share),
        zmin=0,
        zmax=1,
        text=[[f"{n:,}" if n else "" for n in row] for row in counts],
        texttemplate="%{text}" if K <= 20 else None,
        textfont={"size": 12 if K <= 12 else 9},
        customdata=hover,
        hovertemplate="%{customdata}<extra></extra>",
        colorscale=SHARES,
        showscale=False,
        xgap=1,
        ygap=1,
    )
    ticks = {"tickvals": list(range(K)), "ticktext": names, "showgrid": False, "zeroline": False}
    figure = go.Figure(heatmap)
    _style(figure, height=max(380, 34 * K + 200), hovermode="closest")
    figure.update_xaxes(title_text="predicted", tickangle=-45, **ticks)
    return figure.update_yaxes(title_text="true", autorange="reversed", **ticks)


def class_figure(evaluation: Mapping[str, Any]) -> go.Figure:
    """Precision, recall and F1 of each class as bars with 95 % intervals, the hardest class on top.

    Args:
        evaluation: What `landsift.evaluation.metrics.evaluate` returns.
    """
    import plotly.graph_objects as go

    per_class, intervals = evaluation["per_class"], evaluation["intervals"]["per_class"]
    order = sorted(per_class, key=lambda name: per_class[name]["f1"], reverse=True)  # bars are drawn from the bottom
    labels = [text(name) + ("" if per_class[name]["support"] else " (no patches)") for name in order]
    figure = go.Figure()
    for metric, colour in METRIC_COLOURS.items():
        values = [per_class[name][metric] for name in order]
        bounds = [intervals[name][metric] for name in order]
        spans = [f"95 % interval {b[0]:.3f} to {b[1]:.3f}" if b else "no interval" for b in bounds]
        figure.add_bar(
            y=list(range(len(order))),
            x=values,
            orientation="h",
            name="F1" if metric == "f1" else metric,
            marker={"color": colour},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [b[1] - v if b else 0.0 for v, b in zip(values, bounds, strict=True)],
                "arrayminus": [v - b[0] if b else 0.0 for v, b in zip(values, bounds, strict=True)],
                "color": INK,
                "thickness": 1,
                "width": 2,
            },
            customdata=list(zip(labels, spans, strict=True)),
            hovertemplate="%{customdata[0]}: %{x:.3f}<br>%{customdata[1]}<extra>%{fullData.name}</extra>",
        )
    _style(figure, height=46 * len(order) + 110, barmode="group", bargap=0.28, hovermode="closest")
    figure.update_layout(legend={"traceorder": "reversed"})
    figure.update_xaxes(range=[0, 1.0], dtick=0.2, showgrid=True)
    return figure.update_yaxes(tickvals=list(range(len(order))), ticktext=labels, showgrid=False)


def reliability_figure(predictions: pd.DataFrame) -> go.Figure:
    """Reliability of the predicted class's probability: how often it is right, in 15 bins, for test and val.

    Points below the diagonal are over-confident. Beneath stands how many test patches each bin holds.

    Args:
        predictions: Columns split, label, predicted and `p_<class>` (predictions.parquet).
    """
    import pandas as pd
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.78, 0.22], vertical_spacing=0.06)
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": QUIET, "dash": "dot", "width": 1}, hoverinfo="skip",
        name="perfect", row=1, col=1,
    )  # fmt: skip
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
        figure.add_scatter(
            x=points["mean"], y=points["right"], mode="lines+markers", name=name, line={"color": colour, "width": 2},
            marker={"size": 7}, hovertemplate="at %{x:.1%}: right in %{y:.1%}", row=1, col=1,
        )  # fmt: skip
        if split == "test":
            figure.add_bar(
                x=(edges[1:] + edges[:-1]) / 2, y=np.histogram(confidence, edges)[0], marker={"color": "#c3d0dd"},
                showlegend=False, hovertemplate="%{y:,} test patches<extra></extra>", row=2, col=1,
            )  # fmt: skip
    _style(figure, height=420, hovermode="closest", bargap=0.08)
    figure.update_xaxes(range=[0, 1.01], tickformat=".0%")
    figure.update_xaxes(title_text="probability of the predicted class", row=2)
    figure.update_yaxes(range=[-0.02, 1.03], tickformat=".0%", title_text="share right", row=1)
    return figure.update_yaxes(title_text="patches", nticks=3, row=2)


def embedding_figure(embeddings: pd.DataFrame, classes: Sequence[str]) -> go.Figure:
    """The t-SNE frames on a slider with a play button, coloured by true class, on axes that do not move.

    Args:
        embeddings: Columns epoch (counted from 0), path, label, x, y (embeddings.parquet); at least one row.
        classes: K names.
    """
    import plotly.graph_objects as go

    from landsift.evaluation.embeddings import class_points

    frames = []
    # Sorted by path, so that a point keeps its place in its trace and glides from frame to frame.
    for _, rows in embeddings.sort_values(["epoch", "path"], kind="stable").groupby("epoch"):
        labels = rows["label"].to_numpy(dtype=object)
        paths = rows["path"].to_numpy(dtype=object)
        traces = class_points(rows["x"].to_numpy(), rows["y"].to_numpy(), labels, classes)
        for name, trace in zip(classes, traces, strict=True):
            trace["text"] = [text(short_path(path)) for path in paths[labels == name]]
            trace["hovertemplate"] = "%{text}<extra>%{fullData.name}</extra>"
        frames.append(go.Frame(data=[go.Scatter(t) for t in traces], name=str(int(rows["epoch"].iloc[0]) + 1)))
    figure = go.Figure(data=frames[-1].data, frames=frames)
    _style(figure, height=560 + 10 * len(classes), hovermode="closest")  # the legend takes rows
    figure.update_xaxes(range=_reach(embeddings["x"]), visible=False)
    figure.update_yaxes(range=_reach(embeddings["y"]), visible=False, scaleanchor="x")
    if len(frames) > 1:
        figure.update_layout(sliders=[_slider(frames)], updatemenus=[_play_button()], margin_b=70)
    return figure


def text(name: object) -> str:
    """A name as Plotly's text, which reads a few HTML tags: shown as it is written."""
    return escape(str(name), quote=False)


def short_path(path: object) -> str:
    """A patch's folder and file name: enough to tell it from the others."""
    return "/".join(str(path).replace("\\", "/").split("/")[-2:])


def _reach(values: pd.Series[float]) -> list[float]:
    """Range of an axis that holds all values, with a margin."""
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 1.0
    return [low - margin, high + margin]


def _slider(frames: Iterable[go.Frame]) -> dict[str, Any]:
    frames = list(frames)
    move = {"mode": "immediate", "frame": {"duration": 500, "redraw": False}, "transition": {"duration": 400}}
    return {
        "active": len(frames) - 1,
        "y": 0,
        "pad": {"t": 24, "b": 0, "l": 92},  # pixels: the play button stands to the left
        "currentvalue": {"prefix": "after epoch ", "font": {"size": 14, "color": INK}, "xanchor": "left"},
        "font": {"size": 11, "color": QUIET},
        "bgcolor": GRID,
        "bordercolor": GRID,
        "activebgcolor": ACCENT,
        "tickcolor": GRID,
        "transition": {"duration": 400},
        "steps": [{"method": "animate", "label": f.name, "args": [[f.name], move]} for f in frames],
    }


def _play_button() -> dict[str, Any]:
    play = {"frame": {"duration": 1100, "redraw": False}, "transition": {"duration": 700}, "fromcurrent": False}
    return {
        "type": "buttons",
        "showactive": False,
        "x": 0,
        "xanchor": "left",
        "y": 0,
        "yanchor": "top",
        "pad": {"t": 34, "r": 10},
        "bgcolor": "#ffffff",
        "bordercolor": SECOND,
        "font": {"size": 13},
        "buttons": [{"label": "▶ Play", "method": "animate", "args": [None, play]}],
    }


def _figure(
    metrics: Sequence[Mapping[str, Any]], series: Mapping[str, tuple[str, str]], hover: str, height: int
) -> go.Figure:
    """Lines over epochs: series {key of a row: (name, colour)}; missing values and zeros of a rate are left out."""
    import plotly.graph_objects as go

    epochs = [row["epoch"] + 1 for row in metrics]
    figure = go.Figure()
    for key, (name, colour) in series.items():
        values = [row.get(key) for row in metrics]
        if key.startswith("lr_"):
            values = [value if value and value > 0 else None for value in values]
            if not any(values):
                continue
        figure.add_scatter(
            x=epochs,
            y=values,
            name=name,
            mode="lines+markers",
            line={
                "color": colour,
                "width": 2.25,
                "dash": "dot" if key == "lr_backbone" else "solid",
            },  # where rates coincide
            marker={"size": 5},
            hovertemplate=f"{name}: {hover}<extra></extra>",
        )
    _style(figure, height=height, hovermode="x unified")
    last = max(epochs, default=1)
    figure.update_xaxes(title_text="epoch", range=[0.5, last + 0.5], dtick=1 if last <= 12 else None, tickformat="d")
    starts = phase_starts(metrics)
    for epoch, number, name in starts:
        figure.add_vline(x=epoch + 0.5, line={"dash": "dash", "color": QUIET, "width": 1.25})
        figure.add_annotation(
            x=epoch + 0.5,
            y=1,
            yref="paper",
            xanchor="left",
            yanchor="bottom",
            showarrow=False,
            text=f"phase {number}: {text(name)}" if len(starts) == 1 and name else f"{number}",
            font={"size": 11, "color": QUIET},
        )
    return figure


def phase_starts(metrics: Sequence[Mapping[str, Any]]) -> list[tuple[int, int, str]]:
    """Where each later phase really starts: (epoch counted from 0, number of the phase, its name)."""
    pairs = pairwise(metrics)
    return [(b["epoch"], b["phase"], str(b.get("phase_name") or "")) for a, b in pairs if a["phase"] != b["phase"]]


def _spread(metrics: Sequence[Mapping[str, Any]], key: str) -> float:
    values = [row[key] for row in metrics if row[key] is not None]
    return max(values) - min(values) if values else 0.0


def _style(figure: go.Figure, *, height: int, **layout: Any) -> None:
    axis = {"automargin": True, "gridcolor": GRID, "zeroline": False, "title_font": {"size": 13, "color": QUIET}}
    figure.update_layout(
        template="plotly_white",
        font={"family": FONT, "size": 13, "color": INK},
        margin={"l": 8, "r": 12, "t": 8, "b": 8},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1 + 24 / height, "yanchor": "bottom"},
        height=height,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"font": {"family": FONT, "size": 13}},
        **layout,
    )
    figure.update_xaxes(axis)
    figure.update_yaxes(axis)
