"""The figures of a pretraining's page, as dicts that plotly.js draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landsift.reports.run.tsne_figure import class_points
from landsift.reports.style import ACCENT, QUIET, SECOND, WARM, Figure, axis_of, layout_of

Rows = Sequence[Mapping[str, Any]]
HEIGHT = 280
DECIMALS = 4


def curves(rows: Rows, series: Mapping[str, tuple[str, str]], limit: float | None = None) -> Figure:
    """Lines over epochs, and a dashed one at the limit below which a measure is a sign of a collapse.

    Args:
        rows: of metrics.json, or of probe.json.
        series: by the key of a row, a name and a colour.
        limit: None: there is none.
    """
    epochs = [row["epoch"] + 1 for row in rows]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "x": epochs,
            "y": [round(row[key], DECIMALS) for row in rows],
            "name": name,
            "mode": "lines+markers",
            "line": {"color": colour, "width": 2.25},
            "marker": {"size": 5},
            "hovertemplate": f"{name}: %{{y}}<extra></extra>",
        }
        for key, (name, colour) in series.items()
    ]
    last = max(epochs, default=1)
    layout = layout_of(
        HEIGHT,
        hovermode="x unified",
        showlegend=len(series) > 1,
        xaxis=axis_of("epoch", range=[0.5, last + 0.5], dtick=1 if last <= 12 else None, tickformat="d"),
        yaxis=axis_of(rangemode="normal" if limit is None else "tozero"),
    )
    if limit is not None:
        layout["shapes"] = [
            {
                "type": "line",
                **{"x0": 0, "x1": 1, "xref": "paper", "y0": limit, "y1": limit},
                "line": {"dash": "dash", "color": WARM, "width": 1.5},
            }
        ]
        layout["annotations"] = [
            {
                **{"x": 1, "xref": "paper", "xanchor": "right", "y": limit, "yanchor": "bottom"},
                "showarrow": False,
                "text": f"collapse below {limit:g}",
                "font": {"size": 11, "color": WARM},
            }
        ]
    return {"data": traces, "layout": layout}


def measure_figures(rows: Rows, probe: Rows, limits: Mapping[str, float]) -> dict[str, tuple[Figure, str]]:
    """The figures of all measures that were taken, with what they show in words, by their place in the template.

    Args:
        rows: of metrics.json.
        probe: of probe.json; empty without a probe.
        limits: by name of a measure.
    """
    said = {
        "feature_std": "Deviation of normalised features times the root of their number, over epochs",
        "rank_me": "RankMe over epochs",
        "output_entropy": "Entropy of the teacher's mean output over epochs",
        "output_kl": "Divergence of the teacher's outputs from uniform ones over epochs",
    }
    made = {"loss": (curves(rows, {"train_loss": ("loss", SECOND)}), "Training loss over epochs")}
    pair = {"agreement": ("same patch", ACCENT), "others_agreement": ("different patches", QUIET)}
    made["agreement"] = (curves(rows, pair), "Cosine similarity of views over epochs")
    for name, words in said.items():
        if name in rows[0]:
            made[name] = (curves(rows, {name: (name, ACCENT)}, limits.get(name)), words)
    if probe:
        shares = {"knn_accuracy": ("accuracy", ACCENT)}
        made["probe"] = (curves(probe, shares), "Accuracy of nearest neighbours on the probe's validation patches")
    return made


def projection_figure(points: NDArray[np.float32], labels: NDArray[Any], classes: Sequence[str]) -> Figure:
    """Features laid out in the plane, coloured by class where a patch has a label.

    Args:
        points: [M, 2].
        labels: int [M], -1 without one.
        classes: K names.
    """
    layout = layout_of(
        520 + 10 * len(classes),  # the legend takes rows
        hovermode="closest",
        xaxis=axis_of(visible=False),
        yaxis=axis_of(visible=False, scaleanchor="x"),
    )
    without = labels < 0
    traces: list[dict[str, Any]] = []
    if without.any():
        traces.append(
            {
                **{"type": "scattergl", "mode": "markers", "name": "no label", "hoverinfo": "skip"},
                "x": points[without, 0].round(3).astype(float).tolist(),
                "y": points[without, 1].round(3).astype(float).tolist(),
                "marker": {"size": 5, "color": SECOND},
            }
        )
    if classes and not without.all():
        names = np.asarray(classes, dtype=object)[labels[~without]]
        for trace in class_points(points[~without, 0], points[~without, 1], names, classes):
            trace["type"] = "scatter"
            trace |= {key: np.asarray(trace[key], dtype=np.float64).round(3).tolist() for key in "xy"}
            traces.append(trace)
    return {"data": traces, "layout": layout}
