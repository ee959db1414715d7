"""Near copies: what is turned, flipped or nearly equal is found, what is another picture is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landsift.config import SyntheticConfig
from landsift.data.checks.near_duplicates import (
    BRIGHTER,
    CONTRAST,
    SIMILAR,
    TINTED,
    coefficients,
    details,
    likeness,
    near_copies,
    sketch,
)
from landsift.data.sources import synthetic

SYMMETRIES = [lambda p, k=k, f=f: np.rot90(p[:, ::-1] if f else p, k) for f in (0, 1) for k in range(4)]


def found(images, part):
    contents = np.unique(images.reshape(len(images), -1), axis=0, return_inverse=True)[1].ravel()
    pairs = near_copies(images, np.asarray(part), contents)
    return list(zip(pairs.earlier.tolist(), pairs.later.tolist(), strict=True))


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([8, 17, 32, 64, 100]),
    smooth=st.booleans(),
    symmetry=st.integers(0, 7),
    brighter=st.integers(0, 3),
)
def test_a_turned_copy_of_any_patch_is_found_and_unrelated_patches_are_not(seed, size, smooth, symmetry, brighter):
    if smooth:
        config = SyntheticConfig(seed=seed % 1000, size=size)
        images = np.stack([synthetic.patch(config, i) for i in range(12)])
    else:
        images = np.random.default_rng(seed).integers(0, 250, (12, size, size, 3), dtype=np.uint8)
    images = np.minimum(images, 250)
    copy = SYMMETRIES[symmetry](images[5]) + np.uint8(brighter)
    part = [0] * 6 + [1] * 6
    pairs = found(np.concatenate([images, copy[None]]), [*part, 2])
    expected = [] if (copy == images[5]).all() else [(5, 12)]
    assert pairs == expected


@given(seed=st.integers(0, 2**32 - 1), symmetry=st.integers(0, 7))
def test_likeness_is_the_best_correlation_over_the_eight_symmetries(seed, symmetry):
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    b = (0.7 * SYMMETRIES[symmetry](a) + 0.3 * rng.integers(0, 256, (32, 32, 3))).astype(np.uint8)

    def centred(pixels):
        pixels = pixels.mean(axis=-1)
        pixels = pixels - pixels.mean()
        return pixels / np.linalg.norm(pixels)

    def described(pixels):
        found = coefficients(pixels[None], 32).mean(axis=-1)
        found[:, 0, 0] = 0.0
        return found / np.linalg.norm(found)

    expected = max((centred(a) * centred(turn(b))).sum() for turn in SYMMETRIES)
    assert likeness(described(a), described(b))[0] == pytest.approx(expected, abs=1e-4)


def test_the_first_coefficient_is_the_mean_and_the_rest_add_up_to_the_variance():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    squares = coefficients(pixels, 32).astype(float) ** 2
    np.testing.assert_allclose(squares[:, 0, 0], pixels.mean(axis=(1, 2)) ** 2, rtol=1e-4)
    np.testing.assert_allclose(squares.sum(axis=(1, 2)), (pixels.astype(float) ** 2).mean(axis=(1, 2)), rtol=1e-4)


def test_smooth_patches_of_one_class_are_not_taken_for_copies():
    """A class of water, whose patches differ in faint ripples alone."""
    config = SyntheticConfig(patches=1200, difficulty=0.0)
    images = np.stack([synthetic.patch(config, i) for i in range(1200) if synthetic.class_of(i) == "water"])
    assert len(images) == 200
    assert found(images, np.arange(200) % 3) == []


def test_patches_divided_alike_by_a_border_are_not_taken_for_copies():
    """Two fields, dark and light, with a straight border between them and a texture of their own."""
    rng = np.random.default_rng(0)
    dark, light = np.full((64, 64, 3), 60.0), np.full((64, 64, 3), 140.0)
    fields = [np.where(np.arange(64)[:, None, None] < edge, dark, light) for edge in (30, 31, 32, 33)]
    grain = [np.kron(rng.normal(0, 6, (16, 16, 1)), np.ones((4, 4, 1))) for _ in fields]
    images = np.stack([np.clip(field + some, 0, 255) for field, some in zip(fields, grain, strict=True)]).astype("u1")
    assert np.corrcoef(images[1].ravel(), images[2].ravel())[0, 1] > 0.94
    assert found(images, [0, 1, 2, 0]) == []
    images[3] = images[1][::-1]
    assert found(images, [0, 1, 2, 0]) == [(3, 1)]


def test_the_tree_finds_what_comparing_all_pairs_finds():
    rng = np.random.default_rng(0)
    config = SyntheticConfig(patches=120)
    images = np.stack([synthetic.patch(config, i) for i in range(120)])
    copies = [np.rot90(i, k % 4) for k, i in enumerate(images[:60])] + rng.normal(0, 8, (60, 64, 64, 3))
    images = np.concatenate([images, np.clip(copies, 0, 255).astype(np.uint8)])
    part = rng.integers(0, 3, 180)
    one, other = np.nonzero(part[:, None] < part[None, :])

    rough, fine = sketch(images), details(images)
    level, contrasts = rough.means.mean(axis=1, keepdims=True), np.log(rough.contrasts)
    near = np.ones(len(one), dtype=bool)
    for values, apart in ((level, BRIGHTER), (rough.means - level, TINTED), (contrasts, np.log(CONTRAST))):
        near &= (np.abs(values[one] - values[other]) <= apart).all(axis=1)
    near &= likeness(rough.shape[one], rough.shape[other]) >= 0.9
    near &= likeness(fine[one], fine[other]) >= SIMILAR
    expected = set(zip(one[near].tolist(), other[near].tolist(), strict=True))
    assert 20 < len(expected) < 50
    assert set(found(images, part)) == expected


def test_patches_that_show_nothing_and_patches_in_no_part_are_passed_over():
    images = np.stack([np.full((16, 16, 3), level, np.uint8) for level in range(100, 112)])
    images[0, 0, 0] = 255  # a single pixel is something
    images[1] = np.rot90(images[0])
    images[2] = np.rot90(images[0], 2)
    assert found(images, [0, 1, -1, *[0, 1, 2] * 3]) == [(0, 1)]


def test_no_patches_at_all():
    assert found(np.zeros((3, 8, 8, 3), np.uint8), [0, 1, 2]) == []
