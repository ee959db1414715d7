"""From stored pixels to the network's input: one definition, in training, on the command line and in Python."""

import zipfile
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from landsift.bands import BandSpec
from landsift.config import HeadConfig, ModelConfig, Normalization, TrainingConfig
from landsift.data.decoding.decode import resize
from landsift.evaluation.predict import predict_files
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.models.model_json import ModelDescription
from landsift.models.predictor import load_model, save_model
from landsift.models.preprocess import Preprocess, resample
from landsift.training.module import PatchModule
from landsift.training.phases import Phase

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
SIDE = st.integers(1, 70)


def saved(folder, patch, image_size, weights="none", backbone="test_efficientnet", **arguments):
    """A `model/` folder for patches of a size, its head at random."""
    torch.manual_seed(0)
    config = ModelConfig(backbone=backbone, weights=weights, backbone_args=arguments)
    made = create_backbone(config, image_size)
    head = HeadConfig(hidden=None, dropout=0.0)
    classifier = PatchClassifier(made.network, made.features, 5, head)
    torch.nn.init.normal_(classifier.head[1].weight)
    description = ModelDescription(
        backbone=backbone, backbone_args=arguments, head=head.model_dump(), classes=tuple("abcde"), patch_size=patch,
        image_size=image_size, mean=MEAN, std=STD, landsift="0",
    )  # fmt: skip
    save_model(classifier, description, folder)
    return folder


def agree(model, images, files):
    """Whether files and their pixels as arrays get the same probabilities, to the bit where batches are the same."""
    table = predict_files(model, files).table()
    expected = table[[f"p_{name}" for name in "abcde"]].to_numpy()
    predictor = load_model(model)
    np.testing.assert_array_equal(predictor(images), expected)
    np.testing.assert_array_equal(predictor(list(images)), expected)
    np.testing.assert_array_equal(predictor([Image.fromarray(image) for image in images]), expected)
    assert len(table["predicted"].unique()) > 1  # else agreeing would be easy


@given(old=st.tuples(SIDE, SIDE), new=st.tuples(SIDE, SIDE), hard=st.booleans(), seed=st.integers(0, 99))
def test_resampling_is_the_stores_to_the_bit(old, new, hard, seed):
    image = np.random.default_rng(seed).integers(0, 256, (*old, 3), dtype=np.uint8)
    image = np.where(image > 127, np.uint8(255), np.uint8(0)) if hard else image  # overshoots and is clipped
    np.testing.assert_array_equal(resample(torch.from_numpy(image)[None], new)[0], resize(image, new))


@pytest.mark.parametrize("size", [(64, 64), (100, 100), (21, 21)])
def test_it_is_pillows_where_both_sides_change_alike(size):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pillows = Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(resample(torch.from_numpy(image)[None], size)[0], np.asarray(pillows))


@pytest.mark.parametrize("bands", [1, 4, 13])
def test_bands_are_resampled_each_for_itself(bands):
    images = np.random.default_rng(0).integers(0, 256, (2, 9, 12, bands), dtype=np.uint8)
    together = resample(torch.from_numpy(images), (6, 8)).numpy()
    for band in range(bands):
        grey = [Image.fromarray(image[..., band]).resize((8, 9), Image.Resampling.BICUBIC) for image in images]
        grey = [image.resize((8, 6), Image.Resampling.BICUBIC) for image in grey]
        np.testing.assert_array_equal(together[..., band], np.stack([np.asarray(image) for image in grey]))


def test_other_types_keep_their_range():
    steps = np.repeat(np.array([0, 65535], dtype=np.uint16), 8)[None, None, :, None].repeat(4, axis=1)  # a hard edge
    deep = resample(torch.from_numpy(steps), (4, 24))
    assert deep.dtype == torch.uint16
    assert (deep.to(torch.int64).min(), deep.to(torch.int64).max()) == (0, 65535)
    exact = resample(torch.from_numpy(steps.astype(np.float32)), (4, 24))
    assert exact.dtype == torch.float32
    assert exact.max() > 65535  # floats are not clipped
    torch.testing.assert_close(exact.clamp(0, 65535), deep.to(torch.float32), rtol=0, atol=0.51)


