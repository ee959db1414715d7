"""The page of a map: what it says is the map's, and in a browser it is drawn, moved and asked without any network."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

sys.path.insert(0, str(Path(__file__).parents[1] / "mapping"))

from small_maps import ABOUT, DEGREES, NAMES, UTM, codes_of, grid_of, write_map

from landsift.bands import BandSpec
from landsift.mapping.certainty import certainty
from landsift.mapping.classes import ClassTable
from landsift.mapping.map_file import read_confidence, read_info
from landsift.mapping.map_writer import MapWriter
from landsift.mapping.sketch import Sketch
from landsift.reports.maps.layers import backdrop_of
from landsift.reports.maps.maplibre import Plane
from landsift.reports.maps.page import JUDGED, map_html, write_map_page

needs_maplibre = pytest.mark.skipif(find_spec("maplibre") is None, reason="the package maplibre is not installed")


class Stripes:
    """A scene of 10 metres, of which the first 100 columns have no data."""

    def __init__(self, grid, bands=None):
        self.grid, self.bands = grid, bands or BandSpec.pictures()

    def read(self, rows, cols):
        y, x = np.mgrid[rows, cols]
        values = np.stack([x % 200, y % 200, (x + y) % 200], axis=-1)[..., : len(self.bands)]
        return values.astype(self.bands.dtype), x >= 100


def text_of(html):
    """The page without scripts and styles."""
    return re.sub(r"<(script|style).*?</\1>", "", html, flags=re.DOTALL)


@needs_maplibre
def test_the_page_says_areas_and_escapes_names(tmp_path):
    write_map(tmp_path / "map.tif", grid_of(40, 50))
    page = write_map_page(tmp_path / "map.tif")
    assert page == tmp_path / "map.html"
    html = text_of(page.read_text(encoding="utf-8"))
    assert "&lt;b&gt;River&lt;/b&gt;" in html
    assert "<b>River" not in html
    assert "Forêt &amp; Wälder" in html
    assert len(re.findall("data-place=", html)) == 20
    assert "a scene" in html


@needs_maplibre
@pytest.mark.parametrize(("valid", "crs"), [(0, UTM), (0.9, None), (0.9, DEGREES)])
def test_pages_of_maps_without_classes_or_places(tmp_path, valid, crs):
    write_map(tmp_path / "map.tif", grid_of(3, 5, crs), valid=valid)
    html = text_of(map_html(read_info(tmp_path / "map.tif")))
    assert ("None: no cell has a class" in html) == (valid == 0)
    assert ("no coordinate reference system" in html) == (crs is None)


@needs_maplibre
def test_large_maps_are_shown_reduced_and_the_page_says_so(tmp_path):
    write_map(tmp_path / "map.tif", grid_of(2, 4500))
    html = text_of(map_html(read_info(tmp_path / "map.tif")))
    assert "each stands for about 2.2 × 2.2 cells" in html


def test_the_least_certain_places_are_those_of_the_map(tmp_path):
    grid = grid_of(200, 90)
    _, known = write_map(tmp_path / "map.tif", grid)
    info = read_info(tmp_path / "map.tif")
    found = certainty(info, 5)
    confidence = np.where(known, read_confidence(info), 9)
    assert found.places[0].confidence == pytest.approx(confidence.min(), abs=1e-6)
    for place in found.places:
        assert confidence[place.row, place.column] == pytest.approx(place.confidence)
        assert (place.x, place.y) == grid.affine * (place.column + 0.5, place.row + 0.5)
        assert 2.9 < place.longitude < 5
    parts = {(place.row // 13, place.column // 6) for place in found.places}
    assert len(parts) == 5


def test_the_mean_confidence_of_each_class(tmp_path):
    probabilities, known = write_map(tmp_path / "map.tif", grid_of(60, 70))
    info = read_info(tmp_path / "map.tif")
    codes = codes_of(probabilities, known)
    means = [probabilities.max(axis=-1)[codes == k].mean() for k in (1, 2, 3)]
    assert np.allclose(certainty(info).mean[1:], means, atol=0.005)


@pytest.mark.parametrize("grid", [
    grid_of(30, 20), grid_of(30, 20, DEGREES), grid_of(30, 20, None),
    GeoBox((30, 20), Affine(10, 3, 5e5, 4, -9, 4e6), UTM), GeoBox((30, 20), Affine(10, 0, 5e5, 0, 10, 4e6), UTM),
])  # fmt: skip
def test_places_on_the_page_are_those_of_the_map(grid):
    """From a cell to MapLibre's degrees, to its plane, and back to the cell."""
    plane = Plane.of(grid)
    a, b, c, d, e, f = plane.pixels(grid)
    for column, row in ((0, 0), (20, 30), (7.5, 21.25)):
        lng, lat = plane.degrees(*(grid.affine * (column, row)))
        x = (lng + 180) / 360
        y = (1 - np.log(np.tan(np.pi / 4 + np.radians(lat) / 2)) / np.pi) / 2
        assert a * x + b * y + c == pytest.approx(column, abs=1e-6)
        assert d * x + e * y + f == pytest.approx(row, abs=1e-6)


def sketched(scene, longest=1600, rows=128, columns=700):
    """A scene as its map's engine reads it: in windows, of which some overlap."""
    sketch = Sketch(scene.grid, scene.bands, longest)
    height, width = scene.grid.shape
    for top in range(0, height, rows - 5):
        for left in range(0, width, columns):
            window = (slice(top, min(top + rows, height)), slice(left, min(left + columns, width)))
            sketch.keep(*window, *scene.read(*window))
    return sketch


def test_the_scene_is_a_picture_of_few_pixels():
    grid = GeoBox((900, 1300), Affine(10, 0, 5e5, 0, -10, 4e6), UTM)
    scene = Stripes(grid)
    sketch = sketched(scene, longest=500)
    shown = backdrop_of(sketch)
    assert shown.picture.shape == (300, 433, 4)
    assert shown.grid.affine == Affine(30, 0, 5e5, 0, -30, 4e6)
    values, known = scene.read(slice(0, 900), slice(0, 1300))
    assert np.array_equal(sketch.values, values[1::3, 1::3])
    assert np.array_equal(shown.picture[..., 3] == 255, known[1::3, 1::3])
    bands = BandSpec(("VV",), "float32", (1.0,), (0.0,))
    grey = backdrop_of(sketched(Stripes(grid, bands), longest=500)).picture
    assert (grey[..., 0] == grey[..., 1]).all()
    assert grey[:, 34:, 0].max() == 255


def test_red_green_and_blue_are_shown_wherever_they_stand():
    grid = GeoBox((50, 60), Affine(10, 0, 5e5, 0, -10, 4e6), UTM)
    bands = BandSpec(("B02", "B03", "B04"), "uint16", (1e-4,) * 3, (0.0,) * 3, units="reflectance")
    sketch = sketched(Stripes(grid, bands))
    assert sketch.bands.names == ("red", "green", "blue")
    assert np.array_equal(sketch.values[..., 2], np.mgrid[:50, :60][1] % 200)


def test_tiny_and_narrow_scenes_have_a_picture():
    for shape in ((1, 1), (1, 9000), (5000, 2)):
        sketch = sketched(Stripes(GeoBox(shape, Affine(10, 0, 5e5, 0, -10, 4e6), UTM)))
        assert min(sketch.known.shape) >= 1
        assert max(sketch.known.shape) <= 1600


def judged_quarters():
    """Of 40 × 60 cells, column by column: one class in the set, two, the model abstains, out of distribution."""
    bands = np.zeros((3, 40, 60), np.uint8)
    bands[0], bands[0][:, 15:30], bands[1][:, 30:], bands[2][:, 45:] = 1, 2, 1, 1
    return bands


@pytest.fixture
def open_map(browser, tmp_path):
    """Function that opens the page of a small map: left half the first class, right half the second."""

    def open_page(width=1280, script="", crs=UTM, backdrop=False, trust=False):
        grid = grid_of(40, 60, crs)
        probabilities = np.zeros((40, 60, 3), np.float32)
        probabilities[:, :30] = (0.9, 0.1, 0)
        probabilities[:, 30:] = (0.2, 0.8, 0)
        probabilities[5, 50] = (0.3, 0.4, 0.3)
        with MapWriter(tmp_path / "map.tif", grid, ClassTable.of(NAMES), ABOUT, trust=trust) as writer:
            writer.write(slice(0, 40), probabilities, np.ones((40, 60), bool))
            if trust:
                writer.write_trust(slice(0, 40), judged_quarters())
        scene = Stripes(GeoBox((400, 600), grid.affine * Affine.scale(0.1), grid.crs))
        file = write_map_page(tmp_path / "map.tif", backdrop_of(sketched(scene)) if backdrop else None)
        page = browser.new_page(viewport={"width": width, "height": 900})
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


def wait_until(page, condition, seconds=120):
    """Playwright's own way to wait would evaluate text in the page, which its policy forbids."""
    for _ in range(10 * seconds):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise TimeoutError(condition)


def colour_at(page, x, y):
    """The colour of the map at a share of its width and height."""
    from io import BytesIO

    from PIL import Image

    page.wait_for_timeout(700)
    picture = Image.open(BytesIO(page.locator("#map").screenshot())).convert("RGB")
    return picture.getpixel((int(x * picture.width), int(y * picture.height)))


def near(colour, rgb, by=6):
    return max(abs(a - b) for a, b in zip(colour, rgb, strict=True)) <= by


@needs_maplibre
@pytest.mark.browser
@pytest.mark.parametrize("crs", [UTM, DEGREES, None])
def test_the_map_is_drawn_and_nothing_is_asked_for(open_map, crs):
    page, complaints = open_map(crs=crs)
    first, second, _ = ClassTable.of(NAMES)
    assert near(colour_at(page, 0.3, 0.5), first.rgb)
    assert near(colour_at(page, 0.7, 0.5), second.rgb)
    assert complaints == []


