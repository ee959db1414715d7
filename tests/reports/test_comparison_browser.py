"""The comparison in a real browser: it is drawn, asks for nothing, and one choice of budget changes every table."""

import pytest
from comparisons import comparison

from landsift.reports.comparison.page import comparison_html

pytestmark = pytest.mark.browser


@pytest.fixture
def open_comparison(browser, tmp_path):
    """Function that opens a comparison in a window of a width; returns the page and what it complained about."""

    def open_page(width=1280, **settings):
        file = tmp_path / "comparison.html"
        file.write_text(comparison_html(comparison(**settings)), encoding="utf-8")
        page = browser.new_page(viewport={"width": width, "height": 900})
        complaints = []
        page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if request.url != file.as_uri() else None)
        page.goto(file.as_uri())
        page.wait_for_function("document.querySelectorAll('.plot .main-svg').length > 0")
        return page, complaints

    return open_page


def shown(page):
    """The budgets whose tables can be seen, in each of the three sections."""
    panels = "all => all.filter(panel => panel.offsetHeight > 0).map(panel => panel.dataset.budget)"
    return [page.locator(f"#{section} .panel").evaluate_all(panels) for section in ("strategies", "classes", "pairs")]


def test_lines_and_bands_are_drawn_and_nothing_is_asked_for(open_comparison):
    page, complaints = open_comparison()
    assert page.locator("#plot-accuracy .scatterlayer .trace").count() == 16
    assert page.locator("#plot-accuracy .legendtext").count() == 8
    assert complaints == []


def test_one_budget_is_drawn_with_whiskers(open_comparison):
    page, complaints = open_comparison(budgets=(500,))
    assert page.locator("#plot-accuracy .errorbar").count() == 8
    assert shown(page) == [["500"]] * 3
    assert complaints == []


def test_one_choice_of_budget_changes_every_table(open_comparison):
    page, complaints = open_comparison()
    assert shown(page) == [["8000"]] * 3
    page.get_by_label("1,000").check()
    assert shown(page) == [["1000"]] * 3
    page.emulate_media(media="print")
    assert shown(page) == [["500", "1000", "2000", "4000", "8000"]] * 3
    assert complaints == []


def test_names_are_drawn_as_they_are_written(open_comparison):
    page, _ = open_comparison(strategies=("<b>a & b</b>", "c"))
    assert "<b>a & b</b>" in page.locator("#plot-accuracy .legendtext").all_text_contents()


@pytest.mark.parametrize("width", [1280, 400])
def test_no_window_scrolls_sideways(open_comparison, width):
    page, complaints = open_comparison(
        width,
        strategies=("linear_probe", "full", "differential" * 3, "p" * 40, *(f"strategy {k}" for k in range(8))),
        classes=["HerbaceousVegetation" * 2, *(f"class {k}" for k in range(11))],
        failed={("full", 500, 0): "a_reason_of_one_very_long_word" * 5},
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []
