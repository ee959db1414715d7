"""Patches that are in memory already: arrays, or a data set of torch's kind. Mistakes are refused before writing."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set, Sized
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from landsift.bands import BandSpec
from landsift.data.geodesy import Places
from landsift.data.sources.array_images import check_bands, images_of, kind_of, native_type
from landsift.data.sources.coordinates import checked, place_columns
from landsift.data.sources.records import UNLABELLED, Record, Records
from landsift.data.sources.source import Scan, as_stored
from landsift.data.sources.split_names import SPLIT_NAMES
from landsift.data.sources.walk import PassedOver
from landsift.errors import DataError, nearest

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
        images: uint8 [N, H, W, 3], red, green and blue; or of `bands`.
        labels: whole numbers [N], positions in `classes`; -1: nobody has labelled the patch.
        classes: K names, each with at least one patch; where no patch is labelled, any or none.
        paths: N different texts that name the patches in tables; None: their numbers.
        groups: N names of what must stay on one side of a split, such as scenes; None: none.
        split: N times train, val or test, None for patches without a label; None: landsift divides.
        bands: what the numbers of the images mean; None: 8-bit RGB.
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
        split: Sequence[str | None] | None = None,
        bands: BandSpec | None = None,
        locations: Any = None,
    ) -> None:
        self.name = "arrays"
        self.root: Path | None = None
        self.left_out: Sequence[PassedOver] = ()
        self.known_content: str | None = None
        self._images, self.bands = images_of(images, bands)
        count = len(self._images)
        numbers = _labels(labels, count, classes)
        names = _classes(classes, labelled=bool((numbers >= 0).any()))
        _check_positions(numbers, names)
        columns = (
            _paths(paths, count),
            [None if label == UNLABELLED else names[label] for label in numbers.tolist()],
            [None] * count if split is None else _split(split, numbers),
            [None] * count if groups is None else _texts("groups", groups, count),
        )
        self.records = Records.of(map(Record._make, zip(*columns, strict=True)))
        self.records.classes, self.records.labels = names, numbers  # in the order that they were given in
        self.records.places = None if locations is None else _locations(locations, count)

    def scan(self, row: int) -> Scan:
        """The hash of a patch's pixels and its size."""
        pixels = as_stored(self._images[row], self.bands)
        return Scan(hashlib.sha256(pixels.data).hexdigest(), (pixels.shape[0], pixels.shape[1]))

    def pixels(self, row: int, size: tuple[int, int]) -> NDArray[Any]:
        """A patch as it was given; all are of one size."""
        assert size == self._images.shape[1:3]
        pixels: NDArray[Any] = self._images[row]
        return pixels


def read_dataset(dataset: Dataset, bands: BandSpec | None = None) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """All patches of a data set: [N, H, W, C] and labels int64 [N].

    An image is a Pillow image in RGB, a uint8 array [H, W, 3], or a uint8 tensor [3, H, W], as torchvision's
    `PILToTensor` makes it; with `bands` an array [H, W, C] or a tensor [C, H, W] of their type. All are read once, into
    memory.

    Raises:
        DataError: it has no length, yields something else, images of several sizes, or other pixels at every look.
    """
    try:
        count = len(dataset)
        if not hasattr(type(dataset), "__getitem__"):  # a DataLoader has a length, and gives batches
            raise TypeError
    except TypeError:
        raise DataError(
            "the data set has no length or no rows",
            "a map-style data set is needed, with len() and dataset[i]; of a DataLoader its .dataset",
        ) from None
    if not count:
        raise DataError("the data set is empty", "it must yield at least one (image, label) of each class")
    check_bands(bands)
    first, _ = _item(dataset, 0, bands)
    images = np.empty((count, *first.shape), dtype=first.dtype)
    labels = np.empty(count, dtype=np.int64)
    for row in range(count):
        image, labels[row] = _item(dataset, row, bands)
        if image.shape != first.shape:
            sizes = " and ".join(f"{s[0]} × {s[1]}" for s in (first.shape, image.shape))
            raise DataError(f"the data set's images are of several sizes: {sizes} pixels", "give it a Resize")
        images[row] = image
    for row in range(min(count, _LOOKS)):
        if not np.array_equal(images[row], _item(dataset, row, bands)[0], equal_nan=images.dtype.kind == "f"):
            raise DataError(
                "the data set gives other pixels at every look, and a store would keep one of them",
                "give it without random transforms: landsift augments while it trains",
            )
    return images, labels


