"""The page to label a sample: places without the map's class, labels that stay, and a file that `areas` takes."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "mapping"))

from page_reader import Page
from test_change import AFTER, BEFORE, own_map
from test_change import NAMES as CLASSES
from test_map_page import text_of, wait_until
from test_sampling import NAMES, cells, write_map

from landsift.cli.main import app
from landsift.errors import LandsiftError
from landsift.mapping.change import map_change
from landsift.mapping.labelled import assess_map
from landsift.mapping.sample_design import design_path, read_design, write_sample
from landsift.mapping.sampling import draw_sample
from landsift.reports.maps.label_page import label_html, parts_of, write_label_page
from landsift.reports.maps.place_pictures import DatedScene, pictures_of

UTM = "EPSG:32631"


def sample(*arguments):
    done = CliRunner().invoke(app, ["sample", *map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def data_of(html):
    return json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])


def pixels_of(picture):
    """A picture of the page as an array [h, w, 3]."""
    raw = base64.b64decode(picture["data"].partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")).astype(int)


def scene_of(path, values, crs=UTM, transform=None, **options):
    """A raster of values [h, w, C], by default of 10 metres from the maps' north-west corner."""
    values = np.asarray(values)
    with rasterio.open(path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1],
                       count=values.shape[2], dtype=values.dtype.name, crs=crs,
                       transform=transform or from_origin(500000, 4650000, 10, 10), **options) as dataset:  # fmt: skip
        dataset.write(np.moveaxis(values, -1, 0))
    return path


def red_cells(design, shape, scale=10, dtype=np.uint8, high=200):
    """A scene in which the drawn cells are red and all else is blue."""
    values = np.full((shape[0] * scale, shape[1] * scale, 3), (20, 30, high), dtype)
    for point in design.points:
        square = (slice(point.row * scale, (point.row + 1) * scale), slice(point.col * scale, (point.col + 1) * scale))
        values[square] = (high, 30, 20)
    return values


@pytest.fixture
def drawn(tmp_path):
    """A map of cells of a hectare and the design of a few points, of which no two are neighbours."""
    path = write_map(tmp_path / "map.tif", cells(shape=(60, 60)))
    return path, draw_sample(path, size=12, minimum=2)


def test_the_page_lies_beside_the_points_or_is_left_out(tmp_path, drawn):
    path, _ = drawn
    done = sample(path, "--out", tmp_path / "points.gpkg", "--size", 200)
    assert "points.label.html" in done.stdout
    assert "--page-only --scene" in done.stdout
    page = Page((tmp_path / "points.label.html").read_text(encoding="utf-8"))
    assert page.misplaced == []
    assert page.requests() == []
    assert "No picture is here" in page.text
    assert "Which class is the cell, 100 m wide?" in page.text
    assert "landsift areas map.tif points.labelled.csv" in page.text
    sample(path, "--out", tmp_path / "bare.csv", "--size", 200, "--no-page")
    assert not (tmp_path / "bare.label.html").exists()
    with pytest.raises(LandsiftError, match="labels in it would be lost"):
        sample(path, "--out", tmp_path / "points.gpkg")


def test_the_page_does_not_tell_what_the_map_says(tmp_path, drawn):
    _, design = drawn
    html = label_html(design, tmp_path / "points.csv")
    data = data_of(html)
    assert {key for point in data["points"] for key in point} == {"id", "lon", "lat", "x", "y", "pictures"}
    for secret in ("mapped", "stratum", "strata", "confidence", "hectares"):
        assert secret not in text_of(html) + json.dumps(data)
    assert [each["name"] for each in data["classes"]] == list(NAMES[1:])


def test_a_page_is_of_one_sample_and_stays_that_of_the_same_sample(drawn):
    path, design = drawn
    again, other = draw_sample(path, size=12, minimum=2), draw_sample(path, size=12, minimum=2, seed=1)
    assert design.key == again.key
    assert design.key != other.key


