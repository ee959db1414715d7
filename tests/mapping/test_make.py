"""A map says of each patch what `predict` says, has no class where there is nothing, and tells how it was made."""

import logging

import numpy as np
import pytest
import rasterio
from map_models import CLASSES, pictures, save_random_model
from PIL import Image
from scene_models import NORTH_UP, SENTINEL, numbers, raster

import landsift
from landsift.errors import ConfigError, DataError, ModelError, RunError
from landsift.evaluation.predict import predict_files
from landsift.mapping.make import map_scene
from landsift.mapping.map_file import read_classes, read_confidence, read_info
from landsift.mapping.map_key import key_of
from landsift.mapping.map_options import LoadedModel, MapOptions


@pytest.fixture
def run(tmp_path):
    return save_random_model(tmp_path / "run")


def scene_of(path, values, **options):
    return raster(path, values, photometric="RGB", tiled=True, blockxsize=64, blockysize=64, **options)


def cut_into_patches(values, folder, side=32):
    """Files of the patches of a scene, row after row."""
    folder.mkdir()
    files = []
    for i, j in np.ndindex(values.shape[0] // side, values.shape[1] // side):
        files.append(folder / f"{i:03}-{j:03}.png")
        Image.fromarray(values[i * side : (i + 1) * side, j * side : (j + 1) * side]).save(files[-1])
    return files


@pytest.mark.parametrize(("patch", "image_size", "tta"), [(32, 32, "none"), (32, 64, "flips"), (48, 32, "none")])
def test_the_map_of_a_scene_assembled_from_patches_says_what_predict_says_of_each(patch, image_size, tta, tmp_path):
    run = save_random_model(tmp_path / "run", patch=(patch, patch), image_size=image_size, tta=tta)
    values = pictures(5 * patch, 7 * patch)
    predicted = predict_files(run, cut_into_patches(values, tmp_path / "patches", patch))
    scene = scene_of(tmp_path / "scene.tif", values)
    result = map_scene(run, scene, tmp_path / "map.tif", probabilities=True)
    info = read_info(tmp_path / "map.tif")
    codes = read_classes(info)
    assert [CLASSES[code - 1] for code in codes.ravel()] == predicted.predicted
    assert len(set(predicted.predicted)) > 1
    expected = np.rint(100 * predicted.probabilities.max(axis=1)).reshape(5, 7)
    np.testing.assert_allclose(100 * read_confidence(info), np.maximum(expected, 1), atol=1e-3)
    with rasterio.open(tmp_path / "map.probabilities.tif") as dataset:
        shares = dataset.read([1, 2, 3, 4])
    wanted = np.rint(predicted.probabilities / 0.005).reshape(5, 7, 4)
    assert np.abs(np.moveaxis(shares, 0, -1).astype(int) - wanted).max() <= 1
    with rasterio.open(tmp_path / "map.tif") as dataset:
        assert dataset.crs.to_epsg() == 32631
        assert dataset.transform == NORTH_UP @ NORTH_UP.scale(patch)
        assert dataset.shape == (5, 7)
    hectares = 35 * (patch * 10) ** 2 / 10_000
    assert sum(result.hectares) == pytest.approx(hectares)
    assert sum(result.shares) == pytest.approx(1)
    assert result.cells == tuple(int((codes == code).sum()) for code in range(1, 5))
    assert result.patches == 35


def test_probabilities_are_bit_identical_to_those_of_predict(run, tmp_path):
    from landsift.mapping.classify import PatchByPatch, classify
    from landsift.mapping.patch_grid import PatchGrid
    from landsift.mapping.scenes import open_scene

    values = pictures(32 * 6, 32 * 5)
    predictor = landsift.load_model(run, device="cpu")
    expected = predictor(np.concatenate(list(values.reshape(6, 32, 5, 32, 3).transpose(0, 2, 1, 3, 4))))
    with open_scene(scene_of(tmp_path / "a.tif", values), predictor.description) as scene:
        grid = PatchGrid.of(scene.name, scene.grid, (32, 32))
        found = np.concatenate([strip.probabilities for strip in classify(scene, PatchByPatch(predictor), grid)])
    np.testing.assert_array_equal(found.reshape(30, 4), expected)


def test_other_bands_and_units_are_those_of_the_model(tmp_path):
    run = save_random_model(tmp_path / "run", bands=SENTINEL)
    values = numbers(4, size=(96, 128))
    said = {"names": SENTINEL.names, "scale": 1e-4, "units": "reflectance"}
    scene = raster(tmp_path / "scene.tif", values, **said)
    halves = [raster(tmp_path / "patches" / f"{i}.tif", values[32 * i : 32 * i + 32, 64:96], **said) for i in range(3)]
    map_scene(run, scene, tmp_path / "map.tif")
    found = read_classes(read_info(tmp_path / "map.tif"))[:, 2]
    assert [CLASSES[code - 1] for code in found] == predict_files(run, halves).predicted
    singles = [raster(tmp_path / f"{name}.tif", values[..., i : i + 1], scale=1e-4, units="reflectance")
               for i, name in enumerate(SENTINEL.names)]  # fmt: skip
    map_scene(run, singles, tmp_path / "other.tif")
    np.testing.assert_array_equal(
        read_classes(read_info(tmp_path / "other.tif")), read_classes(read_info(tmp_path / "map.tif"))
    )


def test_black_borders_and_no_data_have_no_class_and_edges_have_one(run, tmp_path):
    values = pictures(32 * 4 + 10, 32 * 5 + 20)
    values[:, :40] = 0  # the first column of patches, and a quarter of the second
    result = map_scene(run, scene_of(tmp_path / "scene.tif", values), tmp_path / "map.tif", min_valid=0.7)
    codes = read_classes(read_info(tmp_path / "map.tif"))
    assert codes.shape == (5, 6)
    assert (codes[:, 0] == 0).all()
    assert (codes[:, 1:] > 0).all()
    assert result.no_data == 5
    strict = map_scene(run, tmp_path / "scene.tif", tmp_path / "strict.tif")
    assert strict.no_data == 10
    empty = map_scene(run, scene_of(tmp_path / "b.tif", np.zeros((64, 64, 3), np.uint8)), tmp_path / "empty.tif")
    assert empty.no_data == 4
    assert empty.patches == 0
    assert empty.shares == (0, 0, 0, 0)


def test_the_tag_says_how_the_map_was_made(run, tmp_path, caplog):
    caplog.set_level(logging.INFO, "landsift")
    scene = scene_of(tmp_path / "S2_20230820.tif", pictures(128, 128))
    result = map_scene(
        run, scene, tmp_path / "map.tif", stride=8, dense=True, agreement=0.01, smooth=3, min_valid=0.8, tta="flips"
    )
    about = read_info(tmp_path / "map.tif").about
    assert (about.patch, about.stride, about.gsd, about.min_valid) == (32, 8, 10.0, 0.8)
    assert about.scenes == ("S2_20230820.tif",)
    assert about.when.isoformat() == "2023-08-20T00:00:00+00:00"
    assert about.dense
    assert about.tta == "flips"
    assert about.agreement == result.agreement.to_json()
    assert about.smoothing == "Bayesian, 3 × 3 cells, variance 20"
    assert len(about.model) == 16
    assert len(about.key) == 32
    assert "features up to" in caplog.text
    assert "% of the cells get another class" in caplog.text


def test_a_low_agreement_is_a_warning(run, tmp_path, caplog):
    scene = scene_of(tmp_path / "scene.tif", pictures(128, 128))
    result = map_scene(run, scene, tmp_path / "map.tif", stride=8, dense=True, agreement=1.0)
    assert result.agreement.same < 1
    warning = next(record for record in caplog.records if "features up to" in record.getMessage())
    assert warning.levelno == logging.WARNING
    assert "less than 100 %: compare it with a map without --dense" in warning.getMessage()


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"stride": 0}, DataError, "--stride 0 is not between 1 and the 32 pixels"),
        ({"stride": 33}, DataError, "--stride 33 is not between 1 and the 32 pixels"),
        ({"min_valid": 0}, ConfigError, "--min-valid 0 is no share above 0"),
        ({"min_valid": 1.1}, ConfigError, "--min-valid 1.1 is no share above 0"),
        ({"agreement": 0, "dense": True}, ConfigError, "--agreement 0 is no share above 0"),
        ({"smooth": 4}, RunError, "--smooth 4 is not an odd number from 3 to 99"),
        ({"smooth": 3, "smooth_variance": 0}, RunError, "a variance of 0 for smoothing is not above 0"),
        ({"tta": "all"}, ConfigError, "--tta all is not known"),
        ({"dense": True}, ConfigError, "--dense saves nothing with a stride of 32 × 32 pixels"),
        ({"reading": {"bands": "nothing", "what": 1}}, ConfigError, "there is no key 'what'"),
        ({"device": "nowhere"}, ModelError, "there is no device 'nowhere' here"),
    ],
)
def test_options_that_cannot_be_are_refused_and_nothing_is_written(options, kind, said, run, tmp_path):
    scene = scene_of(tmp_path / "scene.tif", pictures(96, 96))
    (tmp_path / "out").mkdir()
    with pytest.raises(kind, match=said) as error:
        map_scene(run, scene, tmp_path / "out" / "map.tif", **options)
    assert len(str(error.value).splitlines()) == 2
    assert not list((tmp_path / "out").iterdir())


