"""The report in a real browser: all is drawn, nothing is asked for, the slider moves the points."""

import numpy as np
import pytest

from landsift.reports.run.page import report_html

PLOTS = ("accuracy", "loss", "learning_rate", "classes", "reliability", "risk", "embeddings")

pytestmark = pytest.mark.browser


@pytest.fixture
def open_report(browser, make_run):
    """Function that opens a run's report in a window of a width; returns the page and what it complained about."""

    def open_page(width=1280, **settings):
        run = make_run(f"run-{width}", **settings)
        file = run.path / "report.html"
        file.write_text(report_html(run), encoding="utf-8")
        page = browser.new_page(viewport={"width": width, "height": 900})
        complaints = []
        page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if off_page(request.url, file) else None)
        page.goto(file.as_uri())
        page.wait_for_function("document.querySelectorAll('.plot .main-svg').length >= 6")
        return page, complaints

    return open_page


def off_page(url, file):
    return url != file.as_uri() and not url.startswith(("data:", "blob:"))


def test_every_figure_is_drawn_and_nothing_is_asked_for(open_report):
    page, complaints = open_report()
    for name in PLOTS:
        drawn = f"#plot-{name} :is(.scatterlayer .trace, .barlayer .trace)"
        assert page.locator(drawn).count() > 0, name
        assert page.locator(f"#plot-{name}").bounding_box()["height"] > 200, name
    assert page.locator("img").evaluate_all("images => images.every(i => i.complete && i.naturalWidth > 0)")
    assert complaints == []


def test_the_slider_moves_the_points(open_report):
    page, complaints = open_report()
    points = "#plot-embeddings .scatterlayer .trace .point"
    places = "all => all.map(point => point.getAttribute('transform').match(/[-.0-9]+/g).map(Number))"
    before = page.locator(points).evaluate_all(places)
    assert len(before) == 200
    slider = page.locator("#plot-embeddings .slider-rail-touch-rect")
    slider.scroll_into_view_if_needed()
    rail = slider.bounding_box()
    page.mouse.click(rail["x"] + 3, rail["y"] + rail["height"] / 2)
    page.wait_for_timeout(900)
    after = page.locator(points).evaluate_all(places)
    assert len(after) == 200
    assert sum(a != b for a, b in zip(before, after, strict=True)) > 190
    assert "after epoch 1" in page.locator("#plot-embeddings .slider-label").first.text_content()
    page.locator("#plot-embeddings .updatemenu-button").click()
    page.wait_for_timeout(3000)
    final = page.locator(points).evaluate_all(places)
    assert np.allclose(final, before, atol=0.01)  # played through to the last frame
    assert complaints == []


def test_names_are_drawn_as_they_are_written(open_report):
    page, _ = open_report()
    for name, place in (("classes", ".ytick text"), ("embeddings", ".legendtext")):
        texts = page.locator(f"#plot-{name} {place}").all_text_contents()
        assert "<b>Über & Co</b>" in texts, name
        assert 'Say "hi"' in texts, name


@pytest.mark.parametrize("width", [1280, 400])
def test_no_window_scrolls_sideways(open_report, width):
    names = ["HerbaceousVegetation" * 2, *(f"class {k}" for k in range(11))]
    page, complaints = open_report(width, classes=names)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.documentElement.scrollHeight") > 2000
    assert complaints == []


def test_on_paper_figures_fit_the_sheet(open_report):
    page, complaints = open_report()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#plot-classes .main-svg").first.bounding_box()["width"] <= 660
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert complaints == []