@pytest.mark.parametrize("crs", [UTM, "EPSG:4326", "EPSG:3857"])
def test_the_cell_lies_in_the_frame_whatever_the_crs_of_the_scene(tmp_path, drawn, crs):
    from rasterio.warp import Resampling, calculate_default_transform, reproject

    _, design = drawn
    values, place = red_cells(design, (60, 60)), from_origin(500000, 4650000, 10, 10)
    if crs != UTM:
        bounds = rasterio.transform.array_bounds(600, 600, place)
        there, width, height = calculate_default_transform(UTM, crs, 600, 600, *bounds)
        warped = np.zeros((height, width, 3), np.uint8)
        for band in range(3):
            reproject(values[..., band].copy(), warped[..., band], src_transform=place, src_crs=UTM,
                      dst_transform=there, dst_crs=crs, resampling=Resampling.nearest)  # fmt: skip
            out = warped[..., band]
            warped[..., band] = out
        values, place = warped, there
    found = pictures_of(design, [DatedScene((scene_of(tmp_path / "s.tif", values, crs, place),), "2024-06-30")])
    html = label_html(design, tmp_path / "p.csv", found)
    for point in data_of(html)["points"]:
        picture = pixels_of(point["pictures"][0])
        size = len(picture)
        assert size in range(38, 60) if crs == "EPSG:3857" else range(38, 44)
        (x0, y0), _, (x1, y1), _ = (np.array(corner) * size for corner in point["pictures"][0]["outline"])
        inside = picture[round(y0) + 3 : round(y1) - 3, round(x0) + 3 : round(x1) - 3]
        assert inside[..., 0].mean() > 180 > 60 > inside[..., 2].mean()
        assert (x1 - x0) / size == pytest.approx(0.25, abs=0.02)  # 100 m of 400
    assert data_of(html)["scenes"] == [{"name": "s.tif", "date": "2024-06-30"}]


def test_bands_of_any_type_are_shown_as_red_green_and_blue(tmp_path, drawn, caplog):
    _, design = drawn
    rgb = red_cells(design, (60, 60), dtype=np.uint16, high=3000)
    cut = rgb[..., ::-1]  # blue, green, red
    several = np.concatenate([np.zeros_like(cut[..., :1]) + 7, cut], axis=-1)
    path = scene_of(tmp_path / "s2_20240630.tif", several)
    [found] = pictures_of(design, [DatedScene((path,))], ["4", "3", "2"])
    assert found.date == "2024-06-30"
    middle = pixels_of({"data": found.pictures[0].data})
    assert middle[20, 20, 0] > 180
    assert caplog.text == ""
    pictures_of(design, [DatedScene((path,))])
    assert "which bands are red, green and blue is not known: 1, 2, 3 shown" in caplog.text
    with pytest.raises(LandsiftError, match="no band 9"):
        pictures_of(design, [DatedScene((path,))], ["9", "1", "2"])
    files = [scene_of(tmp_path / f"x_B0{4 - band}.tif", rgb[..., band : band + 1]) for band in range(3)]
    [found] = pictures_of(design, [DatedScene(tuple(files))])
    assert pixels_of({"data": found.pictures[0].data})[20, 20, 0] > 180
    grey = scene_of(tmp_path / "grey.tif", rgb[..., :1].astype(np.float32))
    [found] = pictures_of(design, [DatedScene((grey,))])
    assert np.ptp(pixels_of({"data": found.pictures[0].data})[20, 20]) < 8


def test_named_bands_are_found_and_files_of_coarser_pixels_fit(tmp_path, drawn):
    _, design = drawn
    rgb = red_cells(design, (60, 60), dtype=np.uint16, high=3000)
    files = [scene_of(tmp_path / "a_B02.tif", rgb[..., 2:]), scene_of(tmp_path / "a_B03.tif", rgb[..., 1:2])]
    place = from_origin(500000, 4650000, 20, 20)
    files.append(scene_of(tmp_path / "a_B04.tif", rgb[::2, ::2, :1].copy(), transform=place))
    [found] = pictures_of(design, [DatedScene(tuple(files), "2020")])
    for picture in found.pictures:
        inside = pixels_of({"data": picture.data})[17:23, 17:23]
        assert inside[..., 0].mean() > 180 > 70 > inside[..., 2].mean()


def test_of_a_stac_item_the_bands_are_shown_with_its_date(tmp_path, drawn):
    _, design = drawn
    rgb = red_cells(design, (60, 60), dtype=np.uint16, high=3000)
    assets = {"visual": {"href": "https://example.org/visual.tif"}}
    for band, name in enumerate(("red", "green", "blue")):
        scene_of(tmp_path / f"{name}.tif", rgb[..., band : band + 1])
        assets[name] = {"href": f"./{name}.tif", "eo:bands": [{"name": name, "common_name": name}]}
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "an item", "geometry": None, "links": [], "assets": assets,
        "properties": {"datetime": "2024-06-30T10:00:00Z"},
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(item))
    [found] = pictures_of(design, [DatedScene((tmp_path / "item.json",))])
    assert (found.name, found.date) == ("an item", "2024-06-30")
    assert pixels_of({"data": found.pictures[0].data})[20, 20, 0] > 180