def _item(dataset: Dataset, row: int, bands: BandSpec | None) -> tuple[NDArray[Any], int]:
    try:
        item = dataset[row]
    except Exception as error:  # whatever the code of a stranger raises
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"dataset[{row}] cannot be read: {type(error).__name__}: {reason}", "mend it, or leave that row out"
        ) from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise DataError(
            f"dataset[{row}] is no (image, label) but {kind_of(item)}", "wrap it so that it yields such pairs"
        )
    import torch

    image, label = item
    pixels = np.asarray(image)
    if isinstance(image, torch.Tensor) and pixels.ndim == 3:  # bands first, by torch's custom
        pixels = pixels.transpose(1, 2, 0)
    wanted = bands or BandSpec.pictures()
    if native_type(pixels) != wanted.numpy_dtype or pixels.ndim != 3 or pixels.shape[2] != len(wanted):
        of_bands = f"of the bands given: {wanted.dtype} [H, W, {len(wanted)}], or a tensor [{len(wanted)}, H, W]"
        of_pictures = (
            "a Pillow image in RGB, uint8 [H, W, 3], or a uint8 tensor [3, H, W] (PILToTensor, not ToTensor); for "
            "other bands or types say what they mean: bands=landsift.BandSpec(...)"
        )
        raise DataError(
            f"the image of dataset[{row}] is {pixels.dtype} {list(np.shape(image)) or kind_of(image)}",
            f"needed: {of_pictures if bands is None else of_bands}",
        )
    number = np.asarray(label)
    if number.shape != () or number.dtype.kind not in "iu":
        raise DataError(f"the label of dataset[{row}] is {kind_of(label)}", "a whole number is needed")
    return pixels, int(number)


def _classes(given: Sequence[str], *, labelled: bool) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise DataError(f"classes is {kind_of(given)}", "a list of names is needed, such as ['forest', 'water']")
    if isinstance(given, Set | Mapping):  # a set's order is another one in every process
        hint = "give a list in the order of the labels"
        hint += ": sorted(classes, key=classes.get)" if isinstance(given, Mapping) else ""
        raise DataError(f"classes are {kind_of(given)}, whose order says nothing of the labels", hint)
    names = tuple(given)
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise DataError(f"classes are {names}", "names are needed, such as ['forest', 'water']")
    if len(names) < 2 and labelled:
        raise DataError(f"classes are {list(names)}", "a classifier needs the names of at least two")
    _check_text("classes", names)
    if twice := _repeated(names):
        raise DataError(f"the class '{twice}' is named twice", "name each once")
    return tuple(str(name) for name in names)


def _labels(given: Any, count: int, classes: Any) -> NDArray[np.int64]:
    if np.ma.is_masked(given):
        raise DataError("some of the labels are masked", "leave out the images that have none")
    try:
        labels = np.asarray(given)
    except (TypeError, ValueError, RuntimeError):
        raise DataError("labels make no array of whole numbers", "a position in classes is needed for each") from None
    if labels.dtype.kind not in "iu":
        last = f" from 0 to {len(classes) - 1}" if isinstance(classes, Sized) else ""
        hint = f"whole numbers{last} are needed, positions in classes, and -1 for a patch that nobody has labelled"
        missing = labels.dtype.kind == "f" and np.isnan(labels).any()
        raise DataError(f"labels are {labels.dtype}" + (", with NaN among them" if missing else ""), hint)
    if labels.shape != (count,):
        raise DataError(f"labels are {list(labels.shape)} for {count} images", "one is needed for each image")
    return labels.astype(np.int64)