def test_patches_of_the_stored_size_are_scaled_resized_and_normalised():
    patches = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8))
    made = Preprocess(MEAN, STD, 32, (20, 24))(patches)
    images = patches.permute(0, 3, 1, 2).float() / 255
    images = F.interpolate(images, size=(32, 32), mode="bilinear", antialias=True, align_corners=False)
    expected = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    assert torch.equal(made, expected)
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(Preprocess(MEAN, STD, 32)(patches), made)
    deep = BandSpec(("red", "green", "blue"), "int16", (1 / 10_200,) * 3, (0.0,) * 3)
    scaled = patches.to(torch.int16) * 40
    torch.testing.assert_close(Preprocess(MEAN, STD, 32, (20, 24), deep)(scaled), made)


def test_training_validation_and_prediction_prepare_alike(tmp_path):
    predictor = load_model(saved(tmp_path / "model", (16, 16), 32))
    config = TrainingConfig(image_size=32)
    phases = (Phase("a", 1, lr_head=1e-3), Phase("b", 1, lr_head=1e-3, image_size=24))
    module = PatchModule(
        predictor._classifier, phases, config, classes=5, normalization=Normalization(mean=MEAN, std=STD), seed=0
    )
    patches = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8))
    assert torch.equal(module.prepare(patches), predictor.preprocess(patches))
    module.enter_phase(1)
    assert module.prepare(patches).shape == (3, 3, 24, 24)


@pytest.mark.parametrize("stored", [(16, 16), (24, 20)])
def test_it_can_be_exported_for_batches_of_any_size(stored):
    preprocess = Preprocess(MEAN, STD, 32, (16, 16))
    patches = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, *stored, 3), dtype=np.uint8))
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(preprocess, (patches[:3],), dynamic_shapes=({0: batch},)).module()
    assert torch.equal(exported(patches), preprocess(patches))


@pytest.mark.parametrize("size", [(128, 128), (33, 90), (20, 20)])
def test_command_line_and_predictor_agree_on_images_of_another_size(tmp_path, size):
    """Where only the command line brought images to the stored size, an eighth of the labels differed."""
    model = saved(tmp_path / "model", (64, 64), 32)
    coarse = np.random.default_rng(0).integers(0, 256, (12, 5, 5, 3), dtype=np.uint8)
    images = np.stack([resize(image, size) for image in coarse])
    files = [tmp_path / f"{i}.png" for i in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    agree(model, images, files)


def test_a_list_of_several_sizes_is_answered_in_its_order(tmp_path):
    model = saved(tmp_path / "model", (24, 32), 32)
    rng = np.random.default_rng(0)
    sizes = [(24, 32), (48, 48), (24, 32), (12, 40), (48, 48)]
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    files = [tmp_path / f"{i}.png" for i in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    table = predict_files(model, files).table()
    expected = table[[f"p_{name}" for name in "abcde"]].to_numpy()
    np.testing.assert_allclose(load_model(model)(images), expected, atol=1e-6)
    assert len(np.unique(expected.round(4), axis=0)) == len(images)


@pytest.mark.shared
def test_command_line_and_predictor_agree_on_real_images_of_128_pixels(shared, tmp_path):
    """Each joined of four EuroSAT patches of a class, for a pretrained network at 64 pixels."""
    weights = shared / "weights" / "mobilenetv2_100.imagenet.safetensors"
    model = saved(tmp_path / "model", (64, 64), 64, str(weights), "mobilenetv2_100", pad_type="same")
    with zipfile.ZipFile(shared / "data/eurosat/part-a.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[::131][:96]
        patches = [np.asarray(Image.open(BytesIO(archive.read(name)))) for name in names]
    quarters = np.stack(patches).reshape(24, 2, 2, 64, 64, 3)
    images = np.ascontiguousarray(quarters.transpose(0, 1, 3, 2, 4, 5)).reshape(24, 128, 128, 3)
    files = [tmp_path / f"{i}.png" for i in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    agree(model, images, files)
