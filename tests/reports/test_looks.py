"""Every page in a browser: on a light and a dark screen, on a telephone, on paper, and for those who cannot see it."""

import csv
import io
import re

import pytest
from every_page import KINDS, NAME, NOTE, write_page
from test_map_page import wait_until

pytestmark = pytest.mark.browser

TABLES = {
    "run": ("epochs.csv", "confusion.csv", "classes.csv", "reliability.csv", "mistakes.csv"),
    "comparison": ("strategies.csv", "per_class.csv", "pairs.csv", "cells.csv"),
    "tuning": ("trials.csv",),
    "pretraining": ("epochs.csv", "probe.csv"),
    "map": ("areas.csv", "places.csv"),
    "change": ("matrix.csv", "transitions.csv", "classes.csv"),
    "label": (),
}
DRAWN = ".plot :is(.xtick, .ytick, .legend) text, svg.sankey text:not(.date)"
"""Text in figures."""
PAPER = 700
"""Width of a sheet between its margins, in pixels: A4 at 96 dpi has 718."""


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    """Function that gives the page of a kind, opened once, and what it complained about."""
    found = {}

    def page_of(kind):
        if kind not in found:
            file = write_page(kind, tmp_path_factory.mktemp("pages") / kind)
            page = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
            complaints = []
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(file.as_uri())
            page.wait_for_load_state("load")
            if kind in ("map", "change"):
                wait_until(page, "document.documentElement.dataset.map === 'ready'", 60)
            found[kind] = (page, complaints)
        page, complaints = found[kind]
        page.emulate_media(media="screen", color_scheme="light")
        page.set_viewport_size({"width": 1280, "height": 900})
        complaints.clear()
        return page, complaints

    return page_of


