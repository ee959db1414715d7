"""Blur, noise and dropped bands: drawn per patch from the batch's generator, off by default; no data stays no data."""

import math

import pytest
import torch

from landsift.bands import BandSpec
from landsift.config import AugmentConfig
from landsift.data.augment import add_noise, augment, batch_generator, drop_bands, gaussian_blur
from landsift.data.batches import Batch
from landsift.data.patch_draws import PatchDraws
from landsift.models.preprocess import Preprocess
from landsift.training.feature_cache import uncachable
from landsift.training.views import augmented_views

C = 5
BANDS = BandSpec(tuple("abcde"), "float32", (1.0,) * C, (0.0,) * C, math.nan, "dB")
MEAN = torch.arange(1.0, C + 1).view(1, C, 1, 1)
STD = MEAN / 10
OFF = AugmentConfig(flips=False, color_jitter=(0, 0, 0, 0))


def images(count=64, size=8):
    return MEAN + STD * torch.randn((count, C, size, size), generator=torch.Generator().manual_seed(1))


def augmented(given, config, part=None, seed=0, bands=BANDS):
    total = config.model_copy(update={"flips": False})
    return augment(given, total, 8, batch_generator(seed, 0, 0), part, bands, MEAN, STD)


def with_settings(**changes):
    return OFF.model_copy(update=changes)


def test_off_changes_nothing_and_draws_nothing():
    generator = batch_generator(0, 0, 0)
    before = generator.get_state()
    given = images()
    assert augment(given, OFF, 8, generator, None, BANDS, MEAN, STD) is given
    assert torch.equal(generator.get_state(), before)
    assert AugmentConfig().noise == AugmentConfig().band_dropout == 0


def test_noise_is_in_units_of_each_bands_std():
    added = augmented(images(), with_settings(noise=0.5)) - images()
    torch.testing.assert_close(added.std((0, 2, 3)), 0.5 * STD.flatten(), rtol=0.05, atol=0)
    assert added.mean((0, 2, 3)).abs().max() < 0.05
    assert len({patch.numpy().tobytes() for patch in added}) == 64


def test_a_blur_is_scipys_gaussian_of_a_width_drawn_per_patch():
    ndimage = pytest.importorskip("scipy.ndimage")
    given = images(32, size=24)
    blurred = gaussian_blur(given, 1.5, batch_generator(0, 0, 0))
    widths = 1.5 * torch.rand(32, generator=batch_generator(0, 0, 0))
    for patch, result, width in zip(given, blurred, widths, strict=True):
        filters = {"sigma": float(width), "mode": "mirror", "radius": 5, "axes": (1, 2)}
        torch.testing.assert_close(result, torch.from_numpy(ndimage.gaussian_filter(patch.numpy(), **filters)))
    assert widths.min() < 0.1
    assert widths.max() > 1.4


def test_a_blur_wider_than_a_patch_is_cut_at_its_size():
    blurred = gaussian_blur(images(4, size=2), 9.0, batch_generator(0, 0, 0))
    assert blurred.shape == (4, C, 2, 2)
    assert blurred.isfinite().all()
    torch.testing.assert_close(gaussian_blur(MEAN, 9.0, batch_generator(0, 0, 0)), MEAN)  # one pixel


def test_a_dropped_band_is_its_mean_everywhere_and_one_stays():
    dropped = (augmented(images(400), with_settings(band_dropout=0.3)) == MEAN).all((2, 3))
    assert 0.25 < dropped.float().mean() < 0.35
    many = (augmented(images(400), with_settings(band_dropout=0.95)) == MEAN).all((2, 3))
    assert not many.all(1).any()


