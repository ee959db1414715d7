"""The page of a comparison answers first, tells what failed, and holds every figure it rests on."""

import json

import pytest
from comparisons import BUDGETS, CURVES, comparison
from page_reader import Page

from landsift.reports.comparison.page import comparison_html

HOSTILE = ("<script>alert(1)</script>", "a & b", "\"quoted\" 'name'", "</style><img src=x onerror=alert(1)>")


def page_of(**settings):
    return Page(comparison_html(comparison(**settings)))


@pytest.fixture(scope="module")
def made():
    return comparison()


@pytest.fixture(scope="module")
def page(made):
    return Page(comparison_html(made))


def result_of(made, row, budget):
    return next(r for r in made["results"] if (r["row"], r["budget"]) == (row, budget))


def test_the_answer_stands_at_the_top_for_every_budget_the_largest_first(made, page):
    top = page.text[: page.text.index("Accuracy by label budget")]
    advice = {a["budget"]: a for a in made["recommendations"]}
    assert f"With 8,000 labels, use {advice[8000]['row']} trains 100 %" in top
    assert advice[8000]["sentence"] in top
    places = []
    for budget in sorted(BUDGETS, reverse=True):
        use, best = (result_of(made, advice[budget][key], budget) for key in ("row", "best"))
        low, high = (100 * bound for bound in use["accuracy_interval"])
        said = f"{budget:,} labels {use['row']} {100 * use['accuracy']:.2f} % {low:.2f} to {high:.2f} %"
        places.append(top.index(f"{said} {best['row']} {100 * best['accuracy']:.2f} %"))
    assert places == sorted(places)
    assert all(finding in top for finding in made["findings"])


def test_the_advice_stands_with_its_reason_at_every_budget(made, page):
    tables = page.text[page.text.index("500 labelled patches") :]
    assert all(tables.count(advice["sentence"]) == 1 for advice in made["recommendations"])


def test_failed_trainings_are_named_with_reasons_above_the_answer(page):
    notice = page.text[: page.text.index("With 8,000 labels")]
    assert "1 of 120 trials failed and is excluded from all results." in notice
    assert "scratch with 500 labels, seed 2: the loss is not finite" in notice
    assert "2 of 3 seeds" in page.text


def test_without_failures_there_is_no_notice():
    page = page_of(failed={})
    assert not [attrs for attrs in page.all("div") if attrs.get("class") == "notice"]
    assert "failed" not in page.text


def test_a_strategy_that_failed_altogether_stays_in_the_table():
    page = page_of(failed={("full", 500, seed): "out of memory" for seed in range(3)})
    assert page.text.count("full all seeds failed") == 1
    assert page.text.count("full with 500 labels, seeds 0, 1, 2: out of memory") == 1
    assert page.text.count("out of memory") == 4  # and once for each trial


def test_many_failures_are_told_without_hiding_the_answer():
    cells = [("full", budget, seed) for budget in BUDGETS for seed in range(3)]
    page = page_of(failed={cell: f"reason {cell[1]}.{cell[2]}" for cell in cells})
    notice = page.text[: page.text.index("With 8,000 labels")]
    assert "15 of 120 trials failed" in notice
    assert "The other 12" in notice
    assert all(notice.count(f"reason {budget}.{seed}") == 1 for _, budget, seed in cells)


def test_where_nothing_finished_the_page_says_so():
    failed = {(name, 500, seed): "no patches" for name in ("full", "scratch") for seed in range(3)}
    page = page_of(strategies=("full", "scratch"), budgets=(500,), failed=failed)
    assert "No trial finished, so there is nothing to recommend." in page.text
    assert "Accuracy by" not in page.text
    assert page.misplaced == []


@pytest.mark.parametrize("budget", BUDGETS)
def test_every_strategy_has_its_figures_at_every_budget(made, page, budget):
    for row in CURVES:
        r = result_of(made, row, budget)
        low, high = (100 * bound for bound in r["accuracy_interval"])
        validation = f"{100 * r['validation']['accuracy']:.2f} %"
        figures = f"{100 * r['accuracy']:.2f} % {low:.2f} to {high:.2f} % {r['macro_f1']:.3f} {validation}"
        assert figures in page.text, row


