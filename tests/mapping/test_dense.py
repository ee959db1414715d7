"""Dense mode: networks are cut without a change, shared features are those of patches, other networks are refused."""

import math

import numpy as np
import pytest
import torch
from map_models import ArrayScene, pictures, save_random_model
from torch import nn

from landsift.errors import ConfigError, ModelError
from landsift.mapping import agreement
from landsift.mapping import dense as module
from landsift.mapping.agreement import choose, cuts_to_try
from landsift.mapping.classify import PatchByPatch, classify
from landsift.mapping.dense import Dense
from landsift.mapping.patch_grid import PatchGrid
from landsift.mapping.shared_features import Cut, cuts_of
from landsift.models.predictor import load_model


def loaded(tmp_path, backbone="test_resnet", **values):
    return load_model(save_random_model(tmp_path / "run", backbone, **values), device="cpu")


def grids(size, patch, stride):
    scene = ArrayScene(pictures(*size))
    return scene, PatchGrid.of("", scene.grid, patch, stride)


def cuts(predictor):
    description = predictor.description
    return cuts_of(description.backbone, predictor.network[0], len(description.bands), description.image_size)


def all_of(model, scene, grid):
    """Answers for all patches of a scene at multiples of the stride, [n, m, K]."""
    rows, cols = (next(axis.runs(10**6)) for axis in (grid.rows, grid.cols))
    values, _ = scene.read(rows.pixels, cols.pixels)
    return model(values, np.ones((rows.count, cols.count), bool), rows, cols)


