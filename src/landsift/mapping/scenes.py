"""A scene as a model takes it: its bands, units and pixels, window by window.

    with open_scene(["B02.tif", "B03.tif", "B04.tif"], model, mask=Path("SCL.tif")) as scene:
        values, valid = scene.read(slice(0, 64), slice(0, scene.grid.shape[1]))

What files say and how they are converted is decided by the code that reads patches (`landsift.data.decoding`), so that
a window of a scene holds the numbers that `predict` reads from a file of the same pixels.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from landsift.bands import BRIGHTNESS, REFLECTANCE, BandSpec
from landsift.data.decoding.heard import CIRRUS
from landsift.data.decoding.patches import Fit, Patches
from landsift.data.decoding.unreadable import Cause, Reason, UnreadableError
from landsift.data.decoding.values import HIDDEN as COVERED
from landsift.data.decoding.values import Reflectances, stored_where
from landsift.data.decoding.wanted import Wanted
from landsift.errors import DataError
from landsift.evaluation.model_files import files_for
from landsift.mapping.grids import Grid, covers, grid_of, is_aligned, is_same, overlaps
from landsift.mapping.layers import Layer, LayerReader, one_array, share_cache, windows_of
from landsift.mapping.masks import NO_MASK, Mask, open_mask
from landsift.mapping.scene_files import SceneFile, refused
from landsift.mapping.scene_sources import found_files
from landsift.mapping.sketch import Sketch
from landsift.mapping.stacked_bands import Stacked, stacked
from landsift.models.model_json import ModelDescription

_log = logging.getLogger("landsift")

Values = NDArray[Any]
Flags = NDArray[np.bool_]


class _Parts(NamedTuple):
    """What a scene is made of."""

    files: Sequence[SceneFile]
    patches: Patches
    fit: Fit
    bands: Stacked
    grid: Grid
    mask: Mask | None
    fill: Values


VALID = 0.5
"""Share of a pixel's bands that must have data: single zeros in dark water are no holes."""
BLACK = "pixels that are 0 in all bands, and not declared as no data: they count as such"
BEYOND = "pixels beyond the mask: they count as no data"
_TALLEST = 1024  # rows that are worth reading at once
_AT_ONCE = 2**18  # pixels that are converted at once
WHITE = (
    "many pixels are 255 in all bands, and are classified: if they are a border, declare 255 as no data, as "
    "gdal_edit.py -a_nodata 255 does"
)
_WHITEST, _WHITE = 255, 0.05
"""Such a pixel, and their share of a scene that is told: clouds and roofs have some."""
_EVERY = 4  # rows and columns of which one is looked at for what all numbers have in common
_FEW = 3  # bands, of which zeros in all mean that there is nothing


