"""Patches in files, whatever reads them: pictures of 8 bits through Pillow, all other rasters through GDAL.

    patches = Patches(wanted)
    patches.look(path, raw)               what a file says of itself
    patches.settle(kinds)                 what they have in common
    patches.spec                          what the numbers of all of them mean
    patches.read(path).array              [H, W, C]

A file is looked at first, for what it says of itself. What most files have is what a source has (`settle`), and files
that differ are left out, each kind with its reason.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landsift.bands import RGB_NAMES, BandSpec
from landsift.data.decoding import gdal, rasters
from landsift.data.decoding.conversion import Conversion, conversion
from landsift.data.decoding.decode import (
    MAX_PIXELS,
    decode,
    in_turn,
    is_large,
    read_bytes,
    read_header,
    without_hidden,
)
from landsift.data.decoding.file_bands import NOWHERE, PICTURE, FileBands, Place, Seen
from landsift.data.decoding.headers import PNG_MAGIC
from landsift.data.decoding.heard import CIRRUS, Heard
from landsift.data.decoding.places import LOST, ON_THE_GROUND
from landsift.data.decoding.plans import Plan, difference, plan
from landsift.data.decoding.tiff_directories import MAGIC, directories
from landsift.data.decoding.unreadable import Cause, Reason, UnreadableError
from landsift.data.decoding.values import stored_values
from landsift.data.decoding.wanted import Wanted
from landsift.data.sensors import plain

GEO_KEYS = 34735
"""Tag of a TIFF that says in which coordinate reference system it lies (OGC GeoTIFF)."""
GDAL_METADATA = 42112
"""Tag of a TIFF in which GDAL keeps names of bands, scales and offsets."""
PLACE_UNREAD = "a place or names of bands in its tags, which are not read without landsift[bands]"
SAME_GSD = 1.1
"""Factor between two ground sampling distances up to which they are the same."""

_log = logging.getLogger("landsift")


class Decoded(NamedTuple):
    """A patch as it is stored."""

    array: NDArray[Any]
    """[H, W, C] of `Patches.spec`."""
    place: Place
    told: Counter[str]
    """What is to be said, and of how many of its pixels or numbers."""


class Settled(NamedTuple):
    """What the files of a source have in common."""

    spec: BandSpec
    reasons: dict[FileBands, Reason]
    """Why files of other kinds are left out."""
    notes: dict[str, int]
    """What is to be said, and of how many files."""
    doubts: dict[str, int]
    """The same, of what was not known."""
    converted: bool = False
    """Whether numbers of some files become those of other bands."""


class Fit(NamedTuple):
    """How files of a kind become patches of `Patches.spec`."""

    plan: Plan
    change: Conversion | None
    """What brings them to the bands that a model takes; None: they have them, or no model takes them."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of such files."""
        return (*self.plan.notes, *(self.change.notes if self.change else ()))


