"""The page of a change: figures are those of the maps, dates are swiped, transitions are drawn and hidden."""

from __future__ import annotations

import base64
import json
import re
import sys
import zlib
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "mapping"))

from page_reader import Page
from test_change import AFTER, BEFORE, NAMES, PLACE, foreign_map, own_map
from test_map_page import colour_at, near, text_of, wait_until

from landsift.cli.main import app
from landsift.mapping.change import map_change
from landsift.mapping.classes import ClassTable
from landsift.mapping.map_file import read_info
from landsift.reports.maps.change_layers import sampled
from landsift.reports.maps.change_page import change_html, write_change_page
from landsift.reports.maps.sankey import sankey

pytestmark = pytest.mark.skipif(find_spec("maplibre") is None, reason="the package maplibre is not installed")


def maps_of(folder, dates, **more):
    """A map for each date: 40 x 60 cells of one hectare; `dates` gives the codes of the left and the right half."""
    paths = []
    for year, (left, right) in enumerate(dates, start=2019):
        codes = np.full((40, 60), left)
        codes[:, 30:] = right
        paths.append(own_map(folder / f"{year}.tif", codes, when=datetime(year, 6, 1), **more))
    return paths


def layers_of(html):
    return json.loads(re.search(r'id="layers">(.*?)</script>', html, re.DOTALL)[1])


def test_the_command_writes_the_page_with_the_rest_or_leaves_it_out(tmp_path):
    maps = maps_of(tmp_path, [(1, 2), (1, 1)])
    for more, there in (((), True), (("--no-page",), False)):
        out = tmp_path / f"out{there}"
        done = CliRunner().invoke(app, ["change", *map(str, maps), "--out", str(out), *more])
        assert done.exit_code == 0, done.output
        assert (out / "change.html").exists() == there
    html = (tmp_path / "outTrue" / "change.html").read_text(encoding="utf-8")
    assert Page(html).requests() == []
    assert Page(html).misplaced == []
    assert len(html) < 1_300_000


def test_a_page_that_cannot_be_made_leaves_no_folder(tmp_path):
    def fails(folder, change):
        raise OSError(28, "No space left on device")

    with pytest.raises(Exception, match="No space left"):
        map_change(maps_of(tmp_path, [(1, 2), (1, 1)]), tmp_path / "out", finish=fails)
    assert not (tmp_path / "out").exists()


def test_the_page_says_the_figures_the_warning_and_what_to_do(tmp_path):
    one = own_map(tmp_path / "a.tif", BEFORE, when=datetime(2020, 2, 2), confidence=np.where(BEFORE == 3, 0.4, 0.9))
    two = own_map(tmp_path / "b.tif", AFTER, when=datetime(2021, 7, 21))
    map_change([one, two], tmp_path / "out", finish=write_change_page)
    page = Page((tmp_path / "out" / "change.html").read_text(encoding="utf-8"))
    for text in (
        "changed 4 ha", "40.0 % of the compared area",
        "compared 10.0 ha", "in one map only 2 ha", "no estimate of an area", "landsift sample", "landsift areas",
        "2020-02-02", "Seen & Flüsse",
    ):  # fmt: skip
        assert text in page.text, text
    matrix = page.text[page.text.index("from \\ to") : page.text.index("Gain and loss")]
    assert "Forest 2 20.0 % 2 20.0 % 1 10.0 % 5 50.0" in matrix
    assert "trajectories.csv" not in page.text


def test_flows_and_trajectories_over_several_dates(tmp_path):
    maps = maps_of(tmp_path, [(1, 2), (3, 2), (1, 2)])
    html = change_html(map_change(maps, tmp_path / "out"))
    assert "Forest → Seen &amp; Flüsse: 1,200 ha, 50.0" in html
    text = Page(html).text
    assert "class comes back" in text
    assert "no cell changes" not in text


def test_where_no_cell_has_a_class_at_all_dates_the_flows_are_from_the_first_to_the_last(tmp_path):
    codes = [[[1, 0], [1, 1]], [[0, 1], [0, 0]], [[1, 1], [2, 2]]]
    maps = [own_map(tmp_path / f"{i}.tif", each, when=datetime(2020 + i, 1, 1)) for i, each in enumerate(codes)]
    page = Page(change_html(map_change(maps, tmp_path / "out")))
    assert "None: no cell has a class at all dates" in page.text
    assert "Of the area with a class at all dates" not in page.text
    assert "Forest → Pasture: 2 ha" in page.text


