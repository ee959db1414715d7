"""The CSV tables hold every number of a comparison, one record a line."""

import csv
import io

import pytest
from comparisons import comparison

from landsift.reports.comparison.csv_tables import tables


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def made():
    return comparison()


@pytest.fixture(scope="module")
def written(made):
    return {name: read(text) for name, text in tables(made).items()}


def test_there_is_a_line_for_every_record(made, written):
    assert {name: len(rows) for name, rows in written.items()} == {
        "strategies.csv": 8 * 5,
        "per_class.csv": 8 * 5 * 10,
        "pairs.csv": 5 * 28,
        "cells.csv": 8 * 5 * 3,
    }


def test_numbers_are_written_in_full(made, written):
    for line, result in zip(written["strategies.csv"], made["results"], strict=True):
        assert (line["name"], int(line["budget"])) == (result["row"], result["budget"])
        assert float(line["accuracy"]) == result["accuracy"]
        assert [float(line["accuracy_low"]), float(line["accuracy_high"])] == result["accuracy_interval"]
        assert float(line["relative_work"]) == result["relative_work"]
        assert float(line["val_macro_f1"]) == result["validation"]["macro_f1"]
        assert line["seeds"] == " ".join(str(seed) for seed in result["seeds"])
    for line, pair in zip(written["pairs.csv"], made["pairs"], strict=True):
        assert (line["a"], line["b"], line["verdict"]) == (pair["a"], pair["b"], pair["verdict"])
        assert float(line["p_corrected"]) == pair["p_corrected"]
        assert [float(line["low"]), float(line["high"])] == pair["interval"]
    first = made["results"][0]
    assert float(written["per_class.csv"][0]["f1"]) == first["f1"][written["per_class.csv"][0]["class"]]


def test_one_strategy_of_a_budget_is_best_and_one_recommended(made, written):
    for advice in made["recommendations"]:
        lines = [line for line in written["strategies.csv"] if int(line["budget"]) == advice["budget"]]
        assert [line["name"] for line in lines if line["recommended"] == "true"] == [advice["row"]]
        assert [line["name"] for line in lines if line["best"] == "true"] == [advice["best"]]
        assert {line["name"] for line in lines if line["within_margin"] == "true"} == set(advice["within_margin"])


def test_a_failed_training_has_its_reason_and_no_figures(written):
    (failed,) = [line for line in written["cells.csv"] if line["state"] == "failed"]
    assert (failed["name"], failed["budget"], failed["seed"]) == ("scratch", "500", "2")
    assert "not finite" in failed["reason"]
    assert failed["accuracy"] == failed["train_seconds"] == ""


def test_variants_and_odd_names_come_back_as_they_were():
    made = comparison(strategies=("a, b", 'c "d"\ne'), variants=("x", "y"), classes=("f;g", "é, <h>"), failed={})
    lines = read(tables(made)["strategies.csv"])
    assert {(line["strategy"], line["variant"]) for line in lines} == {
        (s, v) for s in ("a, b", 'c "d"\ne') for v in ("x", "y")
    }
    assert {line["class"] for line in read(tables(made)["per_class.csv"])} == {"f;g", "é, <h>"}
    assert all(line["relative_work"] == "" for line in lines)  # there is no linear probe


def test_a_table_without_records_has_its_header():
    text = tables(comparison(strategies=("full",), failed={}))["pairs.csv"]
    assert text == "budget,a,b,seeds,difference,low,high,p,p_corrected,verdict,test\n"
