"""Augmentation: exact symmetries, bounded colours, and draws that depend on (seed, epoch, batch) alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landsift.config import AugmentConfig
from landsift.data.augment import augment, batch_generator, color_jitter, flips_and_turns, mix, random_crop

JITTER = AugmentConfig(color_jitter=(0.2, 0.2, 0.2, 0.1))


def images(count=8, size=12, width=None):
    return torch.rand((count, 3, size, width or size), generator=torch.Generator().manual_seed(1))


def stored(count=8, size=12, width=None):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, size, width or size, 3), generator=generator).to(torch.uint8)


def test_the_eight_symmetries_are_distinct_and_exact():
    patch = stored(1).expand(8, -1, -1, -1)
    turned = flips_and_turns(patch, torch.arange(8))
    assert len({t.numpy().tobytes() for t in turned}) == 8
    assert all(torch.equal(t.flatten().sort().values, patch[0].flatten().sort().values) for t in turned)
    assert torch.equal(turned[0], patch[0])
    assert torch.equal(turned[1], torch.rot90(patch[1], 1, (0, 1)))
    assert torch.equal(turned[4], patch[4].flip(1))


def test_patches_that_are_not_square_keep_their_shape():
    patches = stored(8, 6, 10)
    assert flips_and_turns(patches, torch.arange(8)).shape == patches.shape


def test_each_patch_gets_its_own_draw():
    patch = images(1).expand(64, -1, -1, -1)
    out = augment(patch, JITTER, 12, batch_generator(0, 0, 0))
    assert len({t.numpy().tobytes() for t in out}) > 60


@given(st.integers(0, 2**31), st.integers(0, 1000), st.integers(0, 10_000))
def test_draws_depend_on_seed_epoch_and_batch_alone(seed, epoch, batch):
    config = AugmentConfig(crop=0.5, mixup=0.2, cutmix=1.0)

    def once():
        generator = batch_generator(seed, epoch, batch)
        out = augment(images(), config, 10, generator)
        return mix(out, torch.arange(8) % 3, 3, config, generator)

    first = once()
    torch.rand(3)  # the global generator does not matter
    second = once()
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_another_epoch_draws_anew():
    drawn = {augment(images(), JITTER, 12, batch_generator(0, e, 0)).numpy().tobytes() for e in range(5)}
    assert len(drawn) == 5


@given(st.integers(0, 2**31))
def test_values_stay_between_zero_and_one(seed):
    config = AugmentConfig(color_jitter=(1.0, 1.0, 1.0, 0.5), crop=0.1)
    out = augment(images(), config, 9, torch.Generator().manual_seed(seed))
    assert out.shape == (8, 3, 12, 12)
    assert out.min() >= 0.0
    assert out.max() <= 1.0


def test_colour_jitter_of_strength_zero_changes_nothing():
    patches = images()
    out = color_jitter(patches, 0, 0, 0, 0, generator=torch.Generator())
    torch.testing.assert_close(out, patches, atol=2e-6, rtol=0)


def test_brightness_scales_and_grey_has_no_hue():
    grey = torch.full((64, 3, 4, 4), 0.5)
    bright = color_jitter(grey, 0.2, 0, 0, 0, generator=torch.Generator().manual_seed(0)).mean((1, 2, 3))
    assert 0.4 - 1e-5 <= bright.min() < 0.42
    assert 0.58 < bright.max() <= 0.6 + 1e-5
    turned = color_jitter(grey, 0, 0, 0.5, 0.5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(turned, grey, atol=2e-3, rtol=0)


def test_contrast_keeps_the_mean_luma():
    patches = images() * 0.5 + 0.25
    out = color_jitter(patches, 0, 0.3, 0, 0, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    torch.testing.assert_close(
        (out * weights).sum(1).mean((1, 2)), (patches * weights).sum(1).mean((1, 2)), atol=1e-3, rtol=0
    )
    assert (out.std((1, 2, 3)) / patches.std((1, 2, 3))).std() > 0.05


def test_a_crop_of_the_whole_area_is_the_patch():
    patches = images(8, 16)
    torch.testing.assert_close(
        random_crop(patches, 1.0, 16, torch.Generator().manual_seed(0)), patches, atol=1e-5, rtol=0
    )


@given(st.floats(0.1, 1.0), st.integers(0, 2**31))
def test_a_crop_keeps_at_least_the_share_asked_for(smallest, seed):
    """On an image whose red grows to the right and whose green grows downwards, a crop's area can be read off."""
    ramp = (torch.arange(64) + 0.5) / 64
    image = torch.stack([ramp.expand(64, 64), ramp.view(-1, 1).expand(64, 64), torch.zeros(64, 64)])
    crops = random_crop(image.expand(16, -1, -1, -1), smallest, 64, torch.Generator().manual_seed(seed))
    width = (crops[:, 0, 32, 40] - crops[:, 0, 32, 24]) * 64 / 16
    height = (crops[:, 1, 40, 32] - crops[:, 1, 24, 32]) * 64 / 16
    assert (width * height).min() >= smallest - 1e-3
    assert (width * height).max() <= 1 + 1e-3


def test_a_crop_that_would_shrink_is_left_to_the_antialiased_resize():
    config = AugmentConfig(flips=False, color_jitter=(0, 0, 0, 0), crop=0.5)
    assert augment(images(2, 64), config, 16, torch.Generator()).shape == (2, 3, 64, 64)
    assert augment(images(2, 64), config, 96, torch.Generator()).shape == (2, 3, 96, 96)


def test_mixing_is_off_by_default_and_makes_soft_labels_when_on():
    patches, labels = images(), torch.arange(8) % 4
    same, hard = mix(patches, labels, 4, AugmentConfig(), torch.Generator())
    assert same is patches
    assert hard is labels
    for config in (AugmentConfig(mixup=1.0), AugmentConfig(cutmix=1.0)):
        mixed, soft = mix(patches, labels, 4, config, torch.Generator().manual_seed(3))
        assert soft.shape == (8, 4)
        torch.testing.assert_close(soft.sum(1), torch.ones(8))
        assert not torch.equal(mixed, patches)


def test_everything_off_is_the_identity():
    off = AugmentConfig(flips=False, color_jitter=(0, 0, 0, 0))
    patches = images()
    assert augment(patches, off, 12, torch.Generator()) is patches


@pytest.mark.parametrize("key", ["mixup", "cutmix"])
def test_with_both_on_a_batch_draws_either(key):
    config = AugmentConfig(mixup=0.4, cutmix=1.0)
    patches, labels = images(4), torch.arange(4)
    kinds = set()
    for i in range(20):
        mixed, _ = mix(patches, labels, 4, config, torch.Generator().manual_seed(i))
        changed = (mixed != patches).float().mean().item()
        kinds.add("mixup" if changed > 0.999 else "cutmix")
    assert key in kinds


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixing_leaves_the_generators_of_gpus_alone(kind, monkeypatch):
    """They draw the dropout of each rank, which would be the same in all of them."""
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: False)
    torch.manual_seed(0)
    assert seeded == [0]
    images = torch.rand(4, 3, 8, 8)
    before = torch.get_rng_state()
    mix(images, torch.arange(4), 4, AugmentConfig(**{kind: 1.0}), batch_generator(0, 0, 0))
    assert seeded == [0]
    assert torch.equal(torch.get_rng_state(), before)