class Patches:
    """Looks at files and reads those that fit together, or that become what a model takes; from any thread.

    Attributes:
        wanted: what the configuration says of the bands, and what a model takes.
        spec: what the numbers mean that `read` gives: as the model takes them, else, before `settle`, as of pictures.
        count: bands of the files that `settle` has found most of; None before.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.spec = BandSpec.pictures() if wanted.taken is None else wanted.taken.bands
        self.count: int | None = None
        self._plans: dict[FileBands, Plan | Reason] = {}
        self._changes: dict[FileBands, Conversion | Reason] = {}
        self._lock = threading.Lock()
        self._heard = Heard()

    def look(self, path: Path, raw: bytes) -> Seen:
        """What a file says of itself, its pixels not decoded.

        Args:
            path: of the file.
            raw: its bytes.

        Raises:
            UnreadableError: it can be read by nobody, or by GDAL alone and that is not installed.
        """
        return self._looked(path, raw)[0]

    def _looked(
        self, path: Path, raw: bytes, choose: Callable[[Seen], Sequence[int] | None] | None = None
    ) -> tuple[Seen, rasters.Read | None]:
        """The same and, of a raster, the bands that `choose` gives positions of."""
        tiff = raw.startswith(MAGIC)
        try:
            header = read_header(raw)
        except UnreadableError as error:
            if not _for_gdal(error.reason.cause, path, raw):
                raise
            if not gdal.installed():
                of_bands = self.wanted.taken is not None and not self.spec.is_rgb8
                raise UnreadableError(error.reason.text, Cause.EXTRA_FOR_MODEL if of_bands else Cause.EXTRA) from None
            why = error.reason.text if tiff or _is_png(raw) else None
            return rasters.look(path.absolute(), raw, MAX_PIXELS, why, choose)
        if tiff and self.wanted.anything:
            try:
                return rasters.look(path.absolute(), raw, MAX_PIXELS, None, choose)
            except UnreadableError as error:
                if error.reason.cause is not Cause.COLOURS:
                    raise
        seen = Seen(header.size, PICTURE, NOWHERE, header.notes)
        if not tiff:
            return seen, None
        tagged = _with_tags(seen, path, raw)
        if tagged.bands.pillow or choose is None:
            return tagged, None
        return rasters.look(path.absolute(), raw, MAX_PIXELS, None, choose)

    def settle(self, kinds: Counter[FileBands], gsds: Sequence[float] | NDArray[np.float64] = ()) -> Settled:
        """Decide what the source has: what most of its files have.

        Args:
            kinds: of its files, and how many there are of each, the first first.
            gsds: ground sampling distances of the files, in metres; NaN where one is not known.
        """
        files = Counter[BandSpec]()
        for bands, count in kinds.items():
            found = self._plan(bands)
            if isinstance(found, Plan):
                files[found.spec] += count
        reasons: dict[FileBands, Reason] = {}
        if files and self.wanted.taken is None:
            self.spec = files.most_common(1)[0][0]  # of two that are as frequent, the first
        counts = Counter[int]()
        notes, doubts = Counter[str](), Counter[str]()
        converted = False
        for bands, count in kinds.items():
            fit = self.fit(bands)
            if isinstance(fit, Reason):
                reasons[bands] = fit
            else:
                notes.update(dict.fromkeys(fit.notes, count))
                doubts.update(dict.fromkeys(fit.plan.doubts, count))
                converted |= fit.change is not None
                counts[len(bands)] += count
        self.count = counts.most_common(1)[0][0] if counts else None
        spec = self._with_gsd(np.asarray(gsds, dtype=np.float64), doubts)
        return Settled(spec, reasons, dict(notes), dict(doubts), converted)

    def read(self, path: Path, size: tuple[int, int] | None = None, raw: bytes | None = None) -> Decoded:
        """Read a patch.

        Args:
            path: of the file.
            size: height and width wanted; None: those of the file.
            raw: its bytes, where they are at hand.

        Raises:
            UnreadableError: it is damaged, or its bands are others than those of `spec`.
        """
        raw = read_bytes(path) if raw is None else raw
        if not self.wanted.anything and size is not None and self.spec.is_rgb8:
            try:
                return Decoded(decode(raw, size), NOWHERE, Counter())
            except UnreadableError as error:
                if not _for_gdal(error.reason.cause, path, raw):
                    raise
        return self.look_and_read(path, size, raw)[1]

    def look_and_read(self, path: Path, size: tuple[int, int] | None, raw: bytes) -> tuple[Seen, Decoded]:
        """What `look` and `read` give, from one look; arguments and errors as theirs."""
        seen, read = self._looked(
            path, raw, lambda seen: None if is_large(seen.size) else self._fitting(seen.bands).plan.picks
        )
        found, change = self._fitting(seen.bands)
        size = seen.size if size is None else size
        if seen.bands.pillow:
            pixels = np.ascontiguousarray(decode(raw, size)[..., list(found.picks)])
            return seen, Decoded(pixels if change is None else change(pixels)[0], seen.place, Counter())
        with in_turn(seen.size):
            if read is None:
                _, read = self._looked(path, raw, lambda _: found.picks)
            if read is None:
                raise UnreadableError("it changed while it was read", Cause.DAMAGED)
            told = Counter(read.heard)
            if found.spec.dtype == "uint8" and seen.bands.picture:
                stored = without_hidden(read.values, None if read.hidden is None else np.where(read.hidden, 0, 255))
                if change is not None:
                    stored, more = change(stored)
                    told.update(more)
            else:
                own, more = stored_values(found, read.values, read.hidden)
                told.update(more)
                stored, more = (own, Counter[str]()) if change is None else change(own)
                told.update(more)
                self.note(found, own, stored, told)
            if stored.shape[:2] != tuple(size):
                from landsift.resampling import resample_patch

                stored = resample_patch(stored, size, self.spec.nodata)
            return seen, Decoded(stored, seen.place, told)

    def fit(self, bands: FileBands) -> Fit | Reason:
        """How files that say this of their bands are read, or why not."""
        found = self._plan(bands)
        if isinstance(found, Reason):
            if self.wanted.taken is None or found.cause is not Cause.UNNAMED:
                return found
            if self.spec.is_rgb8:  # no name helps
                return Reason(found.text, Cause.BANDS if bands.dtype == "uint8" else Cause.DEPTH)
            if found != bands.reason:
                return found
            return Reason(replace(bands, unread=None).reason.text, Cause.UNNAMED_FOR_MODEL)
        if found.spec == replace(self.spec, gsd=None):
            return Fit(found, None)
        if self.wanted.taken is None:
            return difference(found.spec, self.spec)
        change = self._changes.get(bands)
        if change is None:
            try:
                change = conversion(found.spec, self.spec)
            except UnreadableError as error:
                change = Reason(f"{error.reason.text} (the model takes {self.spec})", error.reason.cause)
            self._changes[bands] = change
        return change if isinstance(change, Reason) else Fit(found, change)

    def _fitting(self, bands: FileBands) -> Fit:
        """How a file is read; raises UnreadableError where its bands are others than those of `spec`."""
        found = self.fit(bands)
        if isinstance(found, Reason):
            raise UnreadableError(found.text, found.cause)
        return found

    def tell(self) -> dict[str, int]:
        """Say what was found in the numbers that were read since the last time: texts, and of how many numbers."""
        heard = self.take()
        heard.say(self.spec.names)
        return dict(heard.told)

    def take(self) -> Heard:
        """What was found in the numbers since the last time, not said yet."""
        with self._lock:
            heard, self._heard = self._heard, Heard()
        return heard

    def note(self, found: Plan, own: NDArray[Any], stored: NDArray[Any], told: Counter[str]) -> None:
        """Take note of a patch for `tell`.

        Args:
            found: how it was read.
            own: [H, W, C] as its file has them.
            stored: the same as the model takes them.
            told: what is to be said, and of how many numbers.
        """
        least = math.inf
        if found.offset_guessed:
            there = own if found.spec.nodata is None else own[own != found.spec.nodata]
            least = float(np.nanmin(there)) if there.size and not np.isnan(there).all() else math.inf
        sums, count = None, len(self.spec) - len(found.indices)
        if CIRRUS in self.spec.names and count > 1:
            numbers = stored[..., :count].astype(np.float64)
            sums = np.nan_to_num(numbers.mean(axis=(0, 1)) * self.spec.scale[:count] + self.spec.offset[:count])
        new = Heard(dict(told), 1, least, None if sums is None else tuple(sums.tolist()))
        with self._lock:
            self._heard = self._heard.plus(new)

    def other_gsd(self, gsd: float) -> bool:
        """Whether it is known and differs from that of the model."""
        own = self.spec.gsd
        return own is not None and not math.isnan(gsd) and not own / SAME_GSD <= gsd <= own * SAME_GSD

    def _plan(self, bands: FileBands) -> Plan | Reason:
        found = self._plans.get(bands)
        if found is None:
            try:
                found = plan(bands, self.wanted)
            except UnreadableError as error:
                found = error.reason
            self._plans[bands] = found
        return found

    def _with_gsd(self, gsds: NDArray[np.float64], doubts: Counter[str]) -> BandSpec:
        known = gsds[np.isfinite(gsds)]
        if not len(known) or self.spec == BandSpec.pictures():  # which say no more than they did
            return self.spec
        if self.wanted.taken is not None:
            if other := sum(map(self.other_gsd, known.tolist())):
                doubts[f"another ground sampling distance than the model's {self.spec.gsd:.3g} m"] = other
            return self.spec
        middle = float(np.median(known))
        other = int(((known > middle * SAME_GSD) | (known < middle / SAME_GSD)).sum())
        if other:
            spread = f"those of all are from {known.min():.3g} to {known.max():.3g} m"
            doubts[f"another ground sampling distance than {middle:.3g} m; {spread}"] = other
        return replace(self.spec, gsd=float(f"{middle:.3g}"))


def _for_gdal(cause: Cause, path: Path, raw: bytes) -> bool:
    """Whether a file that Pillow does not read for some cause is GDAL's."""
    if raw.startswith(MAGIC):
        return cause in (Cause.BANDS, Cause.DEPTH, Cause.COLOURS, Cause.COMPRESSION)
    if _is_png(raw):
        return cause is Cause.DEPTH
    return cause is Cause.FORMAT and gdal.is_raster(path, raw)


def _is_png(raw: bytes) -> bool:
    return raw.startswith(PNG_MAGIC)


def _with_tags(seen: Seen, path: Path, raw: bytes) -> Seen:
    """What a picture's tags say besides: its place, and names of bands that are no red, green and blue."""
    tags = list(directories(raw))
    if not any(each.numbers(GEO_KEYS).size or each.content(GDAL_METADATA) for each in tags):
        return seen
    if not gdal.installed():
        return seen._replace(notes=(*seen.notes, PLACE_UNREAD))
    try:
        raster, _ = rasters.look(path.absolute(), raw, MAX_PIXELS)
    except UnreadableError:
        return seen
    names = [name for name in raster.bands.names if name]
    if len(names) == 4 and raster.bands.alpha is None:
        return raster  # a fourth band that is called something, and declared as alpha
    notes = seen.notes
    if names and not raster.bands.picture and list(map(plain, names)) != list(RGB_NAMES)[: len(names)]:
        notes += (f"bands that are called {', '.join(names)}, stored as red, green and blue",)
    on_place = tuple(note for note in raster.notes if note.startswith((ON_THE_GROUND, LOST)))
    return seen._replace(place=raster.place, notes=notes + on_place)
