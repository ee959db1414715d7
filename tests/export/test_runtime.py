"""An exported model predicts and maps where nothing but the runtime extra is installed: no torch, no pandas."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
HAS = {
    "numpy", "pillow", "pydantic", "pyyaml", "onnxruntime", "rasterio", "rich", "typer",
    "odc-geo", "pyproj", "pystac", "shapely",
}  # fmt: skip
"""landsift[runtime-maps] without what these bring."""
BEGIN = """
import importlib.util, sys
LACKS = {"torch", "torchvision", "timm", "safetensors", "huggingface_hub", "lightning", "torchmetrics", "pandas",
         "pyarrow", "scipy", "sklearn", "platformdirs", "pooch", "threadpoolctl", "jinja2", "plotly", "maplibre",
         "geopandas", "pyogrio", "exactextract", "spyndex", "flyte", "wandb", "onnx", "onnxscript"} | set(%r)
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in LACKS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Lacking())
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.split(".")[0] in LACKS else find(name, package)
from landsift.__main__ import main
main()
"""
"""The command where these packages are not installed."""


def landsift_without(lacks, *arguments):
    program = [sys.executable, "-c", BEGIN % (lacks,), *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, check=False)


def required(extra):
    """Names of what an extra brings, with those that it includes."""
    found = set()
    for each in map(Requirement, [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]]):
        found |= set().union(*map(required, each.extras)) if each.name == "landsift" else {each.name}
    return found


def test_the_runtime_extras_bring_what_these_tests_leave():
    assert required("runtime-maps") == HAS
    assert required("runtime") == HAS - {"odc-geo", "pyproj", "pystac", "shapely"}


def test_predict_gives_the_table_that_the_run_gives(there, tmp_path):
    ours = landsift_without(
        ["odc", "pyproj", "shapely", "pystac"],
        "predict",
        there / "model.onnx",
        there / "pictures",
        "-o",
        tmp_path / "a.csv",
    )
    assert ours.returncode == 0, ours.stderr
    theirs = landsift_with(["predict", there / "run", there / "pictures", "-o", tmp_path / "b.csv"])
    assert theirs.returncode == 0, theirs.stderr
    assert ours.stdout.replace("a.csv", "b.csv") == theirs.stdout
    rows = [[line.split(",") for line in (tmp_path / name).read_text().splitlines()] for name in ("a.csv", "b.csv")]
    assert len(rows[0]) == 211
    assert rows[0][0] == rows[1][0]
    assert rows[0][0][:5] == ["path", "predicted", "set", "abstain", "ood"]
    for one, other in zip(rows[0][1:], rows[1][1:], strict=True):
        assert one[:5] == other[:5]
        assert [float(value) for value in one[5:]] == pytest.approx([float(value) for value in other[5:]], abs=1e-4)
    for column in (2, 3, 4):
        assert len({row[column] for row in rows[0][1:]}) > 1  # the thresholds tell these pictures apart


def landsift_with(arguments):
    return subprocess.run(
        [sys.executable, "-m", "landsift", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_patches_of_other_sizes_and_types_are_read_without_torch(there, tmp_path):
    import numpy as np
    import rasterio
    from PIL import Image

    new = tmp_path / "new"
    new.mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (50, 31, 3), dtype=np.uint8)).save(new / "a.png")
    profile = {"driver": "GTiff", "height": 40, "width": 40, "count": 3, "dtype": "uint8", "crs": "EPSG:32631"}
    with rasterio.open(new / "b.tif", "w", **profile, transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)) as file:
        file.write(rng.integers(0, 256, (3, 40, 40), dtype=np.uint8))
        file.colorinterp = [rasterio.enums.ColorInterp[name] for name in ("red", "green", "blue")]
    ours = landsift_without([], "predict", there / "model.onnx", new, "-o", tmp_path / "a.csv")
    assert ours.returncode == 0, ours.stderr
    assert landsift_with(["predict", there / "run", new, "-o", tmp_path / "b.csv"]).returncode == 0
    a, b = (
        np.genfromtxt(tmp_path / name, delimiter=",", skip_header=1, usecols=(-3, -2, -1))
        for name in ("a.csv", "b.csv")
    )
    assert len(a) == 2
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_scene_is_mapped_as_by_the_run(there, tmp_path):
    import numpy as np
    import rasterio

    profile = {"driver": "GTiff", "height": 100, "width": 130, "count": 3, "dtype": "uint8", "crs": "EPSG:32631"}
    with rasterio.open(tmp_path / "s.tif", "w", **profile, transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)) as file:
        file.write(np.random.default_rng(0).integers(1, 256, (3, 100, 130), dtype=np.uint8))
        file.colorinterp = [rasterio.enums.ColorInterp[name] for name in ("red", "green", "blue")]
    ours = landsift_without([], "map", there / "model.onnx", tmp_path / "s.tif", "-o", tmp_path / "a.tif")
    assert ours.returncode == 0, ours.stderr
    assert "no page beside a.tif: it needs landsift[maps]" in ours.stderr
    assert not (tmp_path / "a.html").exists()
    assert (
        landsift_with(["map", there / "run", tmp_path / "s.tif", "-o", tmp_path / "b.tif", "--no-page"]).returncode == 0
    )
    with rasterio.open(tmp_path / "a.tif") as one, rasterio.open(tmp_path / "b.tif") as other:
        np.testing.assert_array_equal(one.read(1), other.read(1))
        assert np.abs(one.read(2).astype(int) - other.read(2)).max() <= 1  # per cent
    with rasterio.open(tmp_path / "a.trust.tif") as one, rasterio.open(tmp_path / "b.trust.tif") as other:
        np.testing.assert_array_equal(one.read(), other.read())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "run", "pictures", "-o", "t.csv"], "a trained run needs safetensors, timm, torch"),
        (["predict", "model.onnx", "pictures", "-o", "t.parquet"], "a Parquet table needs pandas, pyarrow"),
        (["map", "model.onnx", "s.tif", "-o", "m.tif", "--page"], "a report needs jinja2"),
        (["map", "model.onnx", "s.tif", "-o", "m.tif", "--dense"], "has no dense mode"),
        (["map", "model.onnx", "s.tif", "-o", "m.tif", "--tta", "none"], "was exported with test-time augmentation"),
        (["zones", "m.tif", "z.gpkg", "-o", "t.csv"], "an area needs exactextract"),
        (["export", "run", "-o", "m.onnx"], "an export needs onnx, onnxscript"),
    ],
)  # fmt: skip
def test_what_is_not_installed_or_not_in_the_file_is_said_in_two_lines(there, tmp_path, arguments, said):
    done = landsift_without(
        [], *[there / each if each in {"run", "model.onnx", "pictures"} else each for each in arguments]
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") <= 2


def test_without_onnxruntime_the_extra_is_named(there, tmp_path):
    done = landsift_without(
        ["onnxruntime"], "predict", there / "model.onnx", there / "pictures", "-o", tmp_path / "t.csv"
    )
    assert done.returncode == 1
    assert "an exported model, needs onnxruntime" in done.stderr
    assert "pip install 'landsift[runtime]'" in done.stderr