def test_places_outside_of_a_scene_have_no_picture_and_are_counted(tmp_path, drawn, caplog):
    _, design = drawn
    half = red_cells(design, (60, 60))[:, :300]
    [found] = pictures_of(design, [DatedScene((scene_of(tmp_path / "half.tif", half),), "2024")])
    without = [picture is None for picture in found.pictures]
    far = [point.col >= 32 for point in design.points]  # the picture is 4 cells wide
    assert without == far
    assert f"has nothing at {sum(far)} of 12 places" in caplog.text
    place = from_origin(800000, 4650000, 10, 10)
    other = scene_of(tmp_path / "other.tif", half, transform=place)
    with pytest.raises(LandsiftError, match="nothing at any of the 12 places"):
        pictures_of(design, [DatedScene((other,), "2024")])
    empty = scene_of(tmp_path / "empty.tif", np.zeros((600, 600, 3), np.uint8))
    with pytest.raises(LandsiftError, match="nothing at any"):
        pictures_of(design, [DatedScene((empty,), "2024")])


def test_places_that_have_no_place_in_a_scenes_crs_are_outside_of_it(tmp_path, drawn):
    from dataclasses import replace

    _, design = drawn
    geos = "+proj=geos +h=35785831 +lon_0=140 +datum=WGS84 +units=m"
    far = scene_of(tmp_path / "far.tif", red_cells(design, (60, 60)), geos, from_origin(-1e6, 1e6, 1000, 1000))
    with pytest.raises(LandsiftError, match="nothing at any of the 12 places"):
        pictures_of(design, [DatedScene((far,), "2024")])
    beyond = replace(design, crs=rasterio.crs.CRS.from_string(geos).to_wkt(), transform=(100, 0, 9e6, 0, -100, 9e6))
    points = data_of(label_html(beyond, tmp_path / "p.csv"))["points"]
    assert points[0]["lat"] is None
    assert points[0]["x"] > 9e6


def test_scenes_are_shown_by_date_and_unknown_dates_are_said(tmp_path, drawn, caplog):
    _, design = drawn
    path = scene_of(tmp_path / "s.tif", red_cells(design, (60, 60)))
    found = pictures_of(design, [DatedScene((path,), "2021-07-21"), DatedScene((path,), "2020-02")])
    assert [each.date for each in found] == ["2020-02", "2021-07-21"]
    pictures_of(design, [DatedScene((path,))])
    assert "the date of s.tif is not known" in caplog.text


def test_many_pictures_get_fewer_pixels_and_it_is_said(tmp_path, monkeypatch, caplog):
    path = write_map(tmp_path / "map.tif", cells(shape=(60, 60)))
    design = draw_sample(path, size=120, minimum=2)
    fine = scene_of(tmp_path / "fine.tif", np.random.default_rng(0).integers(1, 255, (3000, 3000, 3), np.uint8),
                    transform=from_origin(500000, 4650000, 2, 2))  # fmt: skip
    [found] = pictures_of(design, [DatedScene((fine,), "2024")])
    assert len(pixels_of({"data": found.pictures[0].data})) == 192
    monkeypatch.setattr("landsift.reports.maps.place_pictures.MANY", 30)
    [found] = pictures_of(design, [DatedScene((fine,), "2024")])
    assert len(pixels_of({"data": found.pictures[0].data})) == 96
    assert "120 pictures are many for a page: each has 96 pixels a side" in caplog.text


