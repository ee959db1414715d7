"""The t-SNE frames of a run as one figure with a slider and a play button."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.palette import class_colours, class_symbols
from landsift.reports.style import ACCENT, EDGE, GRID, INK, PAPER, QUIET, SECOND, Figure, axis_of, layout_of, text

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from numpy.typing import NDArray


def shown_epoch(embeddings: pd.DataFrame, model: int | None) -> int:
    """The epoch of the frame that is shown first: the model's, else the last before it, else the last frame.

    Args:
        embeddings: Column epoch (counted from 0); at least one row.
        model: The epoch of the model's weights; None where that is not known.
    """
    epochs = sorted(int(epoch) for epoch in embeddings["epoch"].unique())
    return max((epoch for epoch in epochs if model is None or epoch <= model), default=epochs[-1])


def embedding_figure(embeddings: pd.DataFrame, classes: Sequence[str], model: int | None = None) -> Figure:
    """The t-SNE frames on a slider with a play button, coloured by true class, on axes that do not move.

    Args:
        embeddings: Columns epoch (counted from 0), path, label, x, y (embeddings.parquet); at least one row.
        classes: K names.
        model: The epoch of the model's weights; its frame is shown first.
    """
    frames: list[dict[str, Any]] = []
    # Sorted by path, so that a point keeps its place in its trace and glides from frame to frame.
    for _, rows in embeddings.sort_values(["epoch", "path"], kind="stable").groupby("epoch"):
        labels = rows["label"].to_numpy(dtype=object)
        paths = rows["path"].to_numpy(dtype=object)
        traces = class_points(rows["x"].to_numpy(), rows["y"].to_numpy(), labels, classes)
        for name, trace in zip(classes, traces, strict=True):
            trace["type"] = "scatter"
            trace |= {key: trace[key].astype(np.float64).round(3).tolist() for key in "xy"}
            trace["text"] = [text(short_path(path)) for path in paths[labels == name]]
            trace["hovertemplate"] = "%{text}<extra>%{fullData.name}</extra>"
        frames.append({"data": traces, "name": str(int(rows["epoch"].iloc[0]) + 1)})
    layout = layout_of(
        560 + 10 * len(classes),  # the legend takes rows
        hovermode="closest",
        xaxis=axis_of(range=_reach(embeddings["x"]), visible=False),
        yaxis=axis_of(range=_reach(embeddings["y"]), visible=False, scaleanchor="x"),
    )
    names = [frame["name"] for frame in frames]
    shown = names.index(str(shown_epoch(embeddings, model) + 1))
    if len(frames) > 1:
        layout |= {"sliders": [_slider(names, shown)], "updatemenus": [_play_button()]}
        layout["margin"]["b"] = 70
    return {"data": frames[shown]["data"], "layout": layout, "frames": frames}


def tsne_figure(frame: NDArray[Any], labels: NDArray[Any], classes: Sequence[str], *, title: str = "") -> go.Figure:
    """A single frame as a scatter plot, coloured by true class.

    Args:
        frame: float [M, 2].
        labels: int [M], each a position in `classes`.
        classes: K names.
        title: Heading of the figure.
    """
    import plotly.graph_objects as go

    labels = np.asarray(labels)
    points = class_points(frame[:, 0], frame[:, 1], np.asarray(classes, dtype=object)[labels], classes)
    figure = go.Figure([go.Scatter(trace) for trace in points])
    axis = {"visible": False}
    return figure.update_layout(
        title=title or None, template="plotly_white", xaxis=axis, yaxis={**axis, "scaleanchor": "x"}
    )


def class_points(
    x: NDArray[Any], y: NDArray[Any], labels: NDArray[Any], classes: Sequence[str]
) -> list[dict[str, Any]]:
    """One Plotly scatter trace (as a dict) per class, in the class's colour; a class without points has an empty one.

    Args:
        x: float [M].
        y: float [M].
        labels: class names [M].
        classes: K names.
    """
    from html import escape

    colours, symbols = class_colours(classes), class_symbols(classes)
    return [
        {
            "x": np.asarray(x, dtype=np.float32)[labels == name],
            "y": np.asarray(y, dtype=np.float32)[labels == name],
            "mode": "markers",
            "name": escape(name, quote=False),
            "marker": {
                "color": colours[name],
                "symbol": symbols[name],
                "size": 7,
                "opacity": 0.85,
                "line": {"color": EDGE, "width": 1},
            },
        }
        for name in classes
    ]


def short_path(path: object) -> str:
    """A patch's folder and file name: enough to tell it from the others."""
    return "/".join(str(path).replace("\\", "/").split("/")[-2:])


def _reach(values: pd.Series[float]) -> list[float]:
    """Range of an axis that holds all values, with a margin."""
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 1.0
    return [low - margin, high + margin]


def _slider(frames: Sequence[str], active: int) -> dict[str, Any]:
    move = {"mode": "immediate", "frame": {"duration": 500, "redraw": False}, "transition": {"duration": 400}}
    return {
        "active": active,
        "y": 0,
        "pad": {"t": 24, "b": 0, "l": 92},  # pixels: the play button stands to the left
        "currentvalue": {"prefix": "after epoch ", "font": {"size": 14, "color": INK}, "xanchor": "left"},
        "font": {"size": 11, "color": QUIET},
        "bgcolor": GRID,
        "bordercolor": GRID,
        "activebgcolor": ACCENT,
        "tickcolor": GRID,
        "transition": {"duration": 400},
        "steps": [{"method": "animate", "label": name, "args": [[name], move]} for name in frames],
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
        "bgcolor": PAPER,
        "bordercolor": SECOND,
        "font": {"size": 13, "color": INK},
        "buttons": [{"label": "▶ Play", "method": "animate", "args": [None, play]}],
    }
