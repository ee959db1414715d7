"""Backbones: any of timm's by name, with weights that fit or an error that says why not."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from landsift.config import ModelConfig
from landsift.errors import ModelError
from landsift.models.backbone import check_backbone, create_backbone

TINY = "test_efficientnet"


def config(**values):
    return ModelConfig(**({"backbone": TINY, "weights": "none"} | values))


@pytest.fixture
def weights(tmp_path):
    """A file of weights in timm's layout, classifier included."""
    torch.manual_seed(5)
    file = tmp_path / "weights.safetensors"
    save_file(timm.create_model(TINY).state_dict(), file)
    return file


@pytest.mark.parametrize("name", [TINY, "test_resnet", "test_convnext", "test_vit", "mobilenetv2_050", "pit_ti_224"])
def test_any_family_gives_pooled_features(name):
    backbone = create_backbone(config(backbone=name), 64)
    assert backbone.network.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, backbone.features)


def test_a_backbone_whose_features_are_maps_is_refused():
    """Their width was taken for the number of features."""
    with pytest.raises(ModelError, match=r"test_resnet gives features of shape \[96, 2, 2\] for an image"):
        create_backbone(config(backbone="test_resnet", backbone_args={"global_pool": ""}), 64)


def test_an_unknown_tag_is_refused_with_the_known_ones():
    with pytest.raises(ModelError, match=r"unknown weights tag in 'resnet18\.nope'\nknown: resnet18\.a1_in1k"):
        check_backbone(config(backbone="resnet18.nope"))


def test_a_name_that_timm_no_longer_uses_is_refused_with_near_names():
    with pytest.raises(ModelError, match=r"'tv_densenet121' is a name that timm no longer uses\n.*'densenet121'"):
        check_backbone(config(backbone="tv_densenet121"))


def test_weights_from_a_file_are_loaded_and_the_classifier_left_out(weights):
    network = create_backbone(config(weights=str(weights)), 32).network
    from safetensors.torch import load_file

    stored = load_file(weights)
    assert all(torch.equal(v, stored[k]) for k, v in network.state_dict().items())


def test_auto_normalization_is_what_the_weights_were_trained_with(weights):
    expected = timm.create_model(TINY).pretrained_cfg
    found = create_backbone(config(weights=str(weights)), 32).normalization
    assert found.mean == tuple(expected["mean"])
    assert found.std == tuple(expected["std"])
    assert create_backbone(config(), 32).normalization is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("conv_stem.weight"), "1 missing (such as conv_stem.weight)"),
        (lambda t: t.update({"conv_stem.weight": torch.zeros(1)}), "1 of another shape (such as conv_stem.weight)"),
        (lambda t: t.update({"odd.weight": torch.zeros(1)}), "1 unknown (such as odd.weight)"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, said):
    tensors = dict(timm.create_model(TINY).state_dict())
    change(tensors)
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(ModelError) as error:
        create_backbone(config(weights=str(tmp_path / "w.safetensors")), 32)
    assert said in str(error.value)
    assert "w.safetensors" in str(error.value)


def test_a_damaged_file_a_missing_file_and_another_kind_of_file_are_refused(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"not tensors")
    (tmp_path / "model.pth").write_bytes(b"pickle")
    (tmp_path / "model.npz").touch()
    for name, said in [
        ("broken.safetensors", "cannot read"),
        ("none.safetensors", "no such file"),
        ("model.pth", "holds neither safetensors nor what torch.save writes"),
        ("model.npz", "not a file of weights"),
    ]:
        with pytest.raises(ModelError, match=said):
            create_backbone(config(weights=str(tmp_path / name)), 32)
    with pytest.raises(ModelError, match=r"holds no model/model\.safetensors"):
        create_backbone(config(weights=str(tmp_path)), 32)


def test_an_unknown_backbone_is_refused_with_near_names():
    with pytest.raises(ModelError) as error:
        check_backbone(config(backbone="efficientnet_b00"))
    assert "unknown backbone 'efficientnet_b00'" in str(error.value)
    assert "'efficientnet_b0'" in str(error.value)


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ModelError, match="backbone_args"):
        create_backbone(config(backbone_args={"no_such_argument": 1}), 32)


def test_images_of_a_size_that_the_network_does_not_take_are_refused():
    with pytest.raises(ModelError) as error:
        create_backbone(config(backbone="test_vit"), 50)
    assert "test_vit does not take images of 50 pixels" in str(error.value)
    assert "change training.image_size" in str(error.value)


def test_weights_that_timm_does_not_have_are_refused_before_anything_is_built():
    with pytest.raises(ModelError, match="no pretrained weights"):
        check_backbone(
            config(
                backbone="efficientnet_l2",
                weights="imagenet",
            )
        )


def test_real_pretrained_weights_load(shared):
    file = shared / "weights" / "mobilenetv2_100.imagenet.safetensors"
    backbone = create_backbone(
        ModelConfig(backbone="mobilenetv2_100", weights=str(file), backbone_args={"pad_type": "same"}), 64
    )
    assert backbone.features == 1280
    assert backbone.network.conv_stem.weight.abs().sum() > 0