class Scene:
    """A scene on a grid of the pixels that a model takes, open until `close`; a context manager.

    `read` may be called from several threads at once: each has datasets of its own. `close` may be called when none
    reads. Memory is that of a window, and of GDAL's block cache.

    Attributes:
        name: of the scene, for people.
        grid: CRS, transform, height and width of its pixels.
        bands: what the numbers of `read` mean, as the model takes them.
        when: when it was taken, in UTC; None: not known.
        mask: file of the mask; None: there is none.
        block: height and width of the pieces in which the files are stored, in pixels of the grid: windows of whole
            ones are read fastest.
        notes: what was said of how it is read.
        sketch: keeps a picture of what is read; None: nothing does.
    """

    def __init__(self, name: str, parts: _Parts) -> None:
        files, self._patches, self._fit, bands, grid, self._mask, self._fill = parts
        self.name = name
        self.grid: GeoBox = grid.box
        self.bands: BandSpec = self._patches.spec
        self.when: datetime | None = None
        self.mask: str | None = None
        self.notes: tuple[str, ...] = ()
        self.sketch: Sketch | None = None
        self._picture = bands.bands.picture
        self._colours = files[0].colours if self._picture else None
        self._layers, self._order = _layers(files, self._fit, bands)
        self._readers = [LayerReader(layer, self.grid) for layer in self._layers]
        share_cache([*self._readers, *([self._mask.reader] if self._mask else [])])
        self.block = _block(grid, [layer.file for layer in self._layers])
        self._seen = Reflectances()
        self._lock = threading.Lock()
        self._told: Counter[str] = Counter()
        self._closes = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files, and say what was found in their numbers."""
        for reader in [*self._readers, *([self._mask.reader] if self._mask else [])]:
            for text in (each for each in reader.tell() if each not in self.notes):
                _log.warning("%s: %s: %s", self.name, reader.layer.file.path.name, text)
            reader.close()
        with self._lock:
            told, self._told = self._told, Counter()
        if told.pop(WHITE, 0) >= _WHITE * self.grid.shape[0] * self.grid.shape[1]:
            _log.warning("%s: %s", self.name, WHITE)
        for text, count in sorted(told.items()):
            _log.warning("%s: %s (%s in all)", self.name, text, f"{count:,}")
        self._patches.tell()
        self._closes.close()

    def closes(self, stack: ExitStack) -> None:
        """Take over what is to be closed with the scene."""
        self._closes = stack

    def read(self, rows: slice, cols: slice) -> tuple[Values, Flags]:
        """A window of the scene.

        Args:
            rows: of the grid.
            cols: of the grid.

        Returns:
            Values [h, w, C] of `bands`, and which pixels are valid, [h, w]. Where there is nothing, values are
            `bands.nodata`, or, where no number means that, the mean of the model's training. Pixels that are 0 in all
            bands without being declared as no data are not valid, and keep their zeros.

        Raises:
            DataError: a file is damaged, or its numbers are not what they are said to be.
        """
        rows, cols = slice(*rows.indices(self.grid.shape[0])), slice(*cols.indices(self.grid.shape[1]))
        if rows.step != 1 or cols.step != 1 or rows.start >= rows.stop or cols.start >= cols.stop:
            raise ValueError(f"no window of {self.grid.shape[0]} × {self.grid.shape[1]} pixels: {rows}, {cols}")
        window = windows_of(rows, cols)
        parts = [reader.read(window) for reader in self._readers]
        clear, beyond = (None, 0) if self._mask is None else self._mask.read(window)
        size = (rows.stop - rows.start, cols.stop - cols.start)
        stored, valid = np.empty((*size, len(self.bands)), self.bands.numpy_dtype), np.empty(size, dtype=bool)
        step = max(1, _AT_ONCE // size[1])
        for first in range(0, size[0], step):  # in pieces, so that all that is computed stays small
            at = slice(first, first + step)
            piece = one_array([(values[at], None if hidden is None else hidden[at]) for values, hidden in parts])
            stored[at], valid[at] = self._piece(*piece, None if clear is None else clear[at])
        with self._lock:
            self._told.update(+Counter({BEYOND: beyond}))
        if self.sketch is not None:
            self.sketch.keep(rows, cols, stored, valid)
        return stored, valid

    def _piece(self, values: Values, hidden: Flags | None, clear: Flags | None) -> tuple[Values, Flags]:
        """Part of a window as the model takes it, and which pixels are valid; `clear`: which ones a mask shows."""
        values = np.ascontiguousarray(values[..., list(self._order)])
        try:
            stored, missing, black = self._converted(values, hidden)
        except UnreadableError as error:
            raise refused(self.name, error) from None
        if clear is not None:
            missing |= ~clear[..., None]
        if not missing.any():
            return stored, ~black
        count = np.count_nonzero(missing, axis=-1)
        return np.where(missing, self._fill, stored), (count < VALID * missing.shape[-1]) & ~black

    def _converted(self, values: Values, hidden: Flags | None) -> tuple[Values, Flags, Flags]:
        """Values as the model takes them, where there is nothing, [h, w, C], and what is black, [h, w]."""
        plan, change = self._fit.plan, self._fit.change
        told: Counter[str] = Counter()
        black = self._black(values, hidden)
        told[BLACK] += int(black.sum())
        if self._picture:
            own = values if self._colours is None else self._colours[values[..., 0]]
            missing = np.zeros(own.shape, dtype=bool)
            told[WHITE] += self._white(values, hidden)
        else:
            nothing = hidden if not black.any() else black if hidden is None else hidden | black
            # Black pixels keep their zeros, but do not count for what the numbers may be.
            own, missing, found = stored_where(plan, values, nothing, self._seen)
            told.update({text: count for text, count in found.items() if text != COVERED})
            if black.any():
                own[black], missing[black] = 0, False
        if hidden is not None:
            missing[hidden] = True
        stored = own
        if change is not None:
            stored, empty, found = change.where(own)
            told.update(found)
            missing = missing[..., list(change.picks)] | empty
        if not self._picture and (plan.offset_guessed or CIRRUS in self.bands.names):
            some = (slice(None, None, _EVERY), slice(None, None, _EVERY))
            there = ~(missing[some].all(axis=-1) | black[some])
            if there.any():
                self._patches.note(plan, own[some][there][:, None], stored[some][there][:, None], Counter())
        with self._lock:
            self._told.update(+told)
        return stored, missing, black

    def _white(self, values: Values, hidden: Flags | None) -> int:
        """How many pixels of a picture are 255 in all bands, where no number is declared that means nothing."""
        if self._colours is not None or self._layers[0].nodata is not None or values.shape[-1] < _FEW:
            return 0
        found: Flags = values[..., 0] == _WHITEST
        if not found.any():
            return 0
        found &= (values[..., 1:] == _WHITEST).all(axis=-1)
        return int((found if hidden is None else found & ~hidden).sum())

    def _black(self, values: Values, hidden: Flags | None) -> Flags:
        """Pixels that are 0 in all bands, where no number is declared that means nothing."""
        units, nodata = self._fit.plan.spec.units, self._layers[0].nodata
        means = units in (REFLECTANCE, BRIGHTNESS) or values.shape[-1] >= _FEW
        if not means or self._colours is not None or (nodata is not None and not np.isnan(nodata)):
            return np.zeros(values.shape[:2], dtype=bool)
        found: Flags = values[..., 0] == 0
        for band in range(1, values.shape[-1]):
            if not found.any():
                break
            found &= values[..., band] == 0
        return found if hidden is None else found & ~hidden


def open_scene(
    sources: Sequence[Path | str] | Path | str,
    model: ModelDescription,
    *,
    reading: Mapping[str, Any] | None = None,
    mask: Path | str | None = None,
    mask_classes: Collection[int] | None = None,
) -> Scene:
    """A scene as a model takes it.

    Args:
        sources: one raster of all bands, several of some each, of any resolutions, a STAC item (a file, or a URL of
            this machine), or a folder .SAFE of Sentinel-2.
        model: what model.json says.
        reading: how these files are read, as of `predict_files`.
        mask: a raster of classes that says which pixels show the ground; None: the one that a STAC item or a product
            brings; "none": no mask.
        mask_classes: numbers of the mask that do not show the ground; as of `open_mask`.

    Raises:
        ConfigError: `reading` has another key, or a value that is none.
        DataError: a file cannot be read or has no place, the files have not what the model takes, or there is no mask
            for `mask_classes`.
    """
    given = [sources] if isinstance(sources, str | Path) else list(sources)
    patches = Patches(Wanted.of(*files_for(model, reading or {})))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="landsift-")))
        found = found_files(given, patches.wanted, folder)
        bands = stacked(found.files, patches.wanted)
        fit = patches.fit(bands.bands)
        if isinstance(fit, Reason):
            raise refused(found.name, UnreadableError(fit.text, fit.cause))
        read = [found.files[number] for number in sorted({bands.where[pick][0] for pick in fit.plan.picks})]
        grid = grid_of(read, patches.spec.gsd)
        for file in read:
            if not overlaps(file, grid.box):
                raise DataError(
                    f"{file.path}: it does not overlap {grid.reference.path.name}", "give files of one place"
                )
        source = None if mask == NO_MASK else found.mask if mask is None else Path(mask)
        if source is None and mask_classes is not None:
            raise DataError(
                f"{found.name}: it brings no mask, so --mask-classes changes nothing", "give one with --mask"
            )
        clouds = None if source is None else open_mask(source, grid.box, grid.reference, mask_classes)
        scene = Scene(found.name, _Parts(found.files, patches, fit, bands, grid, clouds, fill_of(model)))
        scene.mask = None if clouds is None else clouds.reader.layer.file.path.name
        scene.when = found.when or min((file.when for file in read if file.when), default=None)
        notes = _notes(found.files, read, fit, bands, grid) + ([clouds.note] if clouds else [])
        _say(scene, notes, [*found.doubts, *_doubts(read, fit, bands, patches, grid)])
        scene.closes(stack.pop_all())
    return scene


def fill_of(model: ModelDescription) -> Values:
    """The number of each band that stands where there is nothing, [C]: no data, else the mean of the training."""
    bands = model.bands
    kind = bands.numpy_dtype
    if bands.nodata is not None:
        return np.full(len(bands), bands.nodata, dtype=kind)
    means = (np.array(model.mean) - np.array(bands.offset)) / np.array(bands.scale)
    if kind.kind != "f":
        means = np.clip(np.rint(means), np.iinfo(kind).min, np.iinfo(kind).max)
    filled: Values = means.astype(kind)
    return filled


def _layers(files: Sequence[SceneFile], fit: Fit, stack: Stacked) -> tuple[list[Layer], tuple[int, ...]]:
    """What is read of which file, and at which places of that each of the plan's bands stands."""
    if stack.bands.picture:
        file = files[0]
        _check_alpha(file)
        picks = tuple(dict.fromkeys(file.sources))
        layer = Layer(file, picks, file.nodata, file.hides, together=True, resampling=_smooth(file))
        return [layer], tuple(picks.index(source) for source in file.sources)
    by_file: dict[int, list[int]] = {}
    for pick in fit.plan.picks:
        number, at = stack.where[pick]
        by_file.setdefault(number, []).append(files[number].sources[at])
    layers: list[Layer] = []
    place: dict[tuple[int, int], int] = {}
    for number, every in sorted(by_file.items()):
        file, picks = files[number], tuple(dict.fromkeys(every))
        hides = None if file.bands.alpha in picks else file.hides
        if hides is not None:
            _check_alpha(file)
        place |= {(number, at): len(place) + i for i, at in enumerate(picks)}
        layers.append(Layer(file, picks, fit.plan.nodata, hides))
    where = [(number, files[number].sources[at]) for number, at in (stack.where[pick] for pick in fit.plan.picks)]
    return layers, tuple(place[each] for each in where)