def test_parameters_work_and_time_are_told(page):
    assert "331,890 13.0 %" in page.text
    assert "2,553,000 100 %" in page.text
    assert "1.0 ×" in page.text
    assert "345 GFLOP 34 s" in page.text  # of the linear probe's training with 8,000 labels


def test_rows_are_listed_and_told_by_the_criterion_that_was_asked_for(made):
    other = json.loads(json.dumps(made)) | {"rule": {"criterion": "balanced_accuracy", "margin": 0.005, "alpha": 0.05}}
    page = Page(comparison_html(other))
    assert "Sorted by test balanced accuracy, the highest first." in page.text
    assert "percentage points of test balanced accuracy" in page.text
    assert "at most 0.5 points worse" in page.text
    result = result_of(made, "full", 8000)
    figures = (result["balanced_accuracy"], result["validation"]["balanced_accuracy"])
    assert " ".join(f"{100 * figure:.2f} %" for figure in figures) in page.text


@pytest.mark.parametrize(
    ("groups", "said"),
    [(12, "the sampling of the 12 groups of test patches and the variation between the 3 seeds"), (1, "of one group")],
)
def test_groups_of_the_test_patches_are_told(made, groups, said):
    assert said in Page(comparison_html(made | {"groups": groups})).text


def test_the_best_those_within_the_margin_and_the_recommended_are_marked(made, page):
    start = page.text.index("8,000 labelled patches With")
    table = page.text[start : page.text.index("F1 per class")]
    advice = next(a for a in made["recommendations"] if a["budget"] == 8000)
    assert f"{advice['row']} recommended" in table
    assert advice["row"] != advice["best"]
    assert f"{advice['best']} best on validation" in table
    others = set(advice["within_margin"]) - {advice["row"], advice["best"]}
    assert all(f"{name} within 2 points" in table for name in others)
    assert table.count("within 2 points") == len(others)


def test_f1_of_each_class_stands_by_strategy(made, page):
    start = page.text.index("8,000 labelled patches class")
    table = page.text[start:]
    order = sorted(CURVES, key=lambda row: -result_of(made, row, 8000)["accuracy"])
    for name in made["data"]["classes"]:
        cells = " ".join(f"{result_of(made, row, 8000)['f1'][name]:.3f}" for row in order)
        assert f"{name} {cells}" in table


def test_every_pair_is_told_from_both_sides(made, page):
    titles = [attrs["title"] for attrs in page.all("td") if "percentage points" in attrs.get("title", "")]
    assert len(titles) == 2 * len(made["pairs"])
    pair = next(p for p in made["pairs"] if (p["budget"], p["a"], p["b"]) == (8000, "linear_probe", "full"))
    points = 100 * abs(pair["difference"])
    low, high = sorted(100 * abs(bound) for bound in pair["interval"])
    for said, interval in (
        (f"full is significantly better than linear_probe: +{points:.2f}", f"+{low:.2f} to +{high:.2f}"),
        (f"linear_probe is significantly worse than full: −{points:.2f}", f"−{high:.2f} to −{low:.2f}"),
    ):
        start = f"{said} percentage points (95 % interval of this pair alone {interval}), p < 0.001 corrected"
        assert any(title.startswith(start) for title in titles), start
    assert any("layer_decay and differential do not differ significantly" in title for title in titles)
    assert "▲ significantly better , ▼ significantly worse , ≈ no significant difference" in page.text


def test_how_it_was_done_and_the_settings_are_told(page):
    for fact in (
        "the same labelled patches",
        "The best epoch on the 4,860 validation patches",
        "a two-way analysis of variance over seeds and test patches",
        "The strategy with the highest accuracy on the validation patches, mean over seeds",
        "at most 2 points worse. This is a one-sided test at the 5 % level",
        "Wall-clock time is shown too but not used",
        "progressive 12 head: 4 epochs, 851,000 parameters → last blocks: 4 epochs",
        "14,580 train / 4,860 val / 4,860 test",
        "f1d2d2f924e986ac86fdf7b36c94bcdf32beec15",
        "119 of 120 finished, 40 from the cache",
        "backbone: mobilenetv2_100",
        "landsift compare --data eurosat",
        "--out 'a b'",
        "landsift 0.1.0",
    ):
        assert fact in page.text, fact


