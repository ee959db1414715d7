"""Augmentation of whole batches on the device that trains, with parameters drawn per patch.

All draws come from a generator on the CPU, so that a seed gives the same augmentation on CPU and GPU: the batch's, or
one of each patch (`PatchDraws`). Patches are augmented at their own size, before they are resized for the network: an
eighth of the work for EuroSAT at 224.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from landsift.bands import BRIGHTNESS, RGB_NAMES, BandSpec
from landsift.config import AugmentConfig
from landsift.data.batches import as_movable
from landsift.data.patch_draws import PatchDraws

RGB_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""NTSC's transform: row one is luma, rows two and three span the chroma plane that hue turns in."""


SYMMETRIES = 8
"""Of the square: four turns, each plain or flipped."""


def batch_generator(seed: int, epoch: int, batch: int) -> torch.Generator:
    """The random generator of one training batch; it depends on these three numbers alone."""
    import numpy as np

    state = int(np.random.SeedSequence([seed, epoch, batch]).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state & (2**63 - 1))


Part = tuple[int, int]
"""Where a process's batch begins in the global batch, and how many patches that has."""
Draws = torch.Generator | PatchDraws
"""Where the parameters of a batch are drawn from."""


def draw_symmetry(count: int, generator: torch.Generator, part: Part | None = None) -> Tensor:
    """One of the eight symmetries of the square for each patch of a batch, int64 [B]; `part` as in `augment`."""
    return _integers(SYMMETRIES, count, generator, part)


def jitter_of(config: AugmentConfig, bands: BandSpec) -> tuple[float, float, float, float]:
    """Strengths of brightness, contrast, saturation and hue: the last two are of red, green and blue, and else 0."""
    brightness, contrast, saturation, hue = config.color_jitter
    return (brightness, contrast, saturation, hue) if bands.names == RGB_NAMES else (brightness, contrast, 0.0, 0.0)


def augment(
    images: Tensor,
    config: AugmentConfig,
    size: int,
    generator: Draws,
    part: Part | None = None,
    bands: BandSpec | None = None,
    mean: Tensor | None = None,
    std: Tensor | None = None,
) -> Tensor:
    """Colour jitter, blur, noise, dropped bands and crops, as configured.

    A pixel without data is its band's mean before, and stays that.

    Args:
        images: float [B, C, H, W] in units of their bands; of pictures in [0, 1].
        config: what to do, and how strongly.
        size: height and width in pixels that the network will take; crops are sampled at it, unless that would
            shrink them: then at the patch's own size, and shrinking is left to an antialiased resize.
        generator: on the CPU, where all parameters are drawn from; or those of each patch, which need no `part`.
        part: where several processes train together: each draws for the whole global batch and takes its part, so
            that a patch is augmented the same however many processes there are. None: the images are all there is.
        bands: what they show; None: red, green and blue of pictures.
        mean: per band, float [1, C, 1, 1] in units; needed for `band_dropout` and for bands with a no-data value.
        std: per band, likewise; needed for `noise`.

    Returns:
        float [B, C, H, W] in the same units, square with crops.
    """
    bands = bands or BandSpec.pictures()
    given = images
    strengths = jitter_of(config, bands)
    clip = bands.units == BRIGHTNESS
    if any(strengths) and bands.names == RGB_NAMES:
        images = color_jitter(images, *strengths, generator=generator, part=part, clip=clip)
    elif any(strengths):
        images = band_jitter(images, *strengths[:2], generator=generator, part=part, clip=clip)
    if config.blur > 0:
        images = gaussian_blur(images, config.blur, generator, part)
    if config.noise > 0:
        assert std is not None
        images = add_noise(images, config.noise * std, generator, part)
        images = images.clamp_(0.0, 1.0) if clip else images
    if images is not given and bands.nodata is not None and mean is not None:
        images = torch.where(given == mean, given, images)
    if config.band_dropout > 0:
        assert mean is not None
        images = drop_bands(images, config.band_dropout, mean, generator, part)
    if config.crop is not None:
        images = random_crop(images, config.crop, max(size, *images.shape[-2:]), generator, part)
    return images


def _uniform(count: int, generator: Draws, part: Part | None, *shape: int) -> Tensor:
    """Numbers in [0, 1) for the `count` patches of a part, float [count, *shape]."""
    if isinstance(generator, PatchDraws):
        return generator.uniform(*shape)
    start, total = part or (0, count)
    return torch.rand((total, *shape), generator=generator)[start : start + count]


def _integers(high: int, count: int, generator: Draws, part: Part | None) -> Tensor:
    """Numbers from 0 to `high` - 1 for the `count` patches of a part, int64 [count]."""
    if isinstance(generator, PatchDraws):
        return generator.integers(high)
    start, total = part or (0, count)
    return torch.randint(0, high, (total,), generator=generator)[start : start + count]


