"""A folder with one folder per class, the layout of torchvision's ImageFolder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from landsift.data.decode import IMAGE_SUFFIXES
from landsift.data.records import Record, Records
from landsift.errors import DataError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""The parts of a split under the names people give them."""

_LAYOUT = "a source folder holds one folder per class with JPEG, PNG or TIFF images in it"


def read_folder(root: Path) -> Records:
    """List the images below each class folder; hidden files and files that are no images are passed over.

    Links are followed, but no folder is entered twice, so that a circle of links ends.

    Raises:
        DataError: the folder cannot be read, holds no images, or a class folder has none.
    """
    try:
        classes = sorted(e.name for e in os.scandir(root) if _is_folder(e) and not _hidden(e.name))
        "".join(classes).encode()
        seen = {_identity(root)} | {_identity(root / name) for name in classes}
        images = (Record(f"{name}/{image}", name) for name in classes for image in _images_below(root / name, seen))
        records = Records.of(images).sorted()
    except UnicodeEncodeError as error:
        raise DataError(f"a name in {root} is not valid UTF-8: {error.object!r}", "rename it") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"cannot read {error.filename or root}: {reason}", "check its rights") from None

    if not len(records):
        raise DataError(f"no images in the class folders of {root}", _LAYOUT)
    if len(classes) > 1 and all(name.lower() in SPLIT_NAMES for name in classes):
        raise DataError(
            f"the folders of {root} are parts of a split, not classes: {', '.join(classes)}",
            "write a table with the columns path, label and split, and set data.split.kind=column",
        )
    if len(classes) == 1 and any(record.path.count("/") > 1 for record in records):
        raise DataError(
            f"{root} holds one class only: '{classes[0]}'", f"are the class folders in {root / classes[0]}?"
        )
    for name in classes:
        if name not in records.classes:
            raise DataError(f"class '{name}' is empty: no images in {root / name}", "add images or remove the folder")
    return records


def _images_below(folder: Path, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Paths of the image files below `folder`, relative to it; enters no folder in `seen` and adds to it."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(folder / below) as entries:
            for entry in entries:
                if _hidden(entry.name):
                    continue
                if _is_folder(entry):
                    identity = _identity(Path(entry.path))
                    if identity not in seen:
                        seen.add(identity)
                        waiting.append(f"{below}{entry.name}/")
                elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122 (fast, on strings)
                    f"{below}{entry.name}".encode()  # the index is UTF-8
                    yield below + entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
