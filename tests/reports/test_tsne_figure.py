"""The t-SNE frames: a step of the slider each, on axes that do not move."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from landsift.reports.run.tsne_figure import embedding_figure, shown_epoch


def drawn(table, classes, model=None):
    """The figure in Plotly's own classes, which refuse what plotly.js would pass over."""
    return go.Figure(embedding_figure(table, classes, model))


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


@pytest.mark.parametrize(("model", "shown"), [(3, 3), (4, 4), (0, 0), (2, 0), (9, 4), (None, 4)])
def test_the_frame_of_the_models_epoch_is_shown_first_or_the_last_before_it(model, shown):
    """The last epoch's was shown for a model of an earlier one."""
    table = embeddings()
    assert shown_epoch(table, model) == shown
    figure = drawn(table, ["x", "y"], model)
    assert figure.layout.sliders[0].steps[figure.layout.sliders[0].active].label == str(shown + 1)
    assert figure.data[0].y[0] == shown  # the frames' y is their epoch


def test_of_frames_that_all_come_later_the_last_is_shown():
    assert shown_epoch(embeddings((3, 5)), 1) == 5