def luminance(colour):
    """The relative luminance of rgb(...), as WCAG 2 has it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def colours(page):
    """Luminance of the ground, of the text, and of all text in figures."""
    ground, ink = page.evaluate("(style => [style.backgroundColor, style.color])(getComputedStyle(document.body))")
    drawn = page.evaluate(f"[...document.querySelectorAll('{DRAWN}')].map(text => getComputedStyle(text).fill)")
    return luminance(ground), luminance(ink), [luminance(colour) for colour in drawn]


def colours_once(page, sound):
    """The colours of the page once they are sound: figures follow a little later. After 20 s it fails."""
    for _ in range(100):
        found = colours(page)
        if sound(*found):
            return found
        page.wait_for_timeout(200)
    raise AssertionError(found)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_light_or_dark_as_its_reader_has_set_and_changes_with_it(opened, kind):
    page, complaints = opened(kind)
    colours_once(page, lambda ground, ink, drawn: ground > 0.8 and ink < 0.1 and all(each < 0.2 for each in drawn))
    page.emulate_media(color_scheme="dark")
    _, _, drawn = colours_once(
        page, lambda ground, ink, drawn: ground < 0.02 and ink > 0.6 and all(each > 0.3 for each in drawn)
    )
    assert (len(drawn) > 3) == (kind in ("run", "comparison", "tuning", "pretraining", "change"))
    assert complaints == []


@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_no_serious_fault(opened, kind, complete):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed").Axe()
    page, _ = opened(kind)
    drawn = {"exclude": [[".plot .svg-container > svg"]]}  # thousands of elements without roles
    everything, contrast = {"resultTypes": ["violations"]}, {"runOnly": ["color-contrast"]}
    looks = (("light", 1280, everything), ("dark", 1280, contrast), ("light", 390, everything))
    for scheme, width, options in looks if complete else looks[:1]:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        found = axe.run(page, drawn, options).response["violations"]
        bad = [
            (fault["id"], fault["nodes"][0]["html"]) for fault in found if fault["impact"] in ("serious", "critical")
        ]
        assert bad == [], (scheme, width)


@pytest.mark.parametrize("kind", KINDS)
def test_at_390_pixels_nothing_is_cut_off_and_tables_keep_their_first_column(opened, kind):
    page, complaints = opened(kind)
    page.set_viewport_size({"width": 390, "height": 844})
    wait_until(page, "document.documentElement.scrollWidth <= 390", 20)  # figures follow a little later
    for box in page.locator(".scroll:has(table)").all():
        wide = box.evaluate("box => box.scrollWidth > box.clientWidth + 40")
        if not wide or not box.is_visible():
            continue
        first = box.locator("tbody tr > :first-child").first
        before = first.bounding_box()["x"]
        box.evaluate("box => { box.scrollLeft = 40; }")
        assert abs(first.bounding_box()["x"] - before) < 10
        box.evaluate("box => { box.scrollLeft = 0; }")
    sizes = page.locator("td, th").evaluate_all("all => all.map(cell => parseFloat(getComputedStyle(cell).fontSize))")
    assert min(sizes, default=16) >= 11
    assert complaints == []


@pytest.mark.parametrize("kind", KINDS)
def test_on_paper_there_are_no_buttons_and_nothing_is_cut_off(opened, kind):
    page, complaints = opened(kind)
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": PAPER, "height": 900})
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    colours_once(page, lambda ground, ink, drawn: ground > 0.9 and all(each < 0.2 for each in [ink, *drawn]))
    assert page.evaluate("document.documentElement.scrollWidth") <= PAPER
    for tool in (".modebar", ".download", "nav", ".views", ".maplibregl-ctrl", ".updatemenu-container"):
        assert not any(each.is_visible() for each in page.locator(tool).all()), tool
    cut = ":is(.plot .main-svg, table, .map .printed)"
    assert all(right <= PAPER for right in page.locator(cut).evaluate_all(
        "all => all.map(each => each.getBoundingClientRect().right)"
    ))  # fmt: skip
    rules = "each => [getComputedStyle(each).breakAfter, getComputedStyle(each).breakInside]"
    assert all(page.locator("h2, h3").evaluate_all(f"all => all.map({rules}).map(each => each[0] === 'avoid')"))
    assert all(page.locator("figure").evaluate_all(f"all => all.map({rules}).map(each => each[1] === 'avoid')"))
    if kind in ("map", "change"):
        pixels = "all => all.map(c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size)"
        assert all(
            count > 5 for count in page.locator(".printed").evaluate_all(pixels)
        )  # not the empty canvas of WebGL
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator(".printed").count() == 0
    assert complaints == []


@pytest.mark.parametrize("kind", KINDS)
def test_tables_are_saved_as_csv_from_the_page_itself(opened, kind, tmp_path):
    page, complaints = opened(kind)
    buttons = page.locator("button.download")
    assert buttons.evaluate_all("all => all.map(each => each.dataset.name)") == list(TABLES[kind])
    for name in TABLES[kind]:
        with page.expect_download() as download:
            page.locator(f"button.download[data-name='{name}']").click()
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
        rows = list(csv.reader(io.StringIO((tmp_path / name).read_text(encoding="utf-8-sig"))))
        assert len({len(row) for row in rows}) == 1
        assert len(rows) > 1
    assert complaints == []


def test_no_button_shares_a_figure_with_a_cloud(opened):
    page, _ = opened("run")
    names = page.locator(".modebar-btn").evaluate_all("all => all.map(each => each.dataset.title)")
    assert names
    assert not [name for name in names if re.search("share|cloud|upload|studio", name, re.IGNORECASE)]


def test_the_confusion_matrix_shows_counts_or_shares(opened):
    page, _ = opened("run")
    cell = page.locator("table.confusion tbody tr").first.locator("td").first
    count, of_row, of_column = cell.inner_text(), None, None
    page.get_by_label("% of the true class").check()
    of_row = cell.inner_text()
    page.get_by_label("% of the predicted class").check()
    of_column = cell.inner_text()
    page.get_by_label("patches", exact=True).check()
    total = float(page.locator("table.confusion tbody tr").first.locator("td.margin").first.inner_text())
    predicted = float(page.locator("table.confusion tfoot tr").first.locator("td").first.inner_text())
    assert float(of_row) == pytest.approx(100 * float(count) / total, abs=0.06)
    assert float(of_column) == pytest.approx(100 * float(count) / predicted, abs=0.06)


def test_a_run_has_the_name_and_the_note_that_it_was_given(opened):
    page, _ = opened("run")
    assert page.locator("h1").inner_text() == NAME
    assert page.locator(".run-note").inner_text() == NOTE
    assert "efficientnet_b0 on patches" in page.locator("header .quiet").first.inner_text()
