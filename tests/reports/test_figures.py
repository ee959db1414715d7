"""Each figure shows its data, and names as they are written."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from landsift.reports.run import figures as made
from landsift.reports.run.confusion import confusion_rows, confusion_table
from landsift.reports.run.trust import diagram, reliability_rows


class Checked:
    """The figures in Plotly's own classes, which refuse what plotly.js would pass over."""

    def __getattr__(self, name):
        return lambda *data: go.Figure(getattr(made, name)(*data))


figures = Checked()


def rows(phases=(2, 3), **values):
    """Rows of metrics.json."""
    numbers = [n for n, epochs in enumerate(phases, start=1) for _ in range(epochs)]
    return [
        {"epoch": e, "phase": n, "phase_name": f"<p{n}>", "train_loss": 1.0, "val_loss": 0.9, "val_acc": 0.5 + 0.1 * e,
         "lr_head": 1e-3, "lr_backbone": 0.0 if n == 1 else 1e-5} | values
        for e, n in enumerate(numbers)
    ]  # fmt: skip


def test_a_dashed_line_stands_where_phase_2_starts():
    for figure in (
        figures.accuracy_figure(rows(), 4),
        figures.loss_figure(rows()),
        figures.learning_rate_figure(rows()),
    ):
        (line,) = figure.layout.shapes
        assert line.line.dash == "dash"
        assert line.x0 == 2.5  # between the second epoch and the third, counted from 1
        assert [a.text for a in figure.layout.annotations] == ["phase 2: &lt;p2&gt;"]


def test_one_phase_has_no_line_and_each_later_one_has_its_own():
    assert not figures.loss_figure(rows((4,))).layout.shapes
    assert [line.x0 for line in figures.loss_figure(rows((1, 2, 1))).layout.shapes] == [1.5, 3.5]


def test_the_legend_says_what_the_training_loss_is_measured_on():
    """It stood beside the validation loss as if the two were the same measure."""
    assert [trace.name for trace in figures.loss_figure(rows()).data] == ["training", "validation"]
    named = figures.loss_figure(rows(), ["augmentation", "label smoothing"]).data
    assert [trace.name for trace in named] == ["training (regularised)", "validation"]


def test_the_best_epoch_is_marked():
    best = figures.accuracy_figure(rows(), 3).data[-1]
    assert (best.x, best.y) == ((4,), (pytest.approx(0.8),))


def test_rates_of_a_frozen_backbone_are_left_out_of_the_log_axis():
    figure = figures.learning_rate_figure(rows())
    assert figure.layout.yaxis.type == "log"
    assert figure.data[1].y == (None, None, 1e-5, 1e-5, 1e-5)
    assert len(figures.learning_rate_figure(rows((3,))).data) == 1


def test_confusion_shows_counts_shares_and_both_accuracies():
    table = confusion_table([[6, 2], [0, 0]], ["a", "b"])
    first, second = table["rows"]
    assert [(cell["count"], cell["of_row"], cell["of_column"]) for cell in first["cells"]] == [
        ("6", "75.0", "100.0"), ("2", "25.0", "100.0"),
    ]  # fmt: skip
    assert second["cells"] == [None, None]
    assert (first["producers"], second["producers"]) == ("75.0", "–")
    assert (table["users"], table["overall"], table["total"]) == (["100.0", "0.0"], "75.0", "8")
    assert confusion_rows([[6, 2], [0, 0]], ["a", "true class"])[1] == ["a", 6, 2]


def test_bars_carry_their_intervals_and_the_hardest_class_is_on_top():
    evaluation = {
        "per_class": {
            "easy": {"precision": 0.9, "recall": 0.9, "f1": 0.9, "support": 10},
            "none": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
        },
        "intervals": {
            "per_class": {
                "easy": {"precision": [0.8, 0.95], "recall": [0.8, 0.95], "f1": [0.8, 0.95]},
                "none": {"precision": None, "recall": None, "f1": None},
            }
        },
    }
    figure = figures.class_figure(evaluation)
    assert figure.layout.yaxis.ticktext == ("easy", "none (no patches)")  # drawn from the bottom
    bars = figure.data[0]
    assert bars.error_x.array == pytest.approx((0.05, 0.0))
    assert bars.error_x.arrayminus == pytest.approx((0.1, 0.0))


def test_reliability_of_a_model_that_is_right_half_the_time():
    table = pd.DataFrame(
        {"split": "test", "label": ["a", "b"] * 10, "predicted": "a", "p_a": np.float32(0.9), "p_b": np.float32(0.1)}
    )
    run = SimpleNamespace(evaluation={}, predictions=table)  # of a version without calibration
    curve = next(trace for trace in go.Figure(diagram(reliability_rows(run))).data if trace.name == "test")
    assert curve.x == pytest.approx([0.9])
    assert curve.y == pytest.approx([0.5])
    assert curve.error_y.array[0] == pytest.approx(0.201, abs=0.001)  # Wilson's interval of 10 in 20


def test_the_map_of_places_keeps_their_shape():
    figure = made.place_figure({"train": "10.00 60.00, 11.00 60.00", "val": "", "test": "10.50 60.00"})
    go.Figure(figure)
    assert [trace["x"] for trace in figure["data"]] == [[10.0, 11.0], [], [10.5]]
    assert figure["layout"]["yaxis"]["scaleratio"] == pytest.approx(
        2.0
    )  # at 60°, degrees of longitude are half as long
