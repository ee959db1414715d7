"""Heights and widths in pixels: how they are written, and what does not fit into a patch unharmed."""

from __future__ import annotations

SQUEEZED = 2.0
"""Factor between the sides' ratios of a file and of a patch, from which the file is squeezed out of its shape."""
SCENE = 2
"""How many patches a file must hold in height or width to be a scene rather than a patch."""

Size = tuple[int, int]


def by(size: Size) -> str:
    """A height and width for people: "64 × 64"."""
    return f"{size[0]} × {size[1]}"


def is_squeezed(size: Size, patch: Size) -> bool:
    """Whether a file of this size changes its shape much when it is brought to a patch's."""
    ratio = size[0] * patch[1] / (size[1] * patch[0])
    return not 1 / SQUEEZED < ratio < SQUEEZED


def is_scene(size: Size, patch: Size) -> bool:
    """Whether a file of this size has room for several patches."""
    return size[0] >= SCENE * patch[0] or size[1] >= SCENE * patch[1]