def test_one_of_each_gives_a_page_without_pairs_or_choices():
    page = page_of(strategies=("full",), budgets=(500,), seeds=(0,), failed={})
    assert "1 strategy · 1 label budget · 1 seed" in page.text
    assert "Pairwise tests" not in page.text
    assert not page.all("fieldset")
    assert "mean over" not in page.text
    assert "covers the sampling of the test patches, but not the variation between seeds." in page.text
    assert "× linear probe" not in page.text
    assert page.misplaced == []


def test_variants_of_the_model_are_rows_of_their_own():
    page = page_of(strategies=("linear_probe", "full"), variants=("resnet18", "mobilenetv2_100"), budgets=(500, 1000))
    assert "2 strategies × 2 model variants" in page.text
    for name in ("linear_probe · resnet18", "full · mobilenetv2_100"):
        assert page.text.count(name) > 4, name


def test_names_are_shown_as_written_and_run_nothing():
    made = comparison(strategies=("linear_probe", *HOSTILE), budgets=(500, 1000), classes=HOSTILE)
    made["data"]["source"] = "/data/<script>alert(2)</script>"
    made["command"][3] = "<b>"
    made["config"]["data"]["source"] = "<i>"
    made["findings"] = ["<u>finding</u>"]
    made["cells"][-1] = made["cells"][-1] | {"state": "failed", "reason": "<em>why</em>"}
    html = comparison_html(made)
    page = Page(html)
    for name in (*HOSTILE, "/data/<script>alert(2)</script>", "'<b>'", "source: <i>", "<u>finding</u>", "<em>why</em>"):
        assert name in page.text, name
    assert len(page.all("script")) == 8  # the data of the figure and of four tables, plotly.js and the page's own two
    assert html.count("<script") == 8
    assert not {"img", "i", "u", "em"} & {tag for tag, attrs in page.tags if not attrs}
    assert page.misplaced == []


def test_the_page_is_one_valid_file_that_asks_for_nothing(made, page):
    html = comparison_html(made)
    assert html.count("* plotly.js v") == 1
    assert len(html) < 6e6
    assert page.requests() == []
    assert page.misplaced == []
    assert "default-src 'none'" in html
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"].removeprefix("#") for attrs in page.all("a")} <= set(ids)
    tags = [tag for tag, _ in page.tags]
    assert tags.count("h1") == tags.count("title") == 1


def test_the_page_comes_from_the_file_alone_and_is_the_same_every_time(made):
    assert comparison_html(made) == comparison_html(json.loads(json.dumps(made)))


def test_a_budget_with_fewer_seeds_says_so_once():
    """On every row the words pushed the last column out of the page."""
    made = comparison(failed={("scratch", 500, 2): "out of memory"})
    made["cells"] = [c for c in made["cells"] if c["budget"] < 8000 or c["seed"] == 0]
    for result in made["results"]:
        if result["budget"] == 8000:
            result |= {"seeds": [0], "accuracy_per_seed": result["accuracy_per_seed"][:1]}
    page = Page(comparison_html(made))
    assert page.text.count("1 of 3 seeds") == 1
    assert page.text.count("2 of 3 seeds") == 1
    assert "one seed" in page.text[: page.text.index("With 500 labels")]


def test_the_command_that_trains_each_recommended_strategy_stands_below_the_answer(made):
    """Each strategy once, that of the largest budget first; in an older folder, none."""
    page = Page(comparison_html(made))
    advised = sorted(made["recommendations"], key=lambda advice: -advice["budget"])
    names = list(dict.fromkeys(advice["row"] for advice in advised))
    at = [page.text.index(f"Train {name} on all labels: landsift run --data eurosat") for name in names]
    assert at == sorted(at)
    older = made | {"rows": [{k: v for k, v in row.items() if k != "command"} for row in made["rows"]]}
    assert "on all labels:" not in Page(comparison_html(older)).text