def test_the_page_of_points_that_are_there_is_made_again_with_pictures(tmp_path, drawn):
    path, _ = drawn
    points = tmp_path / "points.gpkg"
    sample(path, "--out", points, "--size", 12, "--minimum", 2)
    before, key = points.read_bytes(), data_of((tmp_path / "points.label.html").read_text())["key"]
    design = read_design(design_path(points), points)
    scene = scene_of(tmp_path / "s=1,2.tif", red_cells(design, (60, 60)))
    sample(path, "--out", points, "--page-only", "--scene", f"2024-06-30={scene}")
    data = data_of((tmp_path / "points.label.html").read_text())
    assert data["key"] == key
    assert data["scenes"] == [{"name": "s=1,2.tif", "date": "2024-06-30"}]
    assert points.read_bytes() == before
    other = write_map(tmp_path / "other.tif", cells(seed=5, shape=(60, 60)))
    with pytest.raises(LandsiftError, match="drawn from another map"):
        sample(other, "--out", points, "--page-only")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--scene", "2024-13-40=s.tif"], "no date"),
        (["--scene", "2024-06-30= "], "no scene"),
        (["--bands", "1,2", "--scene", "s.tif"], "not three bands"),
        (["--bands", "1,2,3"], "changes nothing without"),
        (["--no-page", "--scene", "s.tif"], "changes nothing with"),
        (["--no-page", "--page-only"], "changes nothing with"),
    ],
)
def test_options_that_mean_nothing_are_wrong_usage(tmp_path, drawn, options, said):
    done = sample(drawn[0], "--out", tmp_path / "p.csv", "--size", 12, "--minimum", 2, *options)
    assert done.exit_code == 2
    assert said in done.output
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize("kind", ["not there", "cut off", "no place", "a text"])
def test_a_scene_that_cannot_be_read_leaves_no_points(tmp_path, drawn, kind):
    path, design = drawn
    scene = scene_of(tmp_path / "s.tif", red_cells(design, (60, 60)), UTM if kind != "no place" else None)
    if kind == "not there":
        scene.unlink()
    elif kind == "cut off":
        scene.write_bytes(scene.read_bytes()[:400_000])
    elif kind == "a text":
        scene.write_text("not found")
    with pytest.raises(LandsiftError, match=r"s\.tif"):
        sample(path, "--out", tmp_path / "p.csv", "--size", 12, "--minimum", 2, "--scene", scene)
    assert {each.name for each in tmp_path.iterdir()} <= {"map.tif", "map.tif.aux.xml", "s.tif"}


def test_transitions_are_told_from_other_classes():
    pairs = [f"{one} → {other}" for one in CLASSES for other in CLASSES]
    assert parts_of(pairs) == CLASSES
    arrows = ("a → b", "c")
    assert parts_of([f"{one} → {other}" for one in arrows for other in arrows]) == arrows
    assert parts_of(pairs[:4]) is None
    assert parts_of(["a → a", "a → b", "b → a", "c → b"]) is None
    assert parts_of(["x"]) is None


