"""Pages of maps as people use them: maps of all sizes, two tabs, keys that are held, files that spreadsheets saved."""

from __future__ import annotations

import re
import sys
import warnings
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "mapping"))

from test_change import own_map
from test_label_page import data_of, sample, scene_of
from test_map_page import colour_at, near, wait_until
from test_sampling import cells, write_map

from landsift.mapping.change import map_change
from landsift.mapping.classes import ClassTable
from landsift.mapping.labelled import read_points
from landsift.mapping.map_file import read_info
from landsift.mapping.sample_design import write_sample
from landsift.mapping.sampling import draw_sample
from landsift.reports.maps.change_layers import dates_of
from landsift.reports.maps.change_page import write_change_page
from landsift.reports.maps.label_page import label_html, write_label_page
from landsift.reports.maps.page import write_map_page
from landsift.reports.maps.place_pictures import DatedScene, ScenePictures, pictures_of
from landsift.reports.maps.sankey import sankey

needs_maplibre = pytest.mark.skipif(find_spec("maplibre") is None, reason="the package maplibre is not installed")
LONG = ("An " + "awfully " * 20 + "long name", "Nospaces" * 12, "<img src=x onerror=alert(1)>", "غابة كثيفة")


def opened(context, file, ready, width=1280):
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(file.as_uri())
    wait_until(page, f"document.documentElement.dataset.{ready} === 'ready'", 60)
    return page


