"""What is tried around the best trial: one setting changed at a time.

In a search of half an hour a sampler sees some twenty trials in a dozen dimensions, which is too few to learn from. A
single step away from settings that are known to be good is a better guess than a draw from the whole range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from landsift.tuning.space import OFF, Space, Value, Values

Change = Callable[[Space, Values], Mapping[str, Value]]


def _times(factor: float, *names: str) -> Change:
    """Numbers multiplied; whole ones stay whole."""

    def change(space: Space, values: Values) -> Mapping[str, Value]:
        found = {name: factor * float(values[name]) for name in names if name in values}
        return {name: round(v) if isinstance(values[name], int) else v for name, v in found.items()}

    return change


def _swap(name: str, first: Value, second: Value) -> Change:
    """`first`, and `second` where it is that already."""

    def change(space: Space, values: Values) -> Mapping[str, Value]:
        return {} if name not in values else {name: second if values[name] == first else first}

    return change


def _larger_images(space: Space, values: Values) -> Mapping[str, Value]:
    """The next larger size that is searched."""
    if "image_size" not in values:
        return {}
    larger = [size for size in space.dimensions["image_size"].choices if float(size) > float(values["image_size"])]
    return {"image_size": min(larger, key=float)} if larger else {}


CHANGES: tuple[Change, ...] = (
    _times(2, "epochs"),
    _swap("mixing", "both", "none"),
    _larger_images,
    _times(0.5, "lr_head", "lr_backbone"),
    _times(2, "lr_head", "lr_backbone"),
    _swap("crop", 0.7, OFF),
    _swap("layer_decay", 0.75, 1.0),
    _swap("ema", 0.98, OFF),
    _times(4, "weight_decay"),
    _swap("head", "hidden", "linear"),
    _swap("color_jitter", 0.1, 0.0),
)
"""In the order in which they are tried; fixed before the searches of docs/results-defaults.md that use it."""


def variations(space: Space, values: Values) -> Iterator[Values]:
    """The values with one change each, as far as it is within what is searched and changes anything."""
    for change in CHANGES:
        found = space.completed({**values, **change(space, values)})
        if found != values:
            yield found
