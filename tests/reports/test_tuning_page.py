"""The page of a search says whether it helped, of how many trials the best is the best, and how to use it."""

import csv
import io
import json
import re

import plotly.graph_objects as go
import pytest
from searches import SEARCHED, search_record

from landsift.reports.tuning.page import counts, train_all, tuning_html, verdict


@pytest.fixture(scope="module")
def page():
    return tuning_html(search_record())


def figures(html):
    found = re.findall(r'data-figure="plot-([^"]+)">(.*?)</script>', html)
    return {name: json.loads(text) for name, text in found}


def test_figures_are_plotlys_and_there_is_one_per_setting(page):
    found = figures(page)
    assert set(found) == {"history", "importances", *(f"slice-{name}" for name in SEARCHED)}
    for figure in found.values():
        go.Figure(figure)
    points = [len(trace["x"]) for trace in found["history"]["data"]]
    assert points[0] == points[1] == sum(t["state"] == "done" for t in search_record()["trials"])
    best = found["history"]["data"][0]["y"]
    assert best == sorted(best)


def test_both_models_stand_there_with_intervals_and_their_difference(page):
    assert "On test the chosen configuration is 3.10 percentage points better" in page
    assert "95 % interval +2.10 to +4.10" in page
    assert page.count("85.00 to 93.00") >= 4
    assert "14 trials: 9 trained to the end, 3 ended early, 1 failed, 1 tried before" in page


def test_a_failed_trial_is_named_with_its_cause_and_names_are_escaped(page):
    assert "Trial 13: training &lt;diverged&gt; at learning rates 0.1" in page
    assert "<diverged>" not in page
    assert "built-in method" not in page
    assert page.count("strategy two_phase, lr_head × ") == 8  # trials 1, 3, ..., 13, and the failed one by itself


def test_the_command_for_all_labels_leaves_the_budget_out(page):
    assert "landsift run --config DIR/best.yaml --set data.budget=null --out RUN" in page
    config = search_record()["asked"]["config"]
    config["data"]["budget"] = None
    assert train_all(config, "a b") == "landsift run --config 'a b/best.yaml' --out RUN"


def test_the_table_counts_trials_from_1(page):
    text = json.loads(re.search(r'data-table="trials.csv">(.*?)</script>', page).group(1))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["trial"] for row in rows] == [str(n) for n in range(1, 15)]
    assert (rows[13]["same_as"], rows[12]["state"], rows[0]["best_epoch"]) == ("2", "failed", "4")


def test_the_verdict_goes_by_the_interval():
    assert "no difference" in verdict(search_record(difference=0.005)["finished"])
    assert "3.00 percentage points worse" in verdict(search_record(difference=-0.03)["finished"])
    assert "therefore the best" in verdict(search_record(chosen=0)["finished"])
    alone = search_record(chosen=0)["finished"]
    alone["standings"] = alone["standings"][:1]
    assert "nothing was compared" in verdict(alone)
    found = search_record()["finished"]
    found["test"] = {"best": found["test"]["best"]}
    assert "could not be trained" in verdict(found)


def test_a_search_of_one_seed_and_few_trials_has_a_page():
    record = search_record(4, chosen=0)
    record["finished"]["standings"] = [{"number": 0, "accuracies": [0.8]}]
    record["finished"]["importances"] = {}
    html = tuning_html(record)
    assert "no time to train the best trials with further seeds" in html
    assert "What mattered" not in html
    assert counts(record["trials"][:1]) == "1 trial: 1 trained to the end"
