"""Views of a patch are drawn one after the other, the same in one process and in several."""

import pytest
import torch

from landsift.config import AugmentConfig
from landsift.data.augment import batch_generator
from landsift.data.batches import Batch
from landsift.models.preprocess import resize
from landsift.training.views import augmented_views

CONFIG = AugmentConfig(crop=0.5)
PATCHES = torch.randint(0, 256, (6, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def views(batch, count, config=CONFIG):
    return augmented_views(batch, config, 24, lambda images: resize(images, 24), batch_generator(0, 1, 2), count)


def batch(first=0, last=6):
    rows = torch.arange(first, last)
    return Batch(PATCHES[first:last], rows, rows, first, 6)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_there_are_as_many_as_asked_for_and_no_two_alike(count):
    made = views(batch(), count)
    assert [view.shape for view in made] == [(6, 3, 24, 24)] * count
    assert torch.equal(made[0], views(batch(), 1)[0])
    assert len({view.numpy().tobytes() for view in made}) == count


def test_without_augmentation_all_views_are_the_patch():
    plain = AugmentConfig(flips=False, color_jitter=(0, 0, 0, 0))
    first, second = views(batch(), 2, plain)
    assert torch.equal(first, second)


def test_a_patch_has_the_same_views_however_many_processes_there_are():
    together = views(batch(), 3)
    parts = [views(batch(first, last), 3) for first, last in ((0, 4), (4, 6))]
    for view, *halves in zip(together, *parts, strict=True):
        torch.testing.assert_close(torch.cat(halves), view, rtol=0, atol=1e-6)