@needs_maplibre
@pytest.mark.browser
@pytest.mark.parametrize("side", [1, 2, 16, 17, 256])
def test_square_maps_of_any_side_are_drawn(browser, tmp_path, side):
    """Of a power of two as well, of which MapLibre's textures differ."""
    codes = np.ones((side, side), int)
    codes[:, side // 2 + 1 :] = 0
    path = own_map(tmp_path / "map.tif", codes, names=("a", "b"))
    page = opened(browser, write_map_page(path), "map")
    assert near(colour_at(page, 0.45, 0.5), ClassTable.of(("a", "b"))[0].rgb)
    for box in page.locator("[data-code]").all():
        box.uncheck()
    assert near(colour_at(page, 0.45, 0.5), (223, 227, 232))  # nothing


@needs_maplibre
@pytest.mark.browser
def test_a_square_change_is_drawn(browser, tmp_path):
    paths = [own_map(tmp_path / f"{i}.tif", np.full((64, 64), i), names=("a", "b"),
                     when=datetime(2020 + i, 1, 1, tzinfo=UTC)) for i in (1, 2)]  # fmt: skip
    map_change(paths, tmp_path / "out", finish=write_change_page)
    page = opened(browser, tmp_path / "out" / "change.html", "map")
    one, other = (each.rgb for each in ClassTable.of(("a", "b")))
    assert near(colour_at(page, 0.4, 0.5), one)
    assert near(colour_at(page, 0.6, 0.5), other)
    page.locator("input[name=shown][value=change]").check()
    assert near(colour_at(page, 0.4, 0.5), other)


@needs_maplibre
@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_long_names_leave_the_figures_in_sight(browser, tmp_path, width):
    path = own_map(tmp_path / "map.tif", np.arange(400).reshape(20, 20) % 5, names=LONG)
    page = opened(browser, write_map_page(path), "map", width)
    box = page.locator("#areas tbody td").nth(1).bounding_box()
    assert box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_maps_of_one_file_name_are_told_apart_by_their_folders(tmp_path):
    infos = []
    for year in ("2019", "2021"):
        (tmp_path / year).mkdir()
        infos.append(read_info(own_map(tmp_path / year / "map.tif", np.ones((4, 4), int))))
    assert dates_of(infos) == ["2019/map", "2021/map"]


@pytest.fixture
def drawn(tmp_path):
    path = write_map(tmp_path / "my map.tif", cells(shape=(60, 60)))
    design = draw_sample(path, size=12, minimum=2)
    write_sample(design, tmp_path / "points.csv")
    return path, design


@pytest.fixture
def label(browser, tmp_path, drawn):
    """Function that opens the page to label once more, as a further tab of one browser."""
    context = browser.new_context()
    file = write_label_page(tmp_path / "points.csv", label_html(drawn[1], tmp_path / "points.csv"))
    yield lambda: opened(context, file, "labels")
    context.close()


def labelled(page):
    return page.locator("#progress").text_content()


def load(page, tmp_path, text):
    """What the page says of a file of labels."""
    (tmp_path / "mine.csv").write_text(text, encoding="utf-8")
    page.evaluate("document.getElementById('said').textContent = ''")
    page.locator("#load").set_input_files(tmp_path / "mine.csv")
    wait_until(page, "document.getElementById('said').textContent !== ''", 10)
    return page.locator("#said").text_content()


@pytest.mark.browser
def test_labels_of_two_tabs_are_all_kept(label):
    one, two = label(), label()
    one.keyboard.press("1")
    one.keyboard.press("2")
    wait_until(two, "document.getElementById('progress').textContent.startsWith('2 of 12')", 10)
    two.locator("#open-next").click()
    two.keyboard.press("3")
    wait_until(one, "document.getElementById('progress').textContent.startsWith('3 of 12')", 10)
    one.keyboard.press("1")
    third = label()
    assert "3 of 12 labelled" in labelled(third)  # both tabs answered place 3: the later answer counts
    assert "not all saved" in labelled(third)


@pytest.mark.browser
def test_one_answer_is_one_label(label):
    page = label()
    page.keyboard.down("1")
    for _ in range(5):
        page.keyboard.down("1")  # held, which repeats it
    page.keyboard.up("1")
    assert "1 of 12 labelled" in labelled(page)
    page.locator("button.class").nth(1).dblclick()
    assert "2 of 12 labelled" in labelled(page)
    assert page.locator("#number").input_value() == "3"


@pytest.mark.browser
def test_labels_that_belong_to_no_place_are_not_opened(label, tmp_path, drawn):
    page, table = label(), drawn[1].table()
    table["reference"] = ["Forest", *[""] * 11]
    german = table.assign(x=["500.050,0"] * 12)
    assert "coordinates were changed" in load(page, tmp_path, german.to_csv(index=False))
    assert "coordinates were changed" in load(page, tmp_path, table.assign(x="#####").to_csv(index=False))
    bare = table[["id", "reference"]].to_csv(index=False)
    assert "which tell the places" in load(page, tmp_path, bare)
    twice = pd.concat([table, table.head(1).assign(reference="Bare")])
    assert "in this file twice" in load(page, tmp_path, twice.to_csv(index=False))
    assert "0 of 12 labelled" in labelled(page)


@pytest.mark.browser
def test_labels_as_spreadsheets_save_them_are_opened(label, tmp_path, drawn):
    page, table = label(), drawn[1].table()
    table["reference"] = ["Forest", *[""] * 11]
    lines = table[["id", "x", "y", "reference", "note"]].to_csv(index=False, sep=";", decimal=",").splitlines()
    text = "\ufeff" + "\r\n".join(line.rstrip(";") for line in lines)  # empty cells at the end are left out
    assert load(page, tmp_path, text) == "1 labels opened."
    table["reference"] = ["Bare", *[""] * 11]
    assert "1 of them replace other labels" in load(page, tmp_path, table.to_csv(index=False))
    table["note"] = ["", "cannot tell whether it is reed", *[""] * 10]
    load(page, tmp_path, table.to_csv(index=False))
    assert labelled(page) == "1 of 12 labelled"  # a note is no answer
    page.keyboard.press("2")  # keys are for labels after a file was opened
    assert "cannot" not in labelled(page)


@pytest.mark.browser
def test_what_the_page_saves_has_its_letters_in_a_spreadsheet(label, tmp_path, drawn):
    page = label()
    page.keyboard.press("1")
    with page.expect_download() as download:
        page.locator("#save").click()
    file = tmp_path / "points.labelled.csv"
    download.value.save_as(file)
    assert file.read_bytes().startswith(b"\xef\xbb\xbf")
    assert read_points(file)["reference"].tolist().count("") == 11


@pytest.mark.browser
def test_what_is_kept_and_is_no_labels_does_not_stop_the_page(browser, tmp_path, drawn):
    context = browser.new_context()
    file = write_label_page(tmp_path / "points.csv", label_html(drawn[1], tmp_path / "points.csv"))
    for kept in ("null", "{", '{"labels": null}', '{"labels": {"1": null, "2": 7}}', "[]"):
        context.add_init_script(f"localStorage.setItem('landsift-labels-{drawn[1].key}', {kept!r})")
        page = opened(context, file, "labels")
        page.keyboard.press("1")
        assert "1 of 12 labelled" in labelled(page), kept
        assert page.locator("#kept").is_hidden()
    context.close()


def test_commands_of_the_page_take_any_name(drawn, tmp_path):
    html = label_html(drawn[1], tmp_path / "points.csv")
    assert "landsift areas &#34;my map.tif&#34; points.labelled.csv" in html


def test_scenes_of_one_date_are_not_before_and_after(tmp_path):
    codes = np.kron(np.array([[1, 2], [2, 1]]), np.ones((8, 8), int))
    paths = [own_map(tmp_path / f"{i}.tif", each, names=("a", "b")) for i, each in enumerate((codes, codes[::-1]))]
    map_change(paths, tmp_path / "out")
    design = draw_sample(tmp_path / "out" / "change.tif", size=8, minimum=2)
    scenes = [ScenePictures(name, "2020-06-30", (None,) * len(design.points)) for name in "ab"]
    assert data_of(label_html(design, tmp_path / "points.csv", scenes))["questions"] == ["Before", "After"]


def test_twelve_dates_stand_apart_above_the_flows():
    dates = [f"{year}-06-01" for year in range(2010, 2022)]
    svg = sankey(dates, [np.eye(2)] * 11, ClassTable.of(("a", "b"))).svg
    places = [(float(x), float(y)) for x, y in re.findall(r'<text x="([\d.]+)" y="(\d+)"[^>]*class="date"', svg)]
    for line in {y for _, y in places}:
        across = [x for x, y in places if y == line]
        assert len(across) == 6
        assert min(np.diff(across)) > 100  # a date is 70 wide, and centred


def test_floats_without_data_are_no_warning(tmp_path, drawn):
    values = np.random.default_rng(0).random((600, 600, 3)).astype(np.float32)
    values[::3, ::3] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = pictures_of(drawn[1], [DatedScene((scene_of(tmp_path / "s.tif", values),), "2024-06-30")])
    assert all(found[0].pictures)


@pytest.mark.parametrize("date", ["30.06.2024", "20240630", "2024-6-30"])
def test_a_date_of_another_form_is_named(tmp_path, drawn, date):
    scene = scene_of(tmp_path / "s.tif", np.full((60, 60, 3), 7, np.uint8))
    done = sample(drawn[0], "--out", tmp_path / "points.csv", "--page-only", "--scene", f"{date}={scene}")
    assert done.exit_code == 2
    assert f"{date} is no date such as 2024-06-30" in " ".join(done.output.replace("│", " ").split())
