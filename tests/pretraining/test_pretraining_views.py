"""Views show what is in the patch, in all eight symmetries, and are the same for a seed."""

import pytest
import torch
from torch.nn import functional as F

from landsift.bands import BandSpec
from landsift.config_pretraining import ViewsConfig
from landsift.pretraining.views import Views, crops, shrunk, symmetry_matrices

PLAIN = ViewsConfig(color_jitter=(0, 0, 0, 0), band_jitter=0)


def views(config=PLAIN, names=("red", "green", "blue")):
    bands = BandSpec.pictures(names)
    shape = (1, len(names), 1, 1)
    return Views(config, bands, torch.full(shape, 0.5), torch.full(shape, 0.2))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_crop_of_all_is_the_patch_in_one_of_its_eight_symmetries():
    images = torch.rand(64, 3, 8, 8)
    made = crops(images, 8, (1.0, 1.0), seeded())
    seen = set()
    for image, view in zip(images, made, strict=True):
        all_of = [torch.rot90(f, k, (1, 2)) for f in (image, image.flip(2)) for k in range(4)]
        found = [i for i, one in enumerate(all_of) if torch.allclose(one, view, atol=1e-5)]
        assert len(found) == 1
        seen.add(found[0])
    assert seen == set(range(8))


def test_the_eight_symmetries_are_orthogonal_and_different():
    matrices = symmetry_matrices(torch.arange(8))
    torch.testing.assert_close(matrices @ matrices.transpose(1, 2), torch.eye(2).expand(8, 2, 2))
    assert len({tuple(m.flatten().tolist()) for m in matrices}) == 8


def test_without_flips_a_crop_keeps_its_orientation():
    ramp = torch.linspace(0, 1, 16).expand(4, 1, 16, 16)  # rises to the right
    made = crops(ramp, 8, (0.3, 0.6), seeded(), symmetric=False)
    assert (made.diff(dim=3) >= -1e-6).all()
    assert made.diff(dim=2).abs().max() < 1e-5


def test_crops_show_the_share_that_was_asked_for():
    across = torch.linspace(-1, 1, 64).expand(200, 1, 64, 64)
    down = across.transpose(2, 3)
    made = crops(torch.cat([across, down], dim=1), 32, (0.1, 0.4), seeded(), symmetric=False)
    width = (made[:, 0, 0, -1] - made[:, 0, 0, 0]) / 2 * 32 / 31
    height = (made[:, 1, -1, 0] - made[:, 1, 0, 0]) / 2 * 32 / 31
    area = width * height
    assert 0.08 < area.min() < 0.15
    assert 0.35 < area.max() < 0.43


def test_views_of_a_seed_are_the_same_and_of_another_seed_are_not():
    images, drawn = torch.rand(4, 3, 32, 32), views(ViewsConfig(blur=1.0, noise=0.1))
    first = drawn(images, 3, 16, (0.2, 0.8), seeded())
    assert first.shape == (12, 3, 16, 16)
    assert torch.equal(first, drawn(images, 3, 16, (0.2, 0.8), seeded()))
    assert not torch.equal(first, drawn(images, 3, 16, (0.2, 0.8), seeded(1)))


def test_processes_draw_for_a_patch_what_one_would_draw():
    images, drawn = torch.rand(6, 3, 32, 32), views(ViewsConfig(band_dropout=0.2))
    whole = drawn(images, 2, 16, (0.2, 0.8), seeded()).view(2, 6, 3, 16, 16)
    part = drawn(images[4:], 2, 16, (0.2, 0.8), seeded(), (4, 6)).view(2, 2, 3, 16, 16)
    torch.testing.assert_close(whole[:, 4:], part)


def test_patches_of_any_bands_have_each_band_changed_by_itself():
    images = torch.full((8, 5, 16, 16), 0.5)
    names = ("blue", "green", "red", "nir", "swir")
    made = views(ViewsConfig(color_jitter=(0, 0, 0, 0), band_jitter=0.2), names)(images, 1, 16, (1, 1), seeded())
    factors = made[:, :, 0, 0] / 0.5
    assert factors.min() >= 0.8
    assert factors.max() <= 1.2
    assert (factors.std(dim=1) > 0).all()


def test_large_patches_are_shrunk_without_aliasing_and_small_ones_left_alone():
    assert shrunk(torch.rand(2, 3, 64, 64), 64, 1.0).shape[-1] == 64
    stripes = (torch.arange(256) % 2).float().expand(1, 1, 256, 256)
    made = shrunk(stripes, 64, 1.0)
    assert made.shape[-1] == 96
    assert made[..., 2:-2].std() < 0.2  # of 0.5 in the stripes
    assert F.interpolate(stripes, 96).std() > 0.4


@pytest.mark.parametrize("shape", [(16, 24), (40, 20)])
def test_patches_that_are_not_square_have_square_views(shape):
    assert views()(torch.rand(3, 3, *shape), 2, 16, (0.3, 1.0), seeded()).shape == (6, 3, 16, 16)
