"""Patches that are in memory already: arrays, or a data set of torch's kind. Mistakes are refused before writing."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from landsift.data.geodesy import Places
from landsift.data.sources.base import Scan
from landsift.data.sources.coordinates import checked
from landsift.data.sources.records import Record, Records
from landsift.data.sources.split_names import SPLIT_NAMES
from landsift.data.sources.walk import PassedOver
from landsift.errors import DataError, nearest

BANDS = 3
LARGEST = 4096
"""Height and width in pixels that a patch may have, as `data.patch_size`."""
_LOOKS = 4
"""Patches of a data set that are asked for twice."""


class Dataset(Protocol):
    """What torch calls a map-style data set, as those of torchvision and torchgeo are."""

    def __len__(self) -> int:
        """How many patches there are."""

    def __getitem__(self, row: int, /) -> Any:
        """(image, label) of a patch."""


class ArraySource:
    """Patches of arrays, in their order, under the classes' own order.

    Args:
        images: uint8 [N, H, W, 3].
        labels: whole numbers [N], positions in `classes`.
        classes: K names, each with at least one patch.
        paths: N different texts that name the patches in tables; None: their numbers.
        groups: N names of what must stay on one side of a split, such as scenes; None: none.
        split: N times train, val or test; None: landsift divides.
        locations: longitude and latitude in degrees, [N, 2], NaN where they are not known; None: none is known.

    Raises:
        DataError: something of this is otherwise.
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        classes: Sequence[str],
        *,
        paths: Sequence[str] | None = None,
        groups: Sequence[object] | None = None,
        split: Sequence[str] | None = None,
        locations: Any = None,
    ) -> None:
        self.name = "arrays"
        self.root: Path | None = None
        self.left_out: Sequence[PassedOver] = ()
        self.known_content: str | None = None
        self._images = _images(images)
        count = len(self._images)
        names = _classes(classes)
        numbers = _labels(labels, count, names)
        columns = (
            _paths(paths, count),
            [names[label] for label in numbers.tolist()],
            [None] * count if split is None else _split(split, count),
            [None] * count if groups is None else _texts("groups", groups, count),
        )
        self.records = Records.of(map(Record._make, zip(*columns, strict=True)))
        self.records.classes, self.records.labels = names, numbers  # in the order that they were given in
        self.records.places = None if locations is None else _locations(locations, count)

    def scan(self, row: int) -> Scan:
        """The hash of a patch's pixels and its size."""
        pixels = np.ascontiguousarray(self._images[row])
        return Scan(hashlib.sha256(pixels.data).hexdigest(), (pixels.shape[0], pixels.shape[1]))

    def pixels(self, row: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        """A patch as it was given; all are of one size."""
        assert size == self._images.shape[1:3]
        pixels: NDArray[np.uint8] = self._images[row]
        return pixels


def read_dataset(dataset: Dataset) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All patches of a data set: uint8 [N, H, W, 3] and labels int64 [N].

    An image is a Pillow image in RGB, a uint8 array [H, W, 3], or a uint8 tensor [3, H, W], as torchvision's
    `PILToTensor` makes it. All are read once, into memory.

    Raises:
        DataError: it has no length, yields something else, images of several sizes, or other pixels at every look.
    """
    try:
        count = len(dataset)
    except TypeError:
        raise DataError(
            "the data set has no length", "a map-style data set is needed, with len() and dataset[i]"
        ) from None
    if not count:
        raise DataError("the data set is empty", "it must yield at least one (image, label) of each class")
    first, _ = _item(dataset, 0)
    images = np.empty((count, *first.shape), dtype=np.uint8)
    labels = np.empty(count, dtype=np.int64)
    for row in range(count):
        image, labels[row] = _item(dataset, row)
        if image.shape != first.shape:
            sizes = " and ".join(f"{s[0]} × {s[1]}" for s in (first.shape, image.shape))
            raise DataError(f"the data set's images are of several sizes: {sizes} pixels", "give it a Resize")
        images[row] = image
    for row in range(min(count, _LOOKS)):
        if not np.array_equal(images[row], _item(dataset, row)[0]):
            raise DataError(
                "the data set gives other pixels at every look, and a store would keep one of them",
                "give it without random transforms: landsift augments while it trains",
            )
    return images, labels


def _item(dataset: Dataset, row: int) -> tuple[NDArray[np.uint8], int]:
    item = dataset[row]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise DataError(
            f"dataset[{row}] is no (image, label) but {_kind(item)}", "wrap it so that it yields such pairs"
        )
    import torch

    image, label = item
    pixels = np.asarray(image)
    if isinstance(image, torch.Tensor) and pixels.ndim == 3:  # bands first, by torch's custom
        pixels = pixels.transpose(1, 2, 0)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != BANDS:
        raise DataError(
            f"the image of dataset[{row}] is {pixels.dtype} {list(np.shape(image)) or _kind(image)}",
            "needed: a Pillow image in RGB, uint8 [H, W, 3], or a uint8 tensor [3, H, W] (PILToTensor, not ToTensor)",
        )
    number = np.asarray(label)
    if number.shape != () or number.dtype.kind not in "iu":
        raise DataError(f"the label of dataset[{row}] is {_kind(label)}", "a whole number is needed")
    return pixels, int(number)


def _images(given: Any) -> NDArray[np.uint8]:
    try:
        images: NDArray[np.uint8] = np.asarray(given)
    except (TypeError, ValueError, RuntimeError):  # patches of several sizes, a tensor on a GPU, one with gradients
        raise DataError("images make no array: are all of one size, and in this machine's memory?", NEEDED) from None
    if images.dtype != np.uint8:
        raise DataError(f"images are {images.dtype}, not uint8", NEEDED)
    if images.ndim == 4 and images.shape[1] == BANDS != images.shape[3]:
        raise DataError(
            f"images are {list(images.shape)}: bands come last", "images.transpose(0, 2, 3, 1) puts them there"
        )
    if images.ndim != 4 or images.shape[3] != BANDS:
        raise DataError(f"images are {list(images.shape)}", NEEDED)
    if not len(images):
        raise DataError("images hold no patch", NEEDED)
    if not 1 <= min(images.shape[1:3]) <= max(images.shape[1:3]) <= LARGEST:
        raise DataError(f"images are of {images.shape[1]} × {images.shape[2]} pixels", f"1 to {LARGEST} make a patch")
    return images


NEEDED = "needed: uint8 [N, H, W, 3], red, green and blue from 0 to 255"


def _classes(given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise DataError(f"classes is {_kind(given)}", "a list of names is needed, such as ['forest', 'water']")
    names = tuple(given)
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise DataError(f"classes are {names}", "names are needed, such as ['forest', 'water']")
    if len(names) < 2:
        raise DataError(f"classes are {list(names)}", "a classifier needs the names of at least two")
    _check_text("classes", names)
    if twice := _repeated(names):
        raise DataError(f"the class '{twice}' is named twice", "name each once")
    return tuple(str(name) for name in names)


def _labels(given: Any, count: int, classes: Sequence[str]) -> NDArray[np.int64]:
    try:
        labels = np.asarray(given)
    except (TypeError, ValueError, RuntimeError):
        raise DataError("labels make no array of whole numbers", "a position in classes is needed for each") from None
    if labels.dtype.kind not in "iu":
        hint = f"whole numbers from 0 to {len(classes) - 1} are needed, positions in classes"
        missing = labels.dtype.kind == "f" and np.isnan(labels).any()
        raise DataError(f"labels are {labels.dtype}" + (", with NaN among them" if missing else ""), hint)
    if labels.shape != (count,):
        raise DataError(f"labels are {list(labels.shape)} for {count} images", "one is needed for each image")
    outside = (labels < 0) | (labels >= len(classes))
    if outside.any():
        row = int(outside.argmax())
        more = f", and {np.count_nonzero(outside) - 1} others are" if np.count_nonzero(outside) > 1 else ""
        raise DataError(
            f"label {labels[row]} of image {row} is no position among the {len(classes)} classes{more}",
            f"labels go from 0 to {len(classes) - 1}",
        )
    per_class = np.bincount(labels.astype(np.int64), minlength=len(classes))
    if not per_class.all():
        raise DataError(f"class '{classes[int(per_class.argmin())]}' has no image", "leave it out of classes")
    return labels.astype(np.int64)


def _paths(given: Sequence[str] | None, count: int) -> list[str]:
    if given is None:
        return [f"{row:0{len(str(count - 1))}}" for row in range(count)]
    paths = _texts("paths", given, count)
    if twice := _repeated(paths):
        raise DataError(f"the path '{twice}' stands twice", "each image needs one of its own")
    return paths


def _split(given: Sequence[str], count: int) -> list[str]:
    parts = _texts("split", given, count)
    for part in set(parts):
        if part.lower() not in SPLIT_NAMES:
            hint = nearest(part.lower(), SPLIT_NAMES) or "use train, val and test"
            raise DataError(f"split has an unknown value '{part}'", hint)
    return parts


def _locations(given: Any, count: int) -> Places | None:
    try:
        places = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):
        raise DataError("locations make no array of numbers", _LOCATIONS) from None
    if places.shape != (count, 2):
        raise DataError(f"locations are {list(places.shape)} for {count} images", _LOCATIONS)
    return checked("locations", places)


_LOCATIONS = "needed: [N, 2], longitude and latitude of each image's centre in degrees, NaN where it is not known"


def _texts(what: str, given: Sequence[object], count: int) -> list[str]:
    """One text for each image; whole numbers, as groups often are, become text."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise DataError(f"{what} is {_kind(given)}", "a list is needed, with one for each image")
    values = list(given)
    if len(values) != count:
        raise DataError(f"{what}: {len(values)} for {count} images", "one is needed for each image, in a list")
    for row, value in enumerate(values):
        whole = isinstance(value, int | np.integer) and what == "groups"
        if not (isinstance(value, str | Path) and str(value)) and not whole:
            raise DataError(f"{what}: image {row} has {_kind(value)}", "a text is needed for each image")
    texts = [str(value) for value in values]
    _check_text(what, texts)
    return texts


def _check_text(what: str, texts: Iterable[str]) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(f"{what}: {text!r} is not valid UTF-8, as a table's text must be", "rename it") from None


def _repeated(texts: Iterable[str]) -> str | None:
    return next((text for text, n in Counter(texts).items() if n > 1), None)


def _kind(value: object) -> str:
    """What a value is, in a few characters."""
    text = repr(value)
    return text if len(text) <= 30 and "\n" not in text else f"a {type(value).__name__}"
