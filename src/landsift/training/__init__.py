"""Phases, the Lightning module that trains through them, and what one training leaves behind."""

from landsift.extras import needs

needs(
    "lightning",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
    "threadpoolctl",
    "torchmetrics",
    extra="train",
    what="training",
)