def _check_alpha(file: SceneFile) -> None:
    """Refuse an alpha band that holds values like the others: any fourth band may be declared so."""
    if file.false_alpha is not None:
        text = f"its {file.false_alpha} is declared as alpha, but holds values like the others"
        raise refused(file.path, UnreadableError(text, Cause.ALPHA))


def _smooth(file: SceneFile) -> Resampling:
    """How pixels are resampled: numbers of colours are not mixed."""
    return Resampling.cubic if file.colours is None else Resampling.nearest


def _block(grid: Grid, files: Sequence[SceneFile]) -> tuple[int, int]:
    """Height and width of the largest pieces that files are stored in, in pixels of the grid."""
    pieces = [[max(1, round(side * file.place.gsd / grid.gsd)) for side in file.block] for file in files]
    height, width = (max(sides) for sides in zip(*pieces, strict=True))
    return min(height, _TALLEST, grid.box.shape[0]), min(width, grid.box.shape[1])


def _notes(files: Sequence[SceneFile], read: Sequence[SceneFile], fit: Fit, stack: Stacked, grid: Grid) -> list[str]:
    notes = [note for file in read for note in file.notes]
    if unused := [file.path.name for file in files if file not in read]:
        notes.append(f"not used: {', '.join(unused)}")
    others = [file.path.name for file in read if file is not grid.reference and not is_aligned(file, grid.box)]
    if others and is_same(grid.reference, grid.box):
        notes.append(f"resampled to the pixels of {grid.reference.path.name}: {', '.join(others)}")
    return list(dict.fromkeys([*notes, *stack.notes, *fit.notes, *grid.notes]))


def _doubts(files: Sequence[SceneFile], fit: Fit, stack: Stacked, patches: Patches, grid: Grid) -> list[str]:
    found = [*stack.doubts, *fit.plan.doubts]
    if patches.spec.gsd is None:
        found.append(
            f"the model does not know the ground sampling distance of its patches: the scene's {grid.gsd:.3g} m is "
            "taken to be that"
        )
    if parts := [file.path.name for file in files if not covers(file, grid.box)]:
        found.append(f"only a part of the scene, beyond which there is no data, lies in {', '.join(parts)}")
    if len(days := {file.when.date() for file in files if file.when}) > 1:
        found.append(f"files of different dates: {', '.join(map(str, sorted(days)))}")
    return list(dict.fromkeys(found))


def _say(scene: Scene, notes: Sequence[str], doubts: Sequence[str]) -> None:
    for level, texts in ((logging.INFO, notes), (logging.WARNING, doubts)):
        for text in texts:
            _log.log(level, "%s: %s", scene.name, text)
    scene.notes = (*notes, *doubts)
