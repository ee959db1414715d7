"""The t-SNE frames: a step of the slider each, on axes that do not move."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from landsift.reports.frames import embedding_figure


def drawn(table, classes):
    """The figure in Plotly's own classes, which refuse what plotly.js would pass over."""
    return go.Figure(embedding_figure(table, classes))


def embeddings(epochs=(0, 3, 4)):
    """t-SNE frames of four patches, in another order in each frame."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"path": ["d", "c", "b", "a"], "label": ["x", "y", "x", "y"]})
    parts = [frame.sample(frac=1, random_state=e).assign(epoch=e, x=rng.normal(size=4), y=e) for e in epochs]
    return pd.concat(parts, ignore_index=True)


def test_frames_have_a_step_of_the_slider_each_and_axes_that_do_not_move():
    figure = drawn(embeddings(), ["x", "y", "unseen"])
    assert [frame.name for frame in figure.frames] == ["1", "4", "5"]
    assert [step.label for step in figure.layout.sliders[0].steps] == ["1", "4", "5"]
    assert figure.layout.updatemenus[0].buttons[0].label.endswith("Play")
    for frame in figure.frames:
        assert [trace.name for trace in frame.data] == ["x", "y", "unseen"]
        assert frame.layout.xaxis.range is None
        for trace in frame.data:
            assert all(figure.layout.xaxis.range[0] < x < figure.layout.xaxis.range[1] for x in trace.x)


def test_a_point_keeps_its_place_in_its_trace_over_the_frames():
    figure = drawn(embeddings(), ["x", "y"])
    assert {frame.data[0].text for frame in figure.frames} == {("b", "d")}


def test_a_single_frame_needs_no_slider():
    assert not drawn(embeddings((2,)), ["x", "y"]).layout.sliders
