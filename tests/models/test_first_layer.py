"""RGB weights on other bands: the kernels of red, green and blue stay with these bands."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from landsift.bands import BandSpec
from landsift.config import HeadConfig, ModelConfig
from landsift.data.sensors import red_green_blue
from landsift.errors import ModelError
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.models.first_layer import UNKNOWN, adapted, for_bands
from landsift.models.model_json import ModelDescription
from landsift.models.predictor import save_model

SENTINEL = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
SWIN = {"img_size": 64, "window_size": 4, "depths": (1, 1), "num_heads": (2, 2), "embed_dim": 24}
NETWORKS = {  # a convolutional stem and three kinds of patch embedding
    "test_efficientnet": {},
    "test_convnext": {},
    "test_vit": {},
    "swin_tiny_patch4_window7_224": SWIN,
    "resnet18": {},
}  # fmt: skip


def rgb_weights(folder, name, size=64):
    """A file of random RGB weights, and their network in eval mode."""
    torch.manual_seed(1)
    network = timm.create_model(name, num_classes=0, **arguments(name, size)).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    save_file(network.state_dict(), folder / "rgb.safetensors")
    return folder / "rgb.safetensors", network


def arguments(name, size):
    own = NETWORKS[name]
    return own | ({"img_size": size} if "vit" in name else {})


def filled(file, name, bands, how, size=64):
    config = ModelConfig(backbone=name, weights=str(file), backbone_args=NETWORKS[name], first_layer=how)
    return create_backbone(for_bands(config, len(bands)), size, red_green_blue(bands)).network.eval()


@pytest.mark.parametrize("how", ["zero", "mean"])
@pytest.mark.parametrize("name", NETWORKS)
def test_with_the_new_bands_at_zero_the_output_is_that_of_rgb(tmp_path, name, how):
    file, of_rgb = rgb_weights(tmp_path, name)
    network = filled(file, name, SENTINEL, how)
    images = torch.randn(2, 3, 64, 64)
    more = torch.zeros(2, 13, 64, 64)
    more[:, [3, 2, 1]] = images
    with torch.inference_mode():
        torch.testing.assert_close(network(more), of_rgb(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit"])
def test_zero_sees_nothing_in_the_new_bands_mean_does(tmp_path, name):
    file, of_rgb = rgb_weights(tmp_path, name)
    images = torch.randn(2, 3, 64, 64)
    more = torch.randn(2, 13, 64, 64)
    more[:, [3, 2, 1]] = images
    with torch.inference_mode():
        torch.testing.assert_close(filled(file, name, SENTINEL, "zero")(more), of_rgb(images), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(filled(file, name, SENTINEL, "mean")(more), of_rgb(images), rtol=1e-3)


def test_timm_is_timms_own(tmp_path):
    file, of_rgb = rgb_weights(tmp_path, "test_efficientnet")
    first = filled(file, "test_efficientnet", SENTINEL, "timm").conv_stem.weight
    torch.testing.assert_close(first, timm.models.adapt_input_conv(13, of_rgb.conv_stem.weight))


@pytest.mark.parametrize(
    ("bands", "said"),
    [
        (("B04", "B03", "B02", "B08"), "red (band 1), green (band 2), blue (band 3), the others with"),
        (("nir", "red", "green"), "red (band 2), green (band 3), the others with"),
        (("blue", "green", "red"), "red (band 3), green (band 2), blue (band 1)"),
        (("VV", "VH"), "the mean of their kernels for all of them, as none is known to be red, green or blue"),
        (("pan",), "the mean of their kernels"),
        (("B08", "B11", "B12", "B8A"), "the mean of their kernels"),
    ],
)
def test_kernels_stay_with_their_bands_and_what_is_done_is_said(tmp_path, caplog, bands, said):
    file, of_rgb = rgb_weights(tmp_path, "test_efficientnet")
    kernels, theirs = (n.conv_stem.weight for n in (filled(file, "test_efficientnet", bands, "zero"), of_rgb))
    assert said in caplog.text
    where = red_green_blue(bands)
    for band in range(len(bands)):
        if band in where:
            torch.testing.assert_close(kernels[:, band], theirs[:, where.index(band)])
        elif where == UNKNOWN:  # all begin alike, and add up to what grey gives in RGB
            torch.testing.assert_close(kernels.sum(1), theirs.sum(1), rtol=1e-4, atol=1e-6)
            assert kernels.abs().sum() > 0
        else:
            assert not kernels[:, band].any()


def test_three_unknown_bands_take_the_kernels_in_turn_as_before(tmp_path):
    file, of_rgb = rgb_weights(tmp_path, "test_efficientnet")
    network = filled(file, "test_efficientnet", ("VV", "VH", "angle"), "mean")
    torch.testing.assert_close(network.conv_stem.weight, of_rgb.conv_stem.weight, rtol=0, atol=0)


def test_rgb_takes_its_weights_to_the_bit_and_nothing_is_said(tmp_path, caplog):
    file, of_rgb = rgb_weights(tmp_path, "test_efficientnet")
    for how in ("zero", "mean", "timm"):
        network = filled(file, "test_efficientnet", ("red", "green", "blue"), how)
        assert all(torch.equal(value, of_rgb.state_dict()[key]) for key, value in network.state_dict().items())
    assert "first layer" not in caplog.text


def test_weights_of_a_run_on_the_same_three_bands_are_taken_as_they_are(tmp_path):
    """Its kernels are those of its own bands, in its own order."""
    _, of_rgb = rgb_weights(tmp_path, "test_efficientnet")
    names = ("nir", "red", "green")
    description = ModelDescription(
        backbone="test_efficientnet", backbone_args={}, head={"hidden": None, "dropout": 0.0}, classes=("a", "b"),
        patch_size=(16, 16), image_size=64, mean=(0.2,) * 3, std=(0.1,) * 3, landsift="0",
        bands=BandSpec(names, "uint16", (1e-4,) * 3, (0.0,) * 3, units="reflectance"),
    )  # fmt: skip
    head = HeadConfig(hidden=None, dropout=0.0)
    save_model(PatchClassifier(of_rgb, of_rgb.num_features, 2, head), description, tmp_path / "model")
    network = filled(tmp_path / "model/model.safetensors", "test_efficientnet", names, "mean")
    torch.testing.assert_close(network.conv_stem.weight, of_rgb.conv_stem.weight, rtol=0, atol=0)


def test_networks_that_differ_in_more_are_refused():
    rgb, wide = (timm.create_model("test_efficientnet", num_classes=n, in_chans=c) for n, c in ((0, 3), (5, 4)))
    with pytest.raises(ModelError, match="of 4 bands: more than the first convolution differs"):
        adapted(wide, rgb, 4)


@pytest.mark.parametrize(
    ("names", "where"),
    [
        (SENTINEL, (3, 2, 1)),
        (("SR_B2", "SR_B3", "SR_B4"), (2, 1, 0)),
        (("Red", "GREEN", "blue ", "NIR"), (0, 1, 2)),
        (("R", "G", "B", "N"), (0, 1, 2)),
        (("B8", "B4"), (1, None, None)),
        (("band_1", "band_2", "band_3", "band_4"), UNKNOWN),
        (("NDVI", "NDWI"), UNKNOWN),
    ],
)
def test_red_green_and_blue_are_known_by_name(names, where):
    assert red_green_blue(names) == where