def test_names_are_escaped(tmp_path):
    names = ("<script>alert(1)</script>", "a & b", 'Say "hi"')
    one, two = (own_map(tmp_path / f"{name}.tif", codes, names=names) for name, codes in (("x", BEFORE), ("y", AFTER)))
    page = Page(change_html(map_change([one, two], tmp_path / "out")))
    assert page.misplaced == []
    assert "<script>alert(1)</script>" in page.text


def test_maps_without_confidence_or_date_have_a_page(tmp_path):
    one, two = (
        foreign_map(tmp_path / f"{name}.tif", codes, ("", *NAMES)) for name, codes in (("x", BEFORE), ("y", AFTER))
    )
    html = change_html(map_change([one, two], tmp_path / "out"))
    assert "<h1>x to y</h1>" in html
    assert layers_of(html)["limit"] is None
    assert "of low confidence" not in text_of(html).split("<main>")[0]


@pytest.mark.parametrize(("height", "width"), [(90, 2500), (1, 4100), (1300, 1300)])
def test_large_maps_are_shown_with_one_of_many_cells(tmp_path, height, width):
    rng = np.random.default_rng(0)
    codes = [rng.integers(0, 4, (height, width)) for _ in range(2)]
    infos = [read_info(own_map(tmp_path / f"{i}.tif", each)) for i, each in enumerate(codes)]
    found = sampled(infos, most=1_000_000)
    step = found.step
    assert step > 1
    first = min(step // 2, min(height, width) - 1)
    for drawn, every in zip(found.codes, codes, strict=True):
        assert np.array_equal(drawn, every[first::step, first::step])
    assert sum(each.size for each in found.codes) <= 1_100_000
    assert found.grid.affine.a == step * PLACE.a


def test_the_second_map_of_another_grid_is_drawn_on_that_of_the_first(tmp_path):
    from rasterio.transform import from_origin

    one = own_map(tmp_path / "a.tif", np.full((8, 10), 1), when=datetime(2020, 1, 1))
    other = own_map(tmp_path / "b.tif", np.full((20, 10), 2), place=from_origin(500000, 4650000, 50, 50),
                    when=datetime(2021, 1, 1))  # fmt: skip
    data = layers_of(change_html(map_change([one, other], tmp_path / "out")))
    codes = np.frombuffer(zlib.decompress(base64.b64decode(data["dates"][1]["codes"])), np.uint8).reshape(8, 10)
    assert (codes[:, :5] == 2).all()
    assert (codes[:, 5:] == 0).all()


def test_a_sankey_of_many_classes_draws_all_but_the_smallest_flows():
    classes = ClassTable.of([f"class {k}" for k in range(40)])
    flow = np.random.default_rng(0).random((40, 40)) ** 8
    found = sankey(["a", "b"], [flow], classes)
    assert found.svg.count("<path") + found.small == 1600
    tops = [float(y) for y in re.findall(r'<text x="162" y="([\d.]+)"', found.svg)]
    assert len(tops) == 40
    assert min(np.diff(tops)) >= 14.9
    assert max(tops) < float(re.search(r'viewBox="0 0 960 (\d+)"', found.svg)[1])


@pytest.fixture
def open_change(browser, tmp_path):
    """Function that opens the page of a change between maps of two halves."""

    def open_page(dates, width=1280, script="", **more):
        map_change(maps_of(tmp_path, dates, **more), tmp_path / "out", finish=write_change_page)
        file = tmp_path / "out" / "change.html"
        page = browser.new_page(viewport={"width": width, "height": 1000})
        complaints = []
        heard = lambda m: m.type != "log" and "GL Driver Message" not in m.text  # noqa: E731
        page.on("console", lambda message: complaints.append(message.text) if heard(message) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("blob:", file.as_uri())) else complaints.append(r.url))
        page.add_init_script(script or "0")
        page.goto(file.as_uri())
        wait_until(page, "document.documentElement.dataset.map === 'ready'")
        return page, complaints

    return open_page


FOREST, PASTURE, WATER = (each.rgb for each in ClassTable.of(NAMES))


