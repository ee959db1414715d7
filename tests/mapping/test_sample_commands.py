"""`landsift sample` and `landsift areas`: from a map to points, from labelled points to areas."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from rasterio.transform import from_origin
from test_sampling import NAMES, cells, write_map
from typer.testing import CliRunner

from landsift.cli.main import app
from landsift.errors import LandsiftError
from landsift.mapping.labelled import assess_map


def landsift(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def truth_of(codes, seed=4, wrong=0.2):
    """A reference in which a share of the cells is of another class than in the map."""
    rng = np.random.default_rng(seed)
    other = rng.integers(1, 4, codes.shape)
    return np.where(rng.random(codes.shape) < wrong, other, codes)


def label(points, truth, only=None):
    """Fill in the column reference of a CSV as a person would who knows the truth."""
    drawn = json.loads(points.with_name(points.stem + ".design.json").read_text())["points"]
    names = {point[0]: NAMES[truth[point[1], point[2]]] for point in drawn}
    table = pd.read_csv(points, dtype={"note": str}, keep_default_na=False)
    table["reference"] = [names[k] if only is None or k <= only else "" for k in table["id"]]
    table.to_csv(points, index=False)
    return table


@pytest.fixture
def drawn(tmp_path):
    """A map, the truth and labelled points."""
    codes = cells()
    path, points = write_map(tmp_path / "map.tif", codes), tmp_path / "points.csv"
    landsift("sample", path, "--out", points, "--size", 400)
    truth = truth_of(codes)
    label(points, truth)
    return path, points, codes, truth


def test_from_a_map_to_areas_that_hold_the_truth(tmp_path, drawn):
    path, points, codes, truth = drawn
    out = tmp_path / "areas"
    done = landsift("areas", path, points, "--out", out)
    assert "overall accuracy" in done.stdout
    assert "400 points labelled" in done.stdout
    found = json.loads((out / "areas.json").read_text())
    for k, each in enumerate(found["classes"], start=1):
        true = np.sum((truth == k) & (codes > 0))  # hectares: a cell is one
        assert each["hectares"]["low"] <= true <= each["hectares"]["high"]
        assert each["mapped_hectares"] == pytest.approx((codes == k).sum())
    table = pd.read_csv(out / "areas.csv")
    assert table["hectares"].sum() == pytest.approx((codes > 0).sum())
    matrix = pd.read_csv(out / "error_matrix.csv", index_col=0)
    assert list(matrix.columns) == list(NAMES[1:])
    assert matrix.to_numpy().sum() == 400
    assert pd.read_csv(out / "error_shares.csv", index_col=0).to_numpy().sum() == pytest.approx(1)
    assert sorted(file.name for file in out.iterdir()) == [
        "areas.csv", "areas.json", "error_matrix.csv", "error_shares.csv"]  # fmt: skip


def test_whoever_labels_does_not_see_what_the_map_says(tmp_path):
    path = write_map(tmp_path / "map.tif", cells())
    for name in ("points.csv", "points.gpkg"):
        landsift("sample", path, "--out", tmp_path / name)
        table = pd.read_csv(tmp_path / name) if name.endswith("csv") else gpd.read_file(tmp_path / name)
        assert set(table.columns) - {"geometry"} == {"id", "lon", "lat", "x", "y", "reference", "note"}
        assert not (table.astype(str) == "Forest").any().any()
        (tmp_path / "points.design.json").unlink()


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32631"])
def test_a_sample_of_all_cells_gives_the_truth_itself(tmp_path, crs):
    place = from_origin(2.0, 60.0, 0.2, 0.2) if crs == "EPSG:4326" else from_origin(500000, 6650000, 5000, 5000)
    codes = cells(shape=(20, 15))
    path, points = write_map(tmp_path / "map.tif", codes, crs, place), tmp_path / "points.csv"
    landsift("sample", path, "--out", points, "--size", (codes > 0).sum(), "--minimum", 2)
    truth = truth_of(codes)
    label(points, truth)
    from landsift.mapping.cell_areas import cell_areas
    from landsift.mapping.map_file import read_info

    area = np.broadcast_to(cell_areas(read_info(path).grid)[:, None], codes.shape)
    found = assess_map(path, points)
    for k in (1, 2, 3):
        estimate = found.assessment.areas[k - 1]
        true = area[(truth == k) & (codes > 0)].sum()
        for value in (estimate.value, estimate.low, estimate.high):
            assert value * found.assessment.total == pytest.approx(true)


def test_strata_that_are_not_classes_and_a_random_sample(tmp_path):
    codes = cells()
    path = write_map(tmp_path / "map.tif", codes)
    regions = write_map(tmp_path / "r.tif", cells(1, shares=(0.0, 0.3, 0.7, 0.0)), names=("", "north", "south"))
    truth = truth_of(codes)
    for name, how in (("a.csv", ["--strata", regions, "--size", 600]), ("b.csv", ["--random", "--size", 600])):
        landsift("sample", path, "--out", tmp_path / name, *how)
        label(tmp_path / name, truth)
        found = assess_map(path, tmp_path / name)
        estimate = found.assessment.areas[1]
        assert estimate.low <= np.mean(truth[codes > 0] == 2) <= estimate.high
        assert found.mapped.tolist() == pytest.approx([(codes == k).sum() for k in (1, 2, 3)])


def test_a_geopackage_labelled_in_a_gis(tmp_path, drawn):
    path, points, *_ = drawn
    labelled = pd.read_csv(points)
    landsift("sample", path, "--out", tmp_path / "p.gpkg", "--size", 400)
    table = gpd.read_file(tmp_path / "p.gpkg")
    table["reference"] = labelled["reference"]
    shuffled = table.drop(columns=["x", "y", "note"]).sample(frac=1, random_state=0)
    shuffled.to_file(tmp_path / "p.gpkg", layer="points")
    expected = assess_map(path, points).assessment
    assert assess_map(path, tmp_path / "p.gpkg").assessment.areas == expected.areas
    table[["id", "reference", "geometry"]].to_crs(4326).to_file(tmp_path / "p.geojson")
    assert assess_map(path, tmp_path / "p.geojson").assessment.areas == expected.areas
    table.loc[7, "geometry"] = table.loc[8, "geometry"]
    table.to_file(tmp_path / "p.gpkg", layer="points")
    with pytest.raises(LandsiftError, match="were moved: 8"):
        assess_map(path, tmp_path / "p.gpkg")
    table.to_file(tmp_path / "p.gpkg", layer="copy")
    with pytest.raises(LandsiftError, match="points, copy may all be the points"):
        assess_map(path, tmp_path / "p.gpkg")


def test_a_table_from_a_spreadsheet(tmp_path, drawn):
    path, points, *_ = drawn
    expected = assess_map(path, points).assessment
    table = pd.read_csv(points, dtype=str, keep_default_na=False)
    table.loc[0, "reference"] = f" {table.loc[0, 'reference']} "
    table["x"] = table["x"].str.replace(".", ",", regex=False)
    text = table.to_csv(index=False, sep=";", lineterminator="\r\n") + ";;;;;;\r\n"
    points.write_text(text, encoding="utf-8-sig")
    assert assess_map(path, points).assessment.areas == expected.areas


def test_points_that_are_not_labelled_are_counted_and_said(drawn, caplog):
    path, points, _, truth = drawn
    label(points, truth, only=380)
    done = landsift("areas", path, points, "--json")
    assert (json.loads(done.stdout)["points"], json.loads(done.stdout)["labelled"]) == (400, 380)
    assert "20 of 400 points are not labelled" in caplog.text
    label(points, truth, only=0)
    with pytest.raises(LandsiftError, match="label the points first"):
        assess_map(path, points)


def change(table, what):
    if what == "missing":
        return table.drop(index=[3, 4])
    if what == "added":
        return pd.concat([table, table.iloc[[0]].assign(id=900)])
    if what == "twice":
        return pd.concat([table, table.iloc[[0]]])
    if what == "moved":
        return table.assign(x=table["x"] + 100 * (table["id"] == 5))
    if what == "moved in degrees":
        return table.assign(lat=table["lat"] + 0.01 * (table["id"] == 5))
    if what == "class":
        return table.assign(reference=["forest", *table["reference"][1:]])
    if what == "id":
        return table.assign(id=["a", *table["id"][1:]])
    if what == "no reference":
        return table.rename(columns={"reference": "label"})
    return table.drop(columns=["x", "y", "lon", "lat"])


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("missing", "are not there: 4, 5"),
        ("added", "were not drawn: 900"),
        ("twice", "more than once: 1"),
        ("moved", "were moved: 5"),
        ("moved in degrees", "were moved: 5"),
        ("class", "forest: no class of the map"),
        ("id", "not all values of 'id' are numbers"),
        ("no reference", "has no column 'reference'"),
        ("no coordinates", "has no coordinates"),
    ],
)
def test_points_that_are_not_the_drawn_sample_are_refused(tmp_path, drawn, what, said):
    path, points, *_ = drawn
    change(pd.read_csv(points), what).to_csv(points, index=False)
    with pytest.raises(LandsiftError, match=said):
        landsift("areas", path, points, "--out", tmp_path / "areas")
    assert not (tmp_path / "areas").exists()


def test_points_without_a_design_are_refused_with_the_reason(tmp_path, drawn):
    path, points, *_ = drawn
    design = points.with_name("points.design.json")
    renamed = design.rename(tmp_path / "kept.json")
    with pytest.raises(LandsiftError, match="areas need a probability sample"):
        assess_map(path, points)
    assert assess_map(path, points, design=renamed).labelled == 400
    values = json.loads(renamed.read_text())
    values["strata"][0]["hectares"] *= 2
    renamed.write_text(json.dumps(values))
    with pytest.raises(LandsiftError, match="damaged, or was changed"):
        assess_map(path, points, design=renamed)


def test_points_of_another_map_are_refused(tmp_path, drawn):
    _, points, codes, _ = drawn
    other = codes.copy()
    other[0, 0] = 1 + other[0, 0] % 3
    with pytest.raises(LandsiftError, match="drawn from another map"):
        assess_map(write_map(tmp_path / "other.tif", other), points)


def test_labelled_points_are_never_replaced(tmp_path, drawn):
    path, points, *_ = drawn
    before = points.read_bytes()
    with pytest.raises(LandsiftError, match="labels in it would be lost"):
        landsift("sample", path, "--out", points)
    assert points.read_bytes() == before
    with pytest.raises(LandsiftError, match=r"neither \.csv nor \.gpkg"):
        landsift("sample", path, "--out", tmp_path / "points.shp")