@pytest.fixture
def open_page(browser, tmp_path):
    """Function that opens the page of a design; the same browser context keeps what pages store."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})

    def open_page(design, width=1280, pictures=(), script="0"):
        file = write_label_page(tmp_path / "points.csv", label_html(design, tmp_path / "points.csv", pictures))
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        ours = (file.as_uri(), "data:", "blob:")
        page.on("request", lambda r: None if r.url.startswith(ours) else page.complaints.append(r.url))
        page.add_init_script(script)
        page.goto(file.as_uri())
        wait_until(page, "document.documentElement.dataset.labels === 'ready'", 30)
        return page

    yield open_page
    context.close()


def saved(page, tmp_path):
    """The file that the page saves."""
    with page.expect_download() as download:
        page.locator("#save").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    return path


@pytest.mark.browser
def test_a_sample_is_labelled_by_keys_kept_saved_and_assessed(open_page, tmp_path):
    path = write_map(tmp_path / "map.tif", cells(shape=(30, 30)))
    design = draw_sample(path, size=12, minimum=2)
    write_sample(design, tmp_path / "points.csv")
    page = open_page(design)
    for key in "1", "2", "x", "3":
        page.keyboard.press(key)
    assert "3 of 12 labelled, 1 cannot be told" in page.locator("#progress").text_content()
    page.keyboard.press("ArrowLeft")
    assert page.locator("[aria-pressed=true]").text_content() == "3Bare"
    page.locator("#note").fill('a "bare" field, ploughed; 3')
    page.close()
    page = open_page(design)  # the labels are there again, at the first place without one
    assert page.locator("#number").input_value() == "5"
    assert "3 of 12 labelled" in page.locator("#progress").text_content()
    assert "not all saved" in page.locator("#progress").text_content()
    for _ in range(8):
        page.locator("button.class").nth(0).click()
    assert "All places are labelled" in page.locator("#said").text_content()
    file = saved(page, tmp_path)
    assert "not all saved" not in page.locator("#progress").text_content()
    assert file.name == "points.labelled.csv"
    table = pd.read_csv(file, keep_default_na=False)
    assert list(table["reference"]) == ["Forest", "Water & reed", "", "Bare", *["Forest"] * 8]
    assert table["note"][2] == "cannot tell"
    assert table["note"][3] == 'a "bare" field, ploughed; 3'
    assert table["x"].tolist() == design.table()["x"].tolist()
    found = assess_map(path, file)
    assert (found.labelled, found.unlabelled) == (11, 1)
    done = CliRunner().invoke(app, ["areas", str(path), str(file.rename(tmp_path / "points.labelled (1).csv"))])
    assert done.exit_code == 0, done.output
    assert page.complaints == []


@pytest.mark.browser
def test_saved_labels_are_opened_in_another_browser(open_page, tmp_path):
    path = write_map(tmp_path / "map.tif", cells(shape=(30, 30)))
    design = draw_sample(path, size=12, minimum=2)
    page = open_page(design)
    table = design.table().assign(reference=["Bare", *[""] * 10, "Forest"], note=["n", "cannot tell: haze", *[""] * 10])
    table.to_csv(tmp_path / "mine.csv", index=False, sep=";", lineterminator="\r\n")
    page.locator("#load").set_input_files(tmp_path / "mine.csv")
    wait_until(page, "document.getElementById('said').textContent === '3 labels opened.'", 10)
    assert "2 of 12 labelled, 1 cannot be told" in page.locator("#progress").text_content()
    found = pd.read_csv(saved(page, tmp_path), keep_default_na=False)
    assert found["reference"].tolist() == table["reference"].tolist()
    assert found["note"].tolist() == table["note"].tolist()
    for wrong, said in (
        (table.assign(reference="forest"), "is no class"), (table.assign(x=table["x"] + 100), "not of this sample"),
        (table.drop(columns="reference"), "no columns"),
    ):  # fmt: skip
        wrong.to_csv(tmp_path / "wrong.csv", index=False)
        page.locator("#load").set_input_files(tmp_path / "wrong.csv")
        wait_until(page, f"document.getElementById('said').textContent.includes('{said}')", 10)
    assert "2 of 12 labelled" in page.locator("#progress").text_content()
    assert page.complaints == []


@pytest.mark.browser
def test_of_a_change_both_classes_are_asked_and_both_dates_are_shown(open_page, tmp_path):
    one, two = (own_map(tmp_path / f"{i}.tif", np.kron(codes, np.ones((4, 4), int)))
                for i, codes in enumerate((BEFORE, AFTER)))  # fmt: skip
    map_change([one, two], tmp_path / "change")
    raster = tmp_path / "change" / "change.tif"
    design = draw_sample(raster, size=20, minimum=2)
    write_sample(design, tmp_path / "points.csv")
    scene = scene_of(tmp_path / "s.tif", red_cells(design, (12, 16)))
    pictures = pictures_of(design, [DatedScene((scene,), "2021-07-21"), DatedScene((scene,), "2020-02-02")])
    page = open_page(design, pictures=pictures)
    assert page.locator("figcaption").all_text_contents() == ["2020-02-02 · s.tif", "2021-07-21 · s.tif"]
    assert page.locator("legend").all_text_contents() == ["Before, 2020-02-02", "After, 2021-07-21"]
    page.keyboard.press("1")
    assert page.locator("#number").input_value() == "1"
    page.keyboard.press("2")
    assert page.locator("#number").input_value() == "2"
    for _ in range(19):
        page.locator("fieldset").nth(1).locator("button").nth(2).click()
        page.locator("fieldset").nth(0).locator("button").nth(2).click()
    file = saved(page, tmp_path)
    assert set(pd.read_csv(file)["reference"]) == {"Forest → Pasture", "Seen & Flüsse → Seen & Flüsse"}
    assert assess_map(raster, file).labelled == 20
    assert page.complaints == []


@pytest.mark.browser
def test_a_browser_that_keeps_nothing_is_told(open_page, drawn):
    page = open_page(drawn[1], script="Object.defineProperty(window, 'localStorage', {get() { throw new Error(); }})")
    assert page.locator("#kept").is_visible()
    page.keyboard.press("1")
    assert "1 of 12 labelled" in page.locator("#progress").text_content()
    assert page.complaints == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 400])
def test_no_window_scrolls_sideways(open_page, tmp_path, drawn, width):
    _, design = drawn
    scene = scene_of(tmp_path / "s.tif", red_cells(design, (60, 60)))
    pictures = pictures_of(design, [DatedScene((scene,), "2021-07-21"), DatedScene((scene,), "2020-02-02")])
    page = open_page(design, width, pictures)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.complaints == []