@pytest.mark.parametrize("config", [with_settings(noise=0.3), with_settings(blur=1.5), with_settings(band_dropout=0.4)])
def test_a_patch_is_augmented_the_same_however_many_processes_there_are(config):
    given = images(6)
    whole = augmented(given, config)
    parts = [augmented(given[start : start + 2], config, (start, 6)) for start in (0, 2, 4)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(augmented(given, config), whole)
    assert not torch.equal(augmented(given, config, seed=1), whole)


@pytest.mark.parametrize(
    "changes",
    [
        {"noise": 1.0},
        {"blur": 1.0},
        {"band_dropout": 0.5},
        {"color_jitter": (0.5, 0.5, 0, 0)},
        {"noise": 1.0, "band_dropout": 0.5},
    ],
)
def test_a_pixel_without_data_stays_what_it_was(changes):
    stored = images(16).permute(0, 2, 3, 1).clone()
    stored[:, 2:4, 2:4] = math.nan
    pre = Preprocess(tuple(MEAN.flatten().tolist()), tuple(STD.flatten().tolist()), 8, bands=BANDS)
    batch = Batch(stored, torch.zeros(16, dtype=torch.int64), torch.arange(16))
    facts = {"bands": BANDS, "mean": pre.normalize.mean, "std": pre.normalize.std}
    (view,) = augmented_views(
        batch, with_settings(**changes), 8, pre.to_input, batch_generator(0, 0, 0), to_float=pre.to_float, **facts
    )
    assert not view[:, :, 2:4, 2:4].any()  # the mean, normalised
    assert view.isfinite().all()
    assert view[:, :, :2].any()


def test_pictures_stay_between_0_and_1():
    pictures = torch.rand((8, 3, 8, 8))
    half = torch.full((1, 3, 1, 1), 0.5)
    out = augment(pictures, with_settings(noise=2.0), 8, batch_generator(0, 0, 0), None, None, half, half)
    assert out.min() == 0
    assert out.max() == 1
    assert pictures.max() < 1


def test_what_is_given_stays_as_it_is():
    given = images(4)
    before = given.clone()
    add_noise(given, STD, batch_generator(0, 0, 0))
    gaussian_blur(given, 2.0, batch_generator(0, 0, 0))
    drop_bands(given, 0.9, MEAN, batch_generator(0, 0, 0))
    assert torch.equal(given, before)


DRAWN = AugmentConfig(color_jitter=(0.3, 0.3, 0, 0), crop=0.4, blur=1.0, noise=0.2, band_dropout=0.3)


@pytest.mark.parametrize("name", ["color_jitter", "crop", "blur", "noise", "band_dropout", "all"])
def test_what_a_patch_draws_for_itself_is_the_same_in_every_batch(name):
    """Whatever the batch, its order and its size; the last bits of a sum may depend on them."""
    config = DRAWN if name == "all" else with_settings(**{name: getattr(DRAWN, name)})
    given, rows = images(7), torch.tensor([4, 0, 17, 3, 2**40, 8, 9])

    def drawn(chosen, seed=0, view=0, drawing=0):
        draws = PatchDraws(seed, rows[chosen], view, drawing)
        return augment(given[chosen], config, 8, draws, None, BANDS, MEAN, STD)

    whole = drawn([0, 1, 2, 3, 4, 5, 6])
    torch.testing.assert_close(drawn([6, 2, 0]), whole[[6, 2, 0]], rtol=1e-5, atol=1e-5)
    assert torch.equal(drawn([0, 1, 2, 3, 4, 5, 6]), whole)
    for other in (drawn([0, 1, 2, 3, 4, 5, 6], **{what: 1}) for what in ("seed", "view", "drawing")):
        assert not torch.allclose(other, whole)
    alike = given[:1].expand(64, -1, -1, -1)
    each = augment(alike, config, 8, PatchDraws(0, torch.arange(64), 0), None, BANDS, MEAN, STD)
    assert len({patch.numpy().tobytes() for patch in each}) > (1 if name == "band_dropout" else 50)


def test_only_mixing_keeps_features_from_being_cached():
    assert not uncachable(DRAWN)
    assert uncachable(with_settings(mixup=0.2, cutmix=0.1)) == "training.augment.mixup and training.augment.cutmix"