@needs_maplibre
@pytest.mark.browser
def test_cells_are_read_and_classes_hidden(open_map):
    page, complaints = open_map()
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + box["height"] / 2)
    assert f"{NAMES[0]}, confidence 90 %" in page.locator("#readout").text_content()
    before = colour_at(page, 0.3, 0.5)
    page.locator("[data-code='1']").uncheck()
    assert not near(colour_at(page, 0.3, 0.5), before)
    page.locator("[data-code='1']").check()
    page.locator("[value=confidence]").check()
    pale = colour_at(page, 0.3, 0.5)
    assert pale[0] > 240
    assert page.locator("#ramp").is_visible()
    assert complaints == []


@needs_maplibre
def test_the_page_says_where_the_model_abstains(tmp_path):
    with MapWriter(tmp_path / "map.tif", grid_of(40, 60), ClassTable.of(NAMES), ABOUT, trust=True) as writer:
        writer.write(slice(0, 40), np.full((40, 60, 3), 1 / 3, np.float32), np.ones((40, 60), bool))
        writer.write_trust(slice(0, 40), judged_quarters())
    html = re.sub(r"<[^>]*>", " ", text_of(map_html(read_info(tmp_path / "map.tif"))))
    for name, cells, share in (
        ("one class in the set", "1,800", "75.0"),
        ("several classes in the set", "600", "25.0"),
        ("the model abstains", "1,200", "50.0"),
        ("out of distribution", "600", "25.0"),
    ):
        assert re.search(rf"{name}\s+{cells}\s+{share}", html), name


@needs_maplibre
def test_a_raster_of_thresholds_of_another_map_is_not_shown(tmp_path, caplog):
    """Somebody renamed a map: what lies beside it by name is of another one."""
    for name, width in (("one", 60), ("other", 50)):
        with MapWriter(tmp_path / f"{name}.tif", grid_of(40, width), ClassTable.of(NAMES), ABOUT, trust=True) as writer:
            writer.write(slice(0, 40), np.full((40, width, 3), 1 / 3, np.float32), np.ones((40, width), bool))
            writer.write_trust(slice(0, 40), judged_quarters()[..., :width])
    (tmp_path / "one.trust.tif").replace(tmp_path / "other.trust.tif")
    html = text_of(map_html(read_info(tmp_path / "other.tif")))
    assert "the model abstains" not in html
    assert "other.trust.tif does not belong to other.tif" in caplog.text
    assert "the model abstains" not in text_of(map_html(read_info(tmp_path / "one.tif")))


@needs_maplibre
@pytest.mark.browser
def test_a_layer_shows_where_the_model_abstains(open_map):
    page, complaints = open_map(trust=True)
    assert not page.locator("#trust-key").is_visible()
    page.locator("[value=trust]").check()
    assert page.locator("#trust-key").is_visible()
    for x, (_, colour) in zip((0.16, 0.4, 0.6, 0.85), JUDGED, strict=True):
        assert near(colour_at(page, x, 0.5), tuple(bytes.fromhex(colour[1:])))
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + box["height"] / 2)
    assert page.locator("#readout").text_content().endswith("confidence 80 %, the model abstains")
    assert complaints == []


@needs_maplibre
@pytest.mark.browser
def test_a_click_goes_to_the_least_certain_place(open_map):
    page, complaints = open_map()
    page.locator("[data-place='0']").click()
    wait_until(page, "!landsiftMap.isMoving() && document.querySelector('.spot') !== null")
    box = page.locator("#map").bounding_box()
    spot = page.locator(".spot").bounding_box()
    assert abs(spot["x"] + spot["width"] / 2 - box["x"] - box["width"] / 2) < 3
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert "confidence 40 %" in page.locator("#readout").text_content()
    assert complaints == []


@needs_maplibre
@pytest.mark.browser
def test_the_scene_lies_under_the_map(open_map):
    page, complaints = open_map(backdrop=True)
    page.locator("#opacity").fill("0")
    alone = colour_at(page, 0.3, 0.5)
    page.locator("#scene").uncheck()
    assert not near(colour_at(page, 0.3, 0.5), alone)
    assert complaints == []


@needs_maplibre
@pytest.mark.browser
def test_without_webgl_the_map_is_a_picture(open_map):
    no_webgl = (
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...more) {"
        " return kind.startsWith('webgl') ? null : get.call(this, kind, ...more); };"
    )
    page, complaints = open_map(script=no_webgl)
    assert near(colour_at(page, 0.3, 0.5), ClassTable.of(NAMES)[0].rgb)
    assert "no WebGL" in page.locator("#readout").text_content()
    assert complaints == []


@needs_maplibre
@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 400])
def test_no_window_scrolls_sideways(open_map, width):
    page, complaints = open_map(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []
