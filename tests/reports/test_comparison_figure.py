"""Accuracy against budget: a line and a band for each strategy, on an axis that keeps small errors apart."""

import math

import plotly.graph_objects as go
import pytest
from comparisons import BUDGETS, CURVES, comparison

from landsift.reports.comparison.figure import accuracy_figure


def drawn(**settings):
    """The comparison and its figure in Plotly's own classes, which refuse what plotly.js would pass over."""
    made = comparison(**settings)
    return made, go.Figure(accuracy_figure(made))


def test_each_strategy_has_a_line_and_its_band():
    made, figure = drawn()
    lines = {trace.name: trace for trace in figure.data if trace.mode == "lines+markers"}
    bands = {trace.name: trace for trace in figure.data if trace.fill == "toself"}
    assert set(lines) == set(bands) == set(CURVES)
    for result in made["results"]:
        place = BUDGETS.index(result["budget"])
        line, band = lines[result["row"]], bands[result["row"]]
        assert line.x[place] == result["budget"]
        assert 1 - line.y[place] == pytest.approx(result["accuracy"])
        assert 1 - band.y[place] == pytest.approx(result["accuracy_interval"][1])
        assert 1 - band.y[-1 - place] == pytest.approx(result["accuracy_interval"][0])
        assert f"{100 * result['accuracy']:.2f}" in line.customdata[place]


def test_lines_differ_in_colour_and_in_shape():
    _, figure = drawn()
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert len({trace.line.color for trace in lines}) == 8
    assert len({trace.marker.symbol for trace in lines}) == 6


def test_variants_share_a_colour_and_differ_in_dash():
    _, figure = drawn(strategies=("full", "scratch"), variants=("a", "b"))
    lines = {trace.name: trace for trace in figure.data if trace.mode == "lines+markers"}
    assert lines["full · a"].line.color == lines["full · b"].line.color != lines["scratch · a"].line.color
    assert lines["full · a"].line.dash == "solid"
    assert lines["full · b"].line.dash == "dash"


def test_variants_of_one_strategy_have_colours_of_their_own():
    _, figure = drawn(strategies=("full",), variants=("a", "b"))
    assert len({trace.line.color for trace in figure.data if trace.mode == "lines+markers"}) == 2


def test_the_legend_reads_like_the_right_end_of_the_figure():
    made, figure = drawn()
    ends = {r["row"]: r["accuracy"] for r in made["results"] if r["budget"] == BUDGETS[-1]}
    names = [trace.name for trace in figure.data if trace.mode == "lines+markers"]
    assert names == sorted(ends, key=ends.get, reverse=True)


def test_the_axes_are_logarithmic_and_labelled_with_what_people_say():
    _, figure = drawn()
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    assert figure.layout.xaxis.ticktext == ("500", "1,000", "2,000", "4,000", "8,000")
    assert {"90\N{NO-BREAK SPACE}%", "95\N{NO-BREAK SPACE}%"} <= set(figure.layout.yaxis.ticktext)
    worst, best = figure.layout.yaxis.range
    assert worst > best  # the highest accuracy is at the top


@pytest.mark.parametrize("reach", [0.002, 0.03, 0.3])
@pytest.mark.parametrize("accuracy", [0.0, 0.5, 0.9, 0.9731, 1.0])
def test_every_accuracy_has_a_place_and_some_ticks_beside_it(accuracy, reach):
    made = comparison(strategies=("full",), budgets=(500, 1000), seeds=(0,), failed={})
    for result in made["results"]:
        result |= {"accuracy": accuracy, "accuracy_interval": [max(0, accuracy - reach), min(1, accuracy + reach)]}
    figure = go.Figure(accuracy_figure(made))
    worst, best = figure.layout.yaxis.range
    line = next(trace for trace in figure.data if trace.mode == "lines+markers")
    assert all(best < math.log10(error) < worst for error in line.y)
    assert 3 <= len(figure.layout.yaxis.tickvals) <= 12
    assert all(best < math.log10(error) < worst for error in figure.layout.yaxis.tickvals)


def test_one_budget_is_drawn_as_points_with_whiskers_the_best_on_top():
    made, figure = drawn(budgets=(2000,))
    ends = {r["row"]: r for r in made["results"]}
    assert figure.layout.yaxis.ticktext[-1] == max(ends, key=lambda row: ends[row]["accuracy"])
    point = figure.data[-1]
    best = ends[figure.layout.yaxis.ticktext[-1]]
    assert 1 - point.x[0] == pytest.approx(best["accuracy"])
    assert 1 - point.x[0] - point.error_x.array[0] == pytest.approx(best["accuracy_interval"][0])
    assert 1 - point.x[0] + point.error_x.arrayminus[0] == pytest.approx(best["accuracy_interval"][1])


def test_a_strategy_without_a_budget_has_a_shorter_line():
    _, figure = drawn(failed={("full", 500, seed): "why" for seed in range(3)})
    line = next(trace for trace in figure.data if trace.name == "full" and trace.mode == "lines+markers")
    assert line.x == BUDGETS[1:]


def test_names_are_drawn_as_they_are_written():
    _, figure = drawn(strategies=("<b>a</b>", "b & c"))
    assert {trace.name for trace in figure.data} == {"&lt;b&gt;a&lt;/b&gt;", "b &amp; c"}
    _, figure = drawn(strategies=("<b>a</b>", "b & c"), budgets=(500,))
    assert set(figure.layout.yaxis.ticktext) == {"&lt;b&gt;a&lt;/b&gt;", "b &amp; c"}