class Plain(nn.Module):
    """A network of any layers and an average of what they give."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, images):
        return self.layers(images).mean(dim=(2, 3))


def plain_predictor(tmp_path, **values):
    """A predictor whose network pads nothing: in a piece a patch looks as it does alone."""
    predictor = loaded(tmp_path, **values)
    torch.manual_seed(1)
    layers = (nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, 16, 4, 4), nn.ReLU(), nn.Conv2d(16, 16, 2, 2))
    head = nn.Linear(16, 4)
    nn.init.normal_(head.weight, std=10)
    predictor._network = nn.Sequential(Plain(*layers), head).eval()
    with torch.inference_mode():
        head.bias.copy_(-predictor._network(torch.randn(64, 3, 32, 32)).mean(dim=0))
    return predictor


@pytest.mark.parametrize(
    ("backbone", "size"), [("test_resnet", 32), ("mobilenetv2_100", 64), ("tf_efficientnet_lite0", 64)]
)
def test_a_network_that_is_cut_answers_as_before(backbone, size, tmp_path):
    predictor = loaded(tmp_path, backbone, image_size=size)
    images = torch.randn(2, 3, size, size).contiguous(memory_format=torch.channels_last)
    found = cuts(predictor)
    assert len(found) > 5
    assert [cut.cell for cut in found] == sorted(cut.cell for cut in found)
    assert found[-1].cell == 32
    with torch.inference_mode():
        whole = predictor.network[0](images)
        for cut in found:
            features = cut.first(images)
            assert features.shape[2:] == (size // cut.cell, size // cut.cell)
            torch.testing.assert_close(cut.rest(features), whole, atol=0, rtol=0)
            assert sum(cut.work) == sum(found[0].work)


@pytest.mark.parametrize(
    ("backbone", "patch", "image_size", "tta"),
    [
        ("test_resnet", 32, 32, "flips"),
        ("test_resnet", 20, 64, "none"),
        ("mobilenetv2_100", 64, 64, "none"),
        ("tf_efficientnet_lite0", 32, 64, "flips"),  # pads as TensorFlow, by the size of its input
    ],
)
def test_where_there_is_nothing_beside_a_patch_dense_mode_says_what_predict_says(
    backbone, patch, image_size, tta, tmp_path
):
    predictor = loaded(tmp_path, backbone, patch=(patch, patch), image_size=image_size, tta=tta)
    scene, grid = grids((patch, patch), (patch, patch), patch)
    expected = predictor(scene.values[None])
    for cut in cuts(predictor)[1::4]:
        np.testing.assert_allclose(all_of(Dense(predictor, grid, cut), scene, grid)[0], expected, atol=2e-5)


@pytest.mark.parametrize(
    ("backbone", "patch", "stride", "image_size"),
    [("test_resnet", 32, 8, 32), ("test_resnet", 32, 16, 64), ("tf_efficientnet_lite0", 32, 8, 64)],
)
def test_windows_of_the_shared_features_are_those_of_the_patches(backbone, patch, stride, image_size, tmp_path):
    predictor = loaded(tmp_path, backbone, patch=(patch, patch), image_size=image_size)
    scene, grid = grids((patch + 4 * stride, patch + 3 * stride), (patch, patch), stride)
    zoom, step = image_size // patch, stride * image_size // patch
    image = predictor.preprocess.to_units(torch.from_numpy(scene.values)[None])
    if zoom > 1:
        image = nn.functional.interpolate(image, scale_factor=zoom, mode="bilinear", antialias=True)
    image = predictor.preprocess.normalize(image)
    for cut in cuts(predictor)[2::4]:
        found = all_of(Dense(predictor, grid, cut), scene, grid)
        for i, j in np.ndindex(found.shape[:2]):
            y, x = i * step, j * step
            # Of a shifted piece only what its own patches hold.
            ends = [
                max(k * step for k in range(n) if k * step % cut.cell == at % cut.cell) + image_size
                for n, at in zip(found.shape, (y, x), strict=False)
            ]
            with torch.inference_mode():
                features = cut.first(image[:, :, y % cut.cell : ends[0], x % cut.cell : ends[1]])
                cells = (slice(at // cut.cell, (at // cut.cell) + image_size // cut.cell) for at in (y, x))
                logits = predictor.network[1](cut.rest(features[(slice(None), slice(None), *cells)]))
            np.testing.assert_allclose(found[i, j], logits.softmax(dim=1)[0], atol=2e-5)


@pytest.mark.parametrize("tta", ["none", "flips"])
@pytest.mark.parametrize("stride", [4, 8, 16, 24])
def test_without_padding_dense_mode_is_patch_by_patch_also_for_flips_and_rotations(stride, tta, tmp_path):
    predictor = plain_predictor(tmp_path, tta=tta)
    scene, grid = grids((32 + 5 * stride, 32 + 3 * stride), (32, 32), stride)
    expected = all_of(PatchByPatch(predictor), scene, grid)
    assert len(np.unique(expected.argmax(axis=-1))) > 1
    for cut in cuts(predictor):
        np.testing.assert_allclose(all_of(Dense(predictor, grid, cut), scene, grid), expected, atol=1e-5)


def test_patches_that_are_not_square_are_flipped_as_in_training(tmp_path):
    predictor = plain_predictor(tmp_path, patch=(32, 64), tta="flips")
    scene, grid = grids((96, 256), (32, 64), 16)
    expected = all_of(PatchByPatch(predictor), scene, grid)
    found = all_of(Dense(predictor, grid, cuts(predictor)[-1]), scene, grid)
    # They are resized to a square, with what lies beside them: the classes are the same, the numbers nearly.
    assert (found.argmax(axis=-1) == expected.argmax(axis=-1)).mean() > 0.9
    assert np.abs(found - expected).mean() < 0.02


def test_neither_pieces_nor_holes_change_a_map(tmp_path, monkeypatch):
    predictor = plain_predictor(tmp_path)
    scene, grid = grids((200, 210), (32, 32), 8)
    scene.valid[50:90, 100:140] = False

    def mapped(model):
        strips = list(classify(scene, model, grid))
        return np.concatenate([strip.probabilities for strip in strips]), np.concatenate([s.valid for s in strips])

    expected, valid = mapped(PatchByPatch(predictor))
    assert not valid.all()
    for side, patches in ((896, 4), (96, 3), (1, 1)):
        monkeypatch.setattr(module, "PIECE", side)
        monkeypatch.setattr(module, "PATCHES", patches)
        for cut in cuts(predictor)[::2]:
            found, known = mapped(Dense(predictor, grid, cut))
            np.testing.assert_array_equal(known, valid)
            np.testing.assert_allclose(found, expected, atol=1e-5)


class Gate(nn.Module):
    """Squeeze-and-excitation that nobody calls so."""

    def forward(self, images):
        return images * images.mean(dim=(2, 3), keepdim=True).sigmoid()


def test_networks_that_look_at_a_patch_as_a_whole_are_refused_by_name_and_reason():
    import timm

    refused = {
        "efficientnet_b0": r"efficientnet_b0 has squeeze-and-excitation \(SqueezeExcite blocks.0.0.se\)",
        "test_vit": r"test_vit has attention \(Attention blocks.0.attn\), which looks at the whole patch",
        "mobilenetv3_small_050": "squeeze-and-excitation",
        "test_byobnet": "squeeze-and-excitation",
        "poolformer_s12": "a norm over the image",
        "inception_v3": "no features that lie at whole multiples of pixels",
    }
    for name, said in refused.items():
        network = timm.create_model(name, pretrained=False, num_classes=0).eval()
        with pytest.raises(ModelError, match=said) as error:
            cuts_of(name, network, 3, 160)
        assert len(str(error.value).splitlines()) == 2
        assert "map without --dense" in str(error.value)


class Choice(Plain):
    """A network whose steps depend on its numbers."""

    def forward(self, images):
        return super().forward(images) if images.mean() > 0 else super().forward(-images)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Plain(nn.Conv2d(3, 8, 3, 2, 1), Gate(), nn.Conv2d(8, 8, 3, 1, 1)), "its features depend on the whole image"),
        (Plain(nn.Conv2d(3, 8, 3, 2)), "no features that lie at whole multiples of pixels of inputs of 32"),
        (Plain(nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8)), "a norm over the image"),
        (Plain(nn.Conv2d(3, 8, 3, 2, 1), nn.LayerNorm((8, 16, 16))), "a norm over the image"),
        (Choice(nn.Conv2d(3, 8, 3, 2, 1)), "cannot follow"),
    ],
)
def test_own_networks_are_asked_what_they_do(network, said):
    with pytest.raises(ModelError, match=said):
        cuts_of("mine", network.eval(), 3, 32)


def test_the_work_of_a_stride_is_counted():
    cut = Cut("a", 16, nn.Identity(), nn.Identity(), (60, 40))
    assert cut.passes((16, 16)) == 1
    assert cut.passes((8, 8)) == 4
    assert cut.passes((64, 24)) == 2
    assert cut.cost((16, 16), 16) == pytest.approx(0.6 + 16 * 0.4)
    assert cut.cost((0, 16), 16) == math.inf


def test_the_deepest_cut_that_agrees_is_taken(tmp_path):
    predictor = loaded(tmp_path)
    scene, grid = grids((300, 300), (32, 32), 8)
    scene.valid[:200] = False
    tried = cuts_to_try(grid, predictor)
    assert [work for _, work in tried] == sorted(work for _, work in tried)
    assert tried[-1][1] < 16
    _, found = choose(scene, grid, predictor, PatchByPatch(predictor), 0.9, enough=1e-9)
    assert found.cut == tried[0][0].name
    assert found.patches > 150
    assert 0 < found.mean < found.largest <= 1
    assert choose(scene, grid, predictor, PatchByPatch(predictor), 0.9, enough=1e-9)[1] == found
    _, best = choose(scene, grid, predictor, PatchByPatch(predictor), 0.9, enough=1.0)
    assert best.same >= found.same
    assert str(best).startswith(f"features up to {best.cut} are shared; of {best.patches} patches of the scene")
    scene.valid[:] = False
    assert choose(scene, grid, predictor, PatchByPatch(predictor), 0.9)[1] is None


def test_where_nothing_is_saved_dense_mode_is_refused(tmp_path):
    predictor = loaded(tmp_path)
    for stride in (None, 31, 25):
        _, grid = grids((100, 100), (32, 32), stride)
        with pytest.raises(ConfigError, match="--dense saves nothing with a stride of"):
            cuts_to_try(grid, predictor)


def test_a_network_without_padding_agrees_wholly(tmp_path):
    predictor = plain_predictor(tmp_path)
    scene, grid = grids((300, 300), (32, 32), 8)
    _, found = choose(scene, grid, predictor, PatchByPatch(predictor), 0.9)
    assert found.same == 1
    assert found.largest < 1e-5
    assert agreement.ENOUGH == 0.95