def flips_and_turns(images: Tensor, symmetry: Tensor) -> Tensor:
    """Apply to each patch one of the eight symmetries of the square; exact, no interpolation.

    Args:
        images: of any type, [B, H, W, C]; where H and W differ the turns by 90 and 270 degrees become 0 and 180.
            As uint8 they are a quarter of the work of floats.
        symmetry: int [B] in 0..7: quarter turns in the lower two bits, a flip in the third.
    """
    square = images.shape[1] == images.shape[2]
    # Sorted on the CPU, so that a GPU is sent one permutation and asked nothing.
    counts = torch.bincount(symmetry, minlength=SYMMETRIES).tolist()
    order = _sent(torch.argsort(symmetry, stable=True), images.device)
    turned = []
    given, images = images, as_movable(images)
    for k, alike in enumerate(torch.split(images[order], counts)):
        turns = k % 4 if square else 2 * (k % 4 // 2)
        part = torch.rot90(alike, turns, dims=(1, 2))
        turned.append(part.flip(2) if k >= 4 else part)
    out = torch.empty_like(images)
    out[order] = torch.cat(turned)
    return out.view(given.dtype)


def _sent(drawn: Tensor, device: torch.device) -> Tensor:
    """What was drawn on the CPU, on the device; from pinned memory, so that it does not wait for the work before it."""
    return drawn.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else drawn.to(device)


def color_jitter(
    images: Tensor,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    *,
    generator: Draws,
    part: Part | None = None,
    clip: bool = True,
) -> Tensor:
    """Jitter brightness, contrast, saturation and hue with one 3 × 4 colour matrix per patch.

    The ranges are torchvision's ColorJitter: factors uniform in [1 - x, 1 + x], hue a turn in [-x, x] of a full
    circle. Hue turns the chroma plane of YIQ, and values are clamped once at the end, so that the four become one
    matrix product per pixel instead of four passes and a conversion to HSV and back.

    Args:
        images: float [B, 3, H, W], red, green and blue.
        brightness: strength.
        contrast: strength.
        saturation: strength.
        hue: strength, as a share of a full turn.
        generator: on the CPU.
        part: as in `augment`.
        clip: whether values end at 0 and 1, as those of pictures do; reflectances and others do not.
    """
    count = len(images)

    def factor(strength: float) -> Tensor:
        return 1.0 + strength * (2.0 * _uniform(count, generator, part) - 1.0)

    bright, contr, satur = factor(brightness), factor(contrast), factor(saturation)
    angle = 2.0 * math.pi * (factor(hue) - 1.0)
    chroma = torch.zeros(count, 3, 3)
    chroma[:, 0, 0] = 1.0
    chroma[:, 1, 1] = chroma[:, 2, 2] = satur * angle.cos()
    chroma[:, 1, 2], chroma[:, 2, 1] = -satur * angle.sin(), satur * angle.sin()
    matrix = (bright * contr).view(-1, 1, 1) * (torch.linalg.inv(RGB_TO_YIQ) @ chroma @ RGB_TO_YIQ)
    matrix = _sent(matrix, images.device)
    weights = _sent(RGB_TO_YIQ[0], images.device)
    luma = torch.einsum("c,bchw->b", weights, images) / (images.shape[-1] * images.shape[-2])
    offset = _sent((1.0 - contr) * bright, images.device) * luma  # contrast turns about the mean luma
    mixed = torch.baddbmm(offset.view(-1, 1, 1), matrix, images.flatten(2))
    jittered = mixed.view_as(images)
    return jittered.clamp_(0.0, 1.0) if clip else jittered


def band_jitter(
    images: Tensor,
    brightness: float,
    contrast: float,
    *,
    generator: Draws,
    part: Part | None = None,
    clip: bool = False,
) -> Tensor:
    """Jitter the brightness of a patch, and its contrast about each band's own mean; all bands by the same factors.

    Args:
        images: float [B, C, H, W] of any bands.
        brightness: strength; factors are uniform in [1 - x, 1 + x].
        contrast: strength, likewise.
        generator: on the CPU.
        part: as in `augment`.
        clip: as in `color_jitter`.
    """
    drawn = [
        1.0 + strength * (2.0 * _uniform(len(images), generator, part) - 1.0) for strength in (brightness, contrast)
    ]
    bright, contr = (_sent(factor, images.device).view(-1, 1, 1, 1) for factor in drawn)
    mean = images.mean(dim=(2, 3), keepdim=True)
    jittered = bright * (contr * images + (1.0 - contr) * mean)
    return jittered.clamp_(0.0, 1.0) if clip else jittered


def gaussian_blur(images: Tensor, largest: float, generator: Draws, part: Part | None = None) -> Tensor:
    """Blur each patch by a Gaussian of its own, whose standard deviation is uniform in [0, largest] pixels.

    Edges are mirrored. The kernels end at three standard deviations, or at the patch's size.

    Args:
        images: float [B, C, H, W].
        largest: in pixels of the images.
        generator: on the CPU.
        part: as in `augment`.
    """
    sigma = largest * _uniform(len(images), generator, part)
    blurred = images
    for axis in (2, 3):
        radius = min(math.ceil(3.0 * largest), images.shape[axis] - 1)
        at = torch.arange(-radius, radius + 1, dtype=torch.float32)
        kernels = torch.exp(-0.5 * (at / sigma.clamp(min=1e-3)[:, None]) ** 2)
        kernels = _sent(kernels / kernels.sum(dim=1, keepdim=True), images.device)  # [B, 2 radius + 1]
        count, bands, height, width = blurred.shape
        lines = blurred.movedim(1, 0).reshape(bands, count, height, width)
        shape = (count, 1, -1, 1) if axis == 2 else (count, 1, 1, -1)
        padded = F.pad(lines, (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0), mode="reflect")
        blurred = F.conv2d(padded, kernels.view(shape), groups=count).movedim(0, 1)
    return blurred


def add_noise(images: Tensor, std: Tensor, generator: Draws, part: Part | None = None) -> Tensor:
    """Add Gaussian noise to each number; each patch has a generator of its own, seeded from the batch's.

    Args:
        images: float [B, C, H, W].
        std: of the noise, per band, float [1, C, 1, 1].
        generator: on the CPU.
        part: as in `augment`.
    """
    seeds = _integers(2**62, len(images), generator, part).tolist()
    own = torch.Generator()
    noise = torch.empty(images.shape, dtype=torch.float32)
    for patch, seed in zip(noise, seeds, strict=True):
        patch.normal_(generator=own.manual_seed(seed))
    return images + _sent(noise, images.device) * std


def drop_bands(images: Tensor, probability: float, mean: Tensor, generator: Draws, part: Part | None = None) -> Tensor:
    """Make bands their mean, which normalises to 0: each band of each patch with a probability, never all of a patch.

    Args:
        images: float [B, C, H, W].
        probability: that a band is dropped; a patch that would lose all keeps them.
        mean: per band, float [1, C, 1, 1].
        generator: on the CPU.
        part: as in `augment`.
    """
    dropped = _uniform(len(images), generator, part, images.shape[1]) < probability
    dropped &= ~dropped.all(dim=1, keepdim=True)
    return torch.where(_sent(dropped, images.device)[..., None, None], mean, images)


def random_crop(images: Tensor, smallest: float, size: int, generator: Draws, part: Part | None = None) -> Tensor:
    """Random resized crops: a share of the area in [smallest, 1], sides in ratio 3:4 to 4:3 where the share allows.

    Args:
        images: float [B, C, H, W].
        smallest: smallest share of the area.
        size: height and width of the result in pixels.
        generator: on the CPU.
        part: as in `augment`.
    """
    count = len(images)
    area = smallest + (1.0 - smallest) * _uniform(count, generator, part)
    ratio = torch.exp(math.log(4 / 3) * (2.0 * _uniform(count, generator, part) - 1.0))
    ratio = torch.minimum(torch.maximum(ratio, area), 1.0 / area)  # a longer side would not fit into the patch
    width, height = (area * ratio).sqrt(), (area / ratio).sqrt()
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = width, height
    theta[:, 0, 2] = (1.0 - width) * (2.0 * _uniform(count, generator, part) - 1.0)
    theta[:, 1, 2] = (1.0 - height) * (2.0 * _uniform(count, generator, part) - 1.0)
    grid = F.affine_grid(_sent(theta, images.device), [count, images.shape[1], size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def mix(
    images: Tensor, labels: Tensor, classes: int, config: AugmentConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mixup or cutmix with the neighbour in the batch; with both on, the batch draws one.

    Where several processes train together, they draw the same kind and share, and neighbours are of one process.

    Args:
        images: float [B, C, H, W].
        labels: int64 [B].
        classes: K.
        config: `mixup` and `cutmix` are the beta parameters; 0 is off.
        generator: on the CPU.

    Returns:
        Mixed images, float [B, C, H, W], and soft labels, float [B, K]; unchanged where both are off.
    """
    from torchvision.transforms import v2

    kinds = [kind for kind, alpha in (("mixup", config.mixup), ("cutmix", config.cutmix)) if alpha > 0]
    if not kinds:
        return images, labels
    drawn = torch.randint(0, len(kinds), (1,), generator=generator).item()
    state = torch.randint(0, 2**62, (1,), generator=generator).item()
    transform: v2.Transform
    if kinds[int(drawn)] == "mixup":
        transform = v2.MixUp(alpha=config.mixup, num_classes=classes)
    else:
        transform = v2.CutMix(alpha=config.cutmix, num_classes=classes)
    with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
        torch.default_generator.manual_seed(
            int(state)
        )  # torch.manual_seed would seed GPUs too: all ranks' dropout alike
        mixed, soft = transform(images, labels)
    return mixed, soft