def test_scenes_that_cannot_be_mapped_are_named_and_nothing_is_written(run, tmp_path):
    small = scene_of(tmp_path / "small.tif", pictures(30, 96))
    with pytest.raises(DataError, match=r"small.tif: 30 × 96 pixels, less than one patch of 32 × 32"):
        map_scene(run, small, tmp_path / "out" / "map.tif")
    with pytest.raises(RunError, match="is a file that is read, and would be replaced"):
        map_scene(run, small, small)
    with pytest.raises(RunError, match=r"does not end in \.tif"):
        map_scene(run, small, tmp_path / "map.png")
    damaged = scene_of(tmp_path / "damaged.tif", pictures(320, 320), compress="deflate")
    damaged.write_bytes(damaged.read_bytes()[:-9000])
    with pytest.raises(DataError, match=r"damaged.tif"):
        map_scene(run, damaged, tmp_path / "out" / "map.tif")
    assert not list((tmp_path / "out").iterdir()) if (tmp_path / "out").exists() else True


def test_the_key_changes_with_all_that_decides_a_map(run, tmp_path):
    scene = scene_of(tmp_path / "scene.tif", pictures(96, 96))
    options = MapOptions()
    loaded = LoadedModel.load(run, options)
    key = key_of(loaded, [scene], options)
    assert key == key_of(LoadedModel.load(run, options), [scene], MapOptions())
    others = [
        MapOptions(stride=16),
        MapOptions(dense=True),
        MapOptions(min_valid=0.5),
        MapOptions(smooth=3),
        MapOptions(probabilities=True),
        MapOptions(mask="none"),
        MapOptions(reading={"sensor": "naip"}),
    ]
    keys = {key, *(key_of(loaded, [scene], each) for each in others)}
    assert len(keys) == 1 + len(others)
    flips = MapOptions(tta="flips")
    assert key_of(LoadedModel.load(run, flips), [scene], flips) not in keys
    other = LoadedModel.load(save_random_model(tmp_path / "other", image_size=64), options)
    assert key_of(other, [scene], options) not in keys
    scene_of(scene, pictures(96, 96, seed=1))
    assert key_of(loaded, [scene], options) != key
