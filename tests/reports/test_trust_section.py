"""The page says whether the model has a temperature, what its sets hold, and how many of its answers are wrong."""

import json

import numpy as np
import pytest
from page_reader import Page
from safetensors.numpy import save_file

from landsift import runs
from landsift.errors import RunError
from landsift.reports.run import trust
from landsift.reports.run.page import report_html


def changed(run, **values):
    """The run with other content of evaluation.json."""
    file = run.path / runs.EVALUATION
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    return runs.Run.open(run.path)


def test_figures_before_and_after_stand_side_by_side(make_run):
    run = make_run()
    text = Page(report_html(run)).text
    calibration = run.evaluation["calibration"]
    for which in ("before", "after"):
        for figure in trust.FIGURES:
            assert f"{calibration[which]['test'][figure]:.4f}" in text
    assert "Logits are divided by a temperature of 0.500, which was fitted on the validation patches" in text
    assert "The best epoch was chosen on the same patches; the test reports." in text


def test_a_temperature_that_was_not_applied_is_told_with_its_reason(make_run):
    run = make_run()
    calibration = run.evaluation["calibration"]
    calibration["choice"] |= {"applied": False, "reason": "not applied: it raises the calibration error"}
    text = Page(report_html(changed(run, calibration=calibration | {"temperature": None}))).text
    assert "The model has no temperature: it raises the calibration error" in text
    assert "without the temperature" not in text
    text = Page(report_html(changed(run, calibration=calibration | {"temperature": None, "choice": None}))).text
    assert "No temperature was fitted (evaluation.calibration is none)." in text


def test_rows_of_sets_say_what_was_chosen_and_what_came(make_run):
    found = trust.texts(make_run().evaluation["trust"])
    assert len(found["set_rows"]) == 6
    (chosen,) = [row for row in found["set_rows"] if row["chosen"]]
    assert (chosen["nominal"], chosen["kind"]) == ("95\N{NO-BREAK SPACE}%", "over all patches")
    assert len(found["class_sets"]) == 4


def test_a_risk_without_a_threshold_is_told(make_run):
    run = make_run()
    found = run.evaluation["trust"]
    assert found["abstention"]["confidence"] is None  # 200 patches cannot show 1 %
    page = Page(report_html(run)).text
    assert "there is no such threshold: validation has too few patches" in page
    assert "none found" in page


def test_a_run_without_these_figures_has_a_page_without_them(make_run):
    page = report_html(make_run(trust=False))
    assert 'id="trust"' not in page
    assert 'id="calibration"' in page
    assert 'id="plot-reliability"' in page


@pytest.mark.parametrize("interval", [[0.9, 1.0], None])
def test_the_diagram_has_whiskers_where_there_are_intervals(interval):
    row = {"low": 0.9, "high": 1.0, "n": 40, "confidence": 0.96, "accuracy": 0.95, "interval": interval}
    figure = trust.diagram([row], without=[row])
    names = [trace.get("name") for trace in figure["data"]]
    assert names[1:3] == ["without the temperature", "test"]
    assert figure["data"][2]["error_y"]["array"] == pytest.approx([0.05 if interval else 0.0])


def test_mistakes_stand_beside_what_speaks_for_them(make_run):
    run = make_run()
    assert "second picture" not in report_html(run)
    test = run.predictions[run.predictions["split"] == "test"]
    wrong = test.loc[test["label"] != test["predicted"], "path"].tolist()
    heat = np.zeros((8, 8), np.uint8)
    heat[2, 3] = 255
    save_file(dict.fromkeys(wrong[:5], heat), run.path / runs.MISTAKES)
    page = Page(report_html(run))
    assert "Orange in the second picture marks what speaks for the predicted class" in page.text
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert sum("Orange where" in each["alt"] for each in pictures) <= 5
    assert sum("Orange where" in each["alt"] for each in pictures) > 0
    assert page.misplaced == []


def test_damaged_maps_of_mistakes_are_told(make_run):
    run = make_run()
    (run.path / runs.MISTAKES).write_bytes(b"none")
    with pytest.raises(RunError, match=r"cannot read .*mistakes\.safetensors"):
        report_html(run)