def _check_positions(labels: NDArray[np.int64], classes: Sequence[str]) -> None:
    outside = (labels < UNLABELLED) | (labels >= len(classes))
    if outside.any():
        row = int(outside.argmax())
        more = f", and {np.count_nonzero(outside) - 1} others are" if np.count_nonzero(outside) > 1 else ""
        raise DataError(
            f"label {labels[row]} of image {row} is no position among the {len(classes)} classes{more}",
            f"labels go from 0 to {len(classes) - 1}; -1 is for a patch that nobody has labelled",
        )
    per_class = np.bincount(labels[labels >= 0], minlength=len(classes))
    if per_class.any() and not per_class.all():
        raise DataError(f"class '{classes[int(per_class.argmin())]}' has no image", "leave it out of classes")


def _paths(given: Sequence[str] | None, count: int) -> list[str]:
    if given is None:
        return [f"{row:0{len(str(count - 1))}}" for row in range(count)]
    paths = _texts("paths", given, count)
    if twice := _repeated(paths):
        raise DataError(f"the path '{twice}' stands twice", "each image needs one of its own")
    return paths


def _split(given: Sequence[str | None], labels: NDArray[np.int64]) -> list[str | None]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise DataError(f"split is {kind_of(given)}", "a list is needed, with one for each image")
    values: list[Any] = list(given)
    free = [value is None and row < len(labels) and bool(labels[row] < 0) for row, value in enumerate(values)]
    parts = _texts(
        "split", ["train" if is_free else value for value, is_free in zip(values, free, strict=True)], len(labels)
    )
    for part in set(parts):
        if part.lower() not in SPLIT_NAMES:
            hint = nearest(part.lower(), SPLIT_NAMES) or "use train, val and test"
            raise DataError(f"split has an unknown value '{part}'", hint)
    return [None if is_free else part for part, is_free in zip(parts, free, strict=True)]


def _locations(given: Any, count: int) -> Places | None:
    if hasattr(given, "columns"):  # of a DataFrame, whose order may be another
        names = [str(name) for name in given.columns]
        found = place_columns("locations", names)
        if found.keys() != {"lon", "lat"}:
            raise DataError(f"locations have the columns {', '.join(names[:8])[:200]}", "name them lon and lat")
        given = given.iloc[:, [found["lon"], found["lat"]]]
    values = np.ma.filled(np.ma.asarray(given, dtype=np.float64), np.nan) if np.ma.isMaskedArray(given) else given
    try:
        if np.asarray(values).dtype.kind in "bcmM":  # truth values, complex numbers and dates become numbers
            raise TypeError
        places = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):
        raise DataError("locations make no array of numbers", _LOCATIONS) from None
    if places.shape != (count, 2):
        raise DataError(f"locations are {list(places.shape)} for {count} images", _LOCATIONS)
    return checked("locations", places)


_LOCATIONS = "needed: [N, 2], longitude and latitude of each image's centre in degrees, NaN where it is not known"


def _texts(what: str, given: Sequence[object], count: int) -> list[str]:
    """One text for each image; whole numbers, as groups often are, become text."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise DataError(f"{what} is {kind_of(given)}", "a list is needed, with one for each image")
    values = list(given)
    if len(values) != count:
        raise DataError(f"{what}: {len(values)} for {count} images", "one is needed for each image, in a list")
    for row, value in enumerate(values):
        whole = isinstance(value, int | np.integer) and what == "groups"
        if not (isinstance(value, str | Path) and str(value)) and not whole:
            raise DataError(f"{what}: image {row} has {kind_of(value)}", "a text is needed for each image")
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
