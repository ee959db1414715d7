"""A folder of class folders, as torchvision's ImageFolder reads it, or of train, val and test with class folders."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from landsift import runs
from landsift.data.decoding.decode import IMAGE_SUFFIXES
from landsift.data.decoding.gdal import RASTER_SUFFIXES, READ_WITH
from landsift.data.sources.folder_layout import Layout, Tree, find_layout, home_of
from landsift.data.sources.records import CHUNK, Record, Records
from landsift.data.sources.split_names import part_of
from landsift.data.sources.table import TABLE_SUFFIXES
from landsift.data.sources.walk import (
    Folder,
    PassedOver,
    by_ending,
    cannot_read,
    counted,
    not_read,
    tell_again,
    tell_not_read,
    walk,
)
from landsift.errors import DataError
from landsift.runtime.notices import once

if TYPE_CHECKING:
    import pyarrow as pa

_LAYOUT = "a source folder holds one folder per class with JPEG, PNG, TIFF, BMP or WebP images in it"
_TOLD = 5  # folders that are left out
_MASK_NAME = re.compile(r"[-_. ](mask|masks|label|labels|gt|seg)(_\d+)?\.\w+$", re.IGNORECASE)


def read_folder(root: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> tuple[Records, list[PassedOver]]:
    """List the images below each class folder (`layout.py` says which folders these are).

    Args:
        root: the folder.
        suffixes: endings (lower case) of the files that count as images.

    Returns:
        The images; and the files and folders that hold some or might be some and are left out, each with the reason.

    Raises:
        DataError: the folder cannot be read, holds no images, a class folder has none, its levels contradict each
            other or can be read in two ways, or there are masks among the images.
    """
    found = _Found()
    try:
        for folder in walk(root, suffixes):
            found.add(folder)
        found.gather()
    except UnicodeEncodeError as error:
        raise DataError(f"a name in {root} is not valid UTF-8: {error.object!r}", "rename it") from None
    except OSError as error:
        raise cannot_read(error, root) from None

    tree = Tree(found.images)
    tables = [name for name in _files_in(root) if name.lower().endswith(tuple(TABLE_SUFFIXES))]
    if not any(tree.total[name] for name in tree.inside("")):
        endings = by_ending(entry.path for entry in found.not_read)
        instead = f", only files that are not read ({counted(endings)})" if endings else ""
        hint = f"is {root / tables[0]} a table of the patches? give that as the source" if tables else _LAYOUT
        if RASTER_SUFFIXES.intersection(endings):
            hint = READ_WITH
        raise not_patches(root) or DataError(f"no images in the class folders of {root}{instead}", hint)
    layout = find_layout(root, tree)
    if masks := [path for path in found.masks if home_of(path, layout.places)]:
        raise DataError(
            f"{len(masks)} files in {root} look like masks, not patches; the first: {masks[0]}",
            "move them out of the class folders",
        )
    records = Records.of(found.records(layout)).sorted()
    if len(records.classes) == 1 and tables:
        raise DataError(
            f"{root} holds one class only: '{records.classes[0]}'",
            f"is {root / tables[0]} a table of the patches? give that as the source",
        )
    unread = [entry for entry in found.not_read if home_of(entry.path, layout.places)]
    _refuse_empty(root, layout, records, unread)
    _tell(root, layout, found, unread)
    return records, [*layout.left_out, *unread]


def read_images(root: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> tuple[Records, list[PassedOver]]:
    """List all images in and below a folder, whatever folders they are in; none has a label.

    Args:
        root: the folder.
        suffixes: endings (lower case) of the files that count as images.

    Returns:
        The images, by path; and the files that might be some and are left out.

    Raises:
        DataError: the folder cannot be read, holds no images, or there are masks among them.
    """
    paths: list[str] = []
    unread: list[PassedOver] = []
    again: list[str] = []
    masks: list[str] = []
    try:
        for folder in walk(root, suffixes):
            folder.path.encode()
            if folder.again:
                again.append(folder.path)
                continue
            unread += not_read(folder)
            within = f"{folder.path}/" if folder.path else ""
            paths += (f"{within}{name}" for name in folder.images)
            masks += (f"{within}{name}" for name in _masks(folder.images))
        records = Records.of(Record(path, None) for path in paths).sorted()
    except UnicodeEncodeError as error:
        raise DataError(f"a name in {root} is not valid UTF-8: {error.object!r}", "rename it") from None
    except OSError as error:
        raise cannot_read(error, root) from None
    if not paths:
        endings = by_ending(entry.path for entry in unread)
        instead = f", only files that are not read ({counted(endings)})" if endings else ""
        hint = READ_WITH if RASTER_SUFFIXES.intersection(endings) else "give a folder of JPEG, PNG or TIFF files"
        raise not_patches(root) or DataError(f"no images in {root}{instead}", hint)
    if masks:
        raise DataError(
            f"{len(masks)} files in {root} look like masks, not patches; the first: {masks[0]}", "move them elsewhere"
        )
    tell_not_read(root, unread)
    tell_again(root, again)
    return records, unread


def has_class_folders(root: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> bool:
    """Whether any image is in a folder below this one, and not directly in it; raises DataError as `read_images`."""
    try:
        return any(folder.path and folder.images for folder in walk(root, suffixes))
    except OSError as error:
        raise cannot_read(error, root) from None


def not_patches(root: Path) -> DataError | None:
    """What to say of a folder without images where it is something else of landsift's; None for any other."""
    if (root / runs.STORE_META).is_file():
        hint = "this needs the patches themselves, as they were before; data check and evaluate take a store"
        return DataError(f"{root} is a store of decoded patches", hint)
    what = runs.result_in(root)
    if not what:
        return None
    source = runs.trained_on(root)
    known = f"; it was made from {source}" if source else ""
    return DataError(f"{root} holds no patches: it is {what}", f"give a folder or a table of patches{known}")


def _refuse_empty(root: Path, layout: Layout, records: Records, unread: list[PassedOver]) -> None:
    """Refuse a class without an image, and say what lies there instead."""
    for home, place in layout.places.items():
        if place.label in records.classes:
            continue
        inside = by_ending(entry.path for entry in unread if home_of(entry.path, {home: place}))
        if inside:
            instead, hint = f", only files that are not read ({counted(inside)})", "convert these files to PNG or TIFF"
            hint = READ_WITH if RASTER_SUFFIXES.intersection(inside) else hint
        else:
            instead, hint = "", "add images"
        raise DataError(
            f"class '{place.label}' is empty: no images in {root / home}{instead}", f"{hint}, or remove the folder"
        )


class _Found:
    """What a walk has met."""

    def __init__(self) -> None:
        self.images = Counter[str]()
        """Number of images directly in each folder."""
        self.not_read: list[PassedOver] = []
        self.again: list[str] = []
        self.masks: list[str] = []
        self._paths: list[pa.Array] = []
        self._waiting: list[str] = []

    def add(self, folder: Folder) -> None:
        """Take in a folder.

        Raises:
            UnicodeEncodeError: its name or that of an image is not UTF-8, as the index must be.
        """
        folder.path.encode()
        if folder.again:
            self.again.append(folder.path)
            return
        self.images[folder.path] += len(folder.images)
        self.not_read += not_read(folder)
        if not folder.path:
            return  # images beside the class folders belong to no class
        self.masks += (f"{folder.path}/{name}" for name in _masks(folder.images))
        for name in folder.images:
            self._waiting.append(f"{folder.path}/{name}")
            if len(self._waiting) == CHUNK:
                self.gather()

    def gather(self) -> None:
        """Keep the paths met so far as Arrow has them, in a third of the memory."""
        import pyarrow as pa

        self._paths.append(pa.array(self._waiting, pa.large_string()))
        self._waiting = []

    def records(self, layout: Layout) -> Iterator[Record]:
        """The images in class folders."""
        known: tuple[str, str | None] = "", None  # a folder's images come one after the other
        for chunk in self._paths:
            for path in chunk.to_pylist():
                folder = path.rpartition("/")[0]
                if folder != known[0]:
                    known = folder, home_of(folder, layout.places)
                if known[1] is not None:
                    yield Record(path, *layout.places[known[1]])


def _masks(names: list[str]) -> list[str]:
    """Images that are named as the mask of another one beside them: "a_mask.png" beside "a.png"."""
    named = [(name, match.start()) for name in names if (match := _MASK_NAME.search(name))]
    if not named:
        return []
    stems = {os.path.splitext(name)[0] for name in names}  # noqa: PTH122 (fast, on strings)
    return sorted(name for name, end in named if name[:end] in stems)


def _tell(root: Path, layout: Layout, found: _Found, unread: list[PassedOver]) -> None:
    """Say what was made of the folder, and what of it is left out."""
    for notice in layout.notices:
        once(logging.INFO, f"{root}: {notice}")
    for entry in layout.left_out[:_TOLD]:
        once(logging.WARNING, f"left out: {root / entry.path}: {entry.reason}")
    if (more := len(layout.left_out) - _TOLD) > 0:
        once(logging.WARNING, f"left out: {more:,} more such folders in {root}")
    tell_not_read(root, unread)
    tell_again(root, found.again)
    lists = [name for name in _files_in(root) if part_of(os.path.splitext(name)[0])]  # noqa: PTH122
    if len({part_of(name) for name in lists}) > 1 and not any(place.split for place in layout.places.values()):
        once(
            logging.WARNING,
            f"{root}: {', '.join(lists[:4])} beside the classes are not read; if they are a split, "
            "write a table with a column 'split'",
        )


def _files_in(folder: Path) -> list[str]:
    """Names of the files directly in a folder that are not hidden, sorted."""
    names = [name for name in os.listdir(folder) if not name.startswith(".")]  # noqa: PTH208 (fast)
    return sorted(name for name in names if os.path.isfile(os.path.join(folder, name)))  # noqa: PTH113