@pytest.mark.browser
def test_the_line_between_the_dates_is_dragged_and_moved_by_keys(open_change):
    page, complaints = open_change([(1, 1), (2, 3)])
    assert near(colour_at(page, 0.3, 0.5), FOREST)
    assert near(colour_at(page, 0.7, 0.5), WATER)
    frame = page.locator("#map").bounding_box()
    page.mouse.move(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2)
    page.mouse.down()
    page.mouse.move(frame["x"] + 0.2 * frame["width"], frame["y"] + frame["height"] / 2, steps=4)
    page.mouse.up()
    assert near(colour_at(page, 0.3, 0.5), PASTURE)
    assert page.locator("#handle").get_attribute("aria-valuenow") == "20"
    page.keyboard.press("End")
    assert near(colour_at(page, 0.7, 0.5), FOREST)
    page.mouse.move(frame["x"] + 0.3 * frame["width"], frame["y"] + 0.6 * frame["height"])
    assert "2019-06-01: Forest, confidence 90 % · 2020-06-01: Pasture" in page.locator("#readout").text_content()
    assert complaints == []


@pytest.mark.browser
def test_both_dates_move_together(open_change):
    page, complaints = open_change([(1, 1), (2, 3)])
    frame = page.locator("#map").bounding_box()
    page.mouse.move(frame["x"] + 0.3 * frame["width"], frame["y"] + 0.3 * frame["height"])
    page.mouse.down()
    page.mouse.move(frame["x"] + 0.2 * frame["width"], frame["y"] + 0.4 * frame["height"], steps=5)
    page.mouse.up()
    page.locator(".maplibregl-ctrl-zoom-in").click()
    wait_until(page, "landsiftMaps.every(map => !map.isMoving())")
    places = page.evaluate("landsiftMaps.map(map => [map.getCenter().lng, map.getCenter().lat, map.getZoom()])")
    assert places[0] == pytest.approx(places[1], abs=1e-9)
    assert abs(places[0][0]) > 0.1
    assert complaints == []


@pytest.mark.browser
def test_changes_are_drawn_and_hidden_and_other_dates_compared(open_change):
    page, complaints = open_change([(1, 2), (1, 3), (3, 3)])
    page.locator("[value=change]").check()
    assert near(colour_at(page, 0.3, 0.5), WATER)
    assert near(colour_at(page, 0.7, 0.5), WATER)
    rows = page.locator("#transitions tbody tr").all_text_contents()
    assert [re.sub(r"\s+", " ", row) for row in rows] == [
        "Forest → Seen & Flüsse1,20050.0 %",
        "Pasture → Seen & Flüsse1,20050.0 %",
    ]
    page.locator("[data-transition='1 3']").uncheck()
    assert not near(colour_at(page, 0.3, 0.5), WATER)
    assert near(colour_at(page, 0.7, 0.5), WATER)
    page.locator("#to").select_option("1")
    assert page.locator("#transitions tbody tr").count() == 1
    assert "Pasture → Seen & Flüsse1,20050.0 %" in page.locator("#transitions tbody").text_content()
    assert near(colour_at(page, 0.3, 0.5), [255 * 0.75 + level / 4 for level in FOREST])
    page.locator("#to").select_option("0")
    assert "no cell changes" in page.locator("#transitions tbody").text_content()
    assert complaints == []


@pytest.mark.browser
def test_changes_of_low_confidence_are_hatched_and_hidden_apart(open_change):
    page, complaints = open_change([(1, 2), (3, 2)], confidence=np.repeat([0.4, 0.9], 30))
    page.locator("[value=change]").check()
    assert "1,200 of low confidence" in page.locator("#transitions tbody").text_content()
    colours = {tuple(colour_at(page, 0.3 + k / 200, 0.5)) for k in range(8)}
    assert any(near(each, WATER) for each in colours)
    assert any(not near(each, WATER) for each in colours)
    page.locator("#low").uncheck()
    assert not near(colour_at(page, 0.3, 0.5), WATER)
    assert complaints == []


@pytest.mark.browser
def test_without_webgl_the_dates_are_pictures(open_change):
    no_webgl = (
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...more) {"
        " return kind.startsWith('webgl') ? null : get.call(this, kind, ...more); };"
    )
    page, complaints = open_change([(1, 1), (2, 3)], script=no_webgl)
    assert near(colour_at(page, 0.3, 0.5), FOREST)
    assert near(colour_at(page, 0.7, 0.5), WATER)
    page.locator("[value=change]").check()
    assert near(colour_at(page, 0.3, 0.5), PASTURE)
    assert complaints == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 400])
def test_no_window_scrolls_sideways(open_change, width):
    page, complaints = open_change([(1, 2), (2, 3), (3, 3)], width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []
