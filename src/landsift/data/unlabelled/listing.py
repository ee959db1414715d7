"""What is to be classified: files, folders, patterns, tables, lists, archives and URLs, as one list of entries.

listed = list_sources(sources, endings, folder, marked_every)
listed.entries      in their order, on disk if they are many
listed.passed_over  what lies beside them and is not read
"""

from __future__ import annotations

import errno
import glob
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from landsift.data.decoding.decode import IMAGE_SUFFIXES
from landsift.data.sources.folder import not_patches
from landsift.data.sources.met import Met
from landsift.data.sources.table import TABLE_SUFFIXES, is_list, read_list, read_paths
from landsift.data.sources.walk import (
    PassedOver,
    by_ending,
    cannot_read,
    counted,
    not_read,
    tell_again,
    tell_not_read,
    verdict,
    walk,
)
from landsift.data.unlabelled import stores
from landsift.data.unlabelled.archives import is_archive, members, repeated
from landsift.data.unlabelled.entries import Entries, Entry, is_url
from landsift.errors import DataError, RunError
from landsift.runtime.progress_bar import progress_bar

logger = logging.getLogger("landsift")

LIST_SUFFIX = ".txt"
"""Ending of a text file that names files, one a line."""
_TOLD_EVERY = 1000  # entries
_NO_LIST = "a text file, of which no line leads to a file"

Source = Path | str
"""A path, or a URL as text."""


@dataclass
class Listed:
    """What sources hold."""

    entries: Entries
    passed_over: list[PassedOver] = field(default_factory=list)


def list_sources(
    sources: Sequence[Source], endings: Collection[str], folder: Path | None = None, marked_every: int = 1
) -> Listed:
    """List the given files, the images below folders in order of their names, those in archives and of tables.

    A file that is named twice is listed once. An archive's members are in its own order, an object store's objects in
    the order of their names.

    Args:
        sources: paths of files, folders, patterns (`*`), tables, lists and archives; URLs.
        endings: (lower case) of the files in folders and archives that are images.
        folder: as of `Entries`.
        marked_every: as of `Entries`.

    Raises:
        DataError: a source does not exist, holds no image, or cannot be used.
        RunError: the list is long, and there is no room for it.
        MissingExtraError: what reads a URL is not installed.
    """
    listed = Listed(Entries(folder, marked_every))
    lister = _Lister(listed, frozenset(endings), many=len(sources) > 1)
    try:
        with progress_bar("Listing files", None) as lister.advance:
            for source in sources:
                lister.take(source)
        listed.entries.flush()
    except OSError as error:
        listed.entries.close()
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise cannot_read(error, Path(str(source))) from None
        place = folder or tempfile.gettempdir()
        raise RunError(f"the list of files cannot be written to {place}: the disk is full", "free some space") from None
    except BaseException:
        listed.entries.close()
        raise
    if not listed.entries.count:
        listed.entries.close()
        raise DataError(
            f"no images; {listed.passed_over[0].path}: {listed.passed_over[0].reason}",
            "name image files, folders, tables or archives",
        )
    if lister.again:
        logger.warning(
            "%d of %d files are named more than once and classified once",
            lister.again,
            listed.entries.count + lister.again,
        )
    return listed


class _Lister:
    def __init__(self, listed: Listed, endings: frozenset[str], *, many: bool) -> None:
        self.advance: Callable[[int], None] = lambda steps: None
        self.again = 0
        self._listed = listed
        self._endings = endings
        self._many = many
        self._met = Met()
        self._folders: dict[str, str] = {}

    def take(self, source: Source) -> None:
        """List what a source names."""
        if isinstance(source, str) and is_url(source):
            self._url(source)
            return
        path = Path(source)
        if path.is_dir():
            self._folder(path)
        elif not path.exists():
            self._pattern(path)
        elif is_archive(path.name) and path.is_file():
            self._archive(str(path))
        elif path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
            self._named(read_paths(path))
        elif path.suffix.lower() == LIST_SUFFIX and path.is_file() and (not self._many or is_list(path)):
            self._named(read_list(path))
        elif path.suffix.lower() == LIST_SUFFIX and path.is_file():
            logger.warning("left out %s: %s", path, _NO_LIST)
            self._listed.passed_over.append(PassedOver(str(path), _NO_LIST))
        else:
            self._file(str(path), once=self._many)

    def _pattern(self, path: Path) -> None:
        found = sorted(glob.glob(str(path), recursive=True)) if glob.has_magic(str(path)) else []  # noqa: PTH207 (text)
        if not found:
            what = "no file fits the pattern" if glob.has_magic(str(path)) else "no such file or folder:"
            url = ":/" in str(path) and str(path).split(":/")[0].isalnum()
            raise DataError(f"{what} {path}", "give a URL as text, such as s3://bucket/folder" if url else "")
        self._many = self._many or len(found) > 1
        of_lists = path.suffix.lower() in {*TABLE_SUFFIXES, LIST_SUFFIX}
        for each in map(Path, found):
            beside = each.suffix.lower() in {*TABLE_SUFFIXES, LIST_SUFFIX}  # as where a folder is walked
            if not each.exists():  # a link to nothing, which a folder has told of as well
                self._file(str(each), once=True)
            elif of_lists or not beside:
                self.take(each)

    def _named(self, paths: Iterable[str]) -> None:
        """Files that a table or a list names; archives and folders are not looked for among them."""
        for path in paths:
            if is_url(path):
                self._add(Entry(path, -1), path)
            else:
                self._file(path, once=True)

    def _file(self, path: str, *, once: bool) -> None:
        key = None
        if once:
            folder, name = os.path.split(path)
            if folder not in self._folders:
                if len(self._folders) > 4096:  # paths of a table may lie in as many folders as there are files
                    self._folders.clear()
                self._folders[folder] = os.path.realpath(folder)
            key = f"{self._folders[folder]}/{name}"
        self._add(_of_file(path), key)

    def _add(self, entry: Entry, key: str | None) -> None:
        """One more entry; one that was met under the same key is counted alone."""
        try:
            entry.path.encode()
        except UnicodeEncodeError:
            message = f"the name {entry.path!r} is not valid UTF-8, as a table's text must be"
            raise DataError(message, "rename it") from None
        if key is not None and self._met.again(key):
            self.again += 1
            return
        self._listed.entries.add(entry)
        if self._listed.entries.count % _TOLD_EVERY == 0:
            self.advance(_TOLD_EVERY)

    def _folder(self, root: Path) -> None:
        unread: list[PassedOver] = []
        links: list[str] = []
        folders: list[tuple[str, bytes]] = []  # names as one piece: a text of its own for each takes three times that
        try:
            for folder in walk(root, self._endings):
                folders.append((folder.path, os.fsencode("\0".join(sorted(folder.images)))))
                unread += not_read(folder)
                links += [folder.path] * folder.again
        except OSError as error:
            raise cannot_read(error, root) from None
        if not any(names for _, names in folders):
            others = counted(by_ending(entry.path for entry in unread))
            instead = f", only files that are not read ({others})" if unread else ""
            hint = f"images end in {', '.join(sorted(self._endings))}"
            if archives := [entry.path for entry in unread if is_archive(entry.path)]:
                hint = f"archives are read where they are named: '{root}/*{Path(archives[0]).suffix}'"
            raise not_patches(root) or DataError(f"no images in {root}{instead}", hint)
        tell_not_read(root, unread)
        tell_again(root, links)
        for path, names in sorted(folders):
            within = str(root / path / "_")[:-1]
            for name in os.fsdecode(names).split("\0") if names else ():
                self._file(within + name, once=self._many)
        self._pass_over(PassedOver(str(root / path), reason) for path, reason in unread)

    def _pass_over(self, unread: Iterable[PassedOver]) -> None:
        """Note what is not read, once where it is met by several sources."""
        for each in unread:
            there = each.path if is_url(each.path) else os.path.realpath(each.path)
            if not (self._many and self._met.again(f"passed over {there}")):
                self._listed.passed_over.append(each)

    def _archive(self, archive: str) -> None:
        if self._many and self._met.again(f"archive {os.path.realpath(archive) if not is_url(archive) else archive}"):
            logger.warning("%s is named more than once and read once", archive)
            return
        entries, passed = self._listed.entries, list[PassedOver]()
        begin, met, twice = entries.place(), Met(), False
        for each in members(archive, self._endings):
            if isinstance(each, PassedOver):
                passed.append(each)
            else:
                twice = twice or met.again(each.path)
                self._add(each, None)
        if twice:
            entries.back_to(begin)
            passed += self._last_of_each(archive)
        if entries.place() == begin:
            others = f"; {passed[0].path}: {passed[0].reason}" if passed else ""
            raise DataError(f"no images in {archive}{others}", f"images end in {', '.join(sorted(self._endings))}")
        if passed:
            logger.warning(
                "%d members of %s are not read; the first: %s: %s",
                len(passed),
                archive,
                passed[0].path,
                passed[0].reason,
            )
        self._listed.passed_over += passed

    def _last_of_each(self, archive: str) -> list[PassedOver]:
        """Of members of one name the last, as where it is unpacked; the others are passed over."""
        left, replaced = repeated(archive, self._endings), list[PassedOver]()
        for each in members(archive, self._endings):
            if isinstance(each, PassedOver):
                continue
            if left.get(each.path, 0) > 1:
                left[each.path] -= 1
                replaced.append(PassedOver(each.path, "a later member of the archive has the same name, and is read"))
            else:
                self._add(each, None)
        return replaced

    def _url(self, url: str) -> None:
        unread, begin = list[PassedOver](), self._listed.entries.place()
        pattern = stores.is_pattern(url)
        for found in stores.objects(url):
            name = stores.name_of(found.url)
            if is_archive(name) and not found.below:
                self._archive(found.url)
                continue
            alone = not found.below and not pattern
            if alone and Path(name).suffix.lower() in {*TABLE_SUFFIXES, LIST_SUFFIX}:
                hint = "copy it here; its paths may be URLs"
                raise DataError(f"{url}: tables and lists are read from this machine alone", hint)
            said = "" if alone else verdict(found.below or name, self._endings)
            if said:
                unread.append(PassedOver(found.url, said))
            elif said is not None:
                self._add(Entry(found.url, found.size, found.stamp), found.url if self._many else None)
        if unread:
            message = "%d objects of %s are not read; the first: %s: %s"
            logger.warning(message, len(unread), url, unread[0].path, unread[0].reason)
        self._pass_over(unread)
        if self._listed.entries.place() == begin and not self.again:
            others = f", only files that are not read ({counted(by_ending(e.path for e in unread))})" if unread else ""
            raise DataError(f"no images in {url}{others}", f"images end in {', '.join(sorted(self._endings))}")


def _of_file(path: str) -> Entry:
    """With size and time as they are now; reading it will tell what is wrong with it."""
    try:
        status = os.stat(path)  # noqa: PTH116 (fast, on a text)
    except (OSError, ValueError):
        return Entry(path, -1)
    return Entry(path, status.st_size if stat.S_ISREG(status.st_mode) else -1, status.st_mtime_ns)


def image_files(
    sources: Sequence[Source], endings: Collection[str] = IMAGE_SUFFIXES
) -> tuple[list[Path], list[PassedOver]]:
    """The files that sources name, for work that has them all at hand; arguments and errors as of `list_sources`.

    Raises:
        DataError: one is an archive or a URL.
    """
    listed = list_sources(sources, endings)
    with closing(listed.entries) as entries:
        each = list(entries)
    if other := next((entry.path for entry in each if entry.archive or is_url(entry.path)), None):
        raise DataError(f"{other} is no file of this machine", "unpack or copy it first")
    return [Path(entry.path) for entry in each], listed.passed_over
