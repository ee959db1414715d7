"""Writing a map: strips of probabilities in, a Cloud-Optimized GeoTIFF (`cog.py`) and all that lies beside it out."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.errors import RunError
from landsift.mapping.class_areas import AreaCount, write_areas
from landsift.mapping.classes import NO_DATA, ClassTable
from landsift.mapping.cog import FULL, join, open_band, writing_raster
from landsift.mapping.map_file import blocks, read_classes, read_info
from landsift.mapping.map_info import CONFIDENCE_SCALE, FORMAT, TAG, MapAbout
from landsift.mapping.map_place import BESIDE_SOME, beside_map, check_place, map_path
from landsift.mapping.overview import write_png
from landsift.mapping.qgis_style import qml_of
from landsift.mapping.stac_item import write_item
from landsift.mapping.vrt import Band
from landsift.runtime.whole import beside, flush

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

logger = logging.getLogger(__name__)

PROBABILITY_SCALE, EMPTY = 0.005, 255
"""Probabilities and entropy are stored as 0 to 200; 255 is no data."""
TRUST = ("classes in the set", "abstain", "ood")
"""Bands of MAP.trust.tif: a number, and 0 or 1."""
_UNTIDY = 1e-3
"""By which the probabilities of a cell may miss 1."""


class MapWriter:
    """A map that is being written; used in a `with` statement.

    When that ends, MAP.tif is there, with MAP.tif.aux.xml (names of the classes for GDAL), MAP.qml (for QGIS), MAP.json
    (STAC item), MAP.areas.csv, MAP.png, and MAP.probabilities.tif or MAP.entropy.tif, and MAP.trust.tif, where wanted.
    After an error there is nothing, or what was there before.

    Args:
        path: of the map, ending in .tif or .tiff.
        grid: its cells.
        classes: its classes.
        about: how it was made.
        probabilities: whether to write those of all classes.
        entropy: whether to write the entropy of a cell's probabilities, as a share of the largest, log K.
        trust: whether to write how many classes the set of a cell has, whether the model abstains, and whether the cell
            is out of distribution (`write_trust`).

    Raises:
        RunError: the map cannot be written there.
    """

    def __init__(
        self,
        path: Path | str,
        grid: GeoBox,
        classes: ClassTable,
        about: MapAbout | None = None,
        *,
        probabilities: bool = False,
        entropy: bool = False,
        trust: bool = False,
    ) -> None:
        self.path = map_path(path)
        self.grid, self.classes, self.about = grid, classes, about or MapAbout()
        self.probabilities, self.entropy, self.trust = probabilities, entropy, trust
        self.areas = AreaCount(grid, classes)
        self._next = 0

    def __enter__(self) -> MapWriter:
        check_place(self.path, probabilities=self.probabilities)
        with contextlib.ExitStack() as stack, writing_raster(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._folder = stack.enter_context(beside(self.path))
            self._work = self._folder / "work"  # a map may have the name of a band's file
            self._work.mkdir(parents=True)
            dtype = self.classes.dtype
            self._class = stack.enter_context(open_band(self._work / "class.tif", self.grid, dtype, NO_DATA))
            self._confidence = stack.enter_context(open_band(self._work / "confidence.tif", self.grid, dtype, NO_DATA))
            bands = (len(self.classes) if self.probabilities else 0) + self.entropy
            self._more = None
            if bands:
                more = open_band(self._work / "more.tif", self.grid, "uint8", EMPTY, bands)
                self._more = stack.enter_context(more)
            self._trust = None
            if self.trust:
                judged = open_band(self._work / "trust.tif", self.grid, "uint8", EMPTY, len(TRUST))
                self._trust = stack.enter_context(judged)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        with self._stack:
            if error is None:
                with writing_raster(self.path):
                    self._finish()

    def write(self, rows: slice, probabilities: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
        """Write the next rows of the map.

        Args:
            rows: of the map; they follow those of the last call.
            probabilities: float32 [h, w, K].
            valid: which cells have a class, bool [h, w].

        Raises:
            ValueError: the rows do not follow, the shapes do not fit, or a valid cell has no probabilities.
        """
        from rasterio.windows import Window

        height, width = valid.shape
        expected = (height, width, len(self.classes))
        if rows.start != self._next or rows.stop - rows.start != height or rows.stop > self.grid.height:
            raise ValueError(f"rows {rows.start} to {rows.stop} of a map do not follow row {self._next}")
        if probabilities.shape != expected or width != self.grid.width:
            raise ValueError(f"probabilities of shape {probabilities.shape}, not {expected}")
        filled = np.where(valid[..., None], probabilities, np.float32(0))
        total = filled.sum(axis=-1)[valid]
        if not (np.abs(total - 1) <= _UNTIDY).all():  # also where they are NaN
            raise ValueError("the probabilities of a cell do not add up to 1")
        codes = np.where(valid, filled.argmax(axis=-1) + 1, NO_DATA).astype(self.classes.dtype)
        per_cent = np.clip(np.rint(filled.max(axis=-1) / CONFIDENCE_SCALE), 1, 100)
        window = Window(0, rows.start, width, height)
        with writing_raster(self.path):
            self._class.write(codes, 1, window=window)
            self._confidence.write(np.where(valid, per_cent, NO_DATA).astype(codes.dtype), 1, window=window)
            if self._more:
                self._more.write(self._stored(filled, valid), window=window)
        self.areas.add(rows, codes)
        self._next = rows.stop

    def write_trust(self, rows: slice, judged: NDArray[np.uint8]) -> None:
        """Write what is judged of some rows.

        Args:
            rows: of the map.
            judged: the bands of `TRUST`, uint8 [3, h, w]; `EMPTY` where there is nothing.
        """
        from rasterio.windows import Window

        assert self._trust is not None
        with writing_raster(self.path):
            self._trust.write(judged, window=Window(0, rows.start, self.grid.width, rows.stop - rows.start))

    def _stored(self, probabilities: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Probabilities and entropy as they are stored, uint8 [bands, h, w]."""
        shares = np.moveaxis(probabilities, -1, 0) if self.probabilities else np.empty((0, *valid.shape))
        if self.entropy:
            shares = np.concatenate([shares, normalised_entropy(probabilities)[None]])
        stored = np.clip(np.rint(shares / PROBABILITY_SCALE), 0, 200)
        return np.where(valid, stored, EMPTY).astype(np.uint8)

    def _finish(self) -> None:
        if self._next != self.grid.height:
            raise ValueError(f"rows {self._next} to {self.grid.height} of a map were not written")
        for each in filter(None, (self._class, self._confidence, self._more, self._trust)):
            each.close()
        name = self.path.name
        tags = {TAG: json.dumps(self._description())}
        join(self._work, self._bands(), self.grid, tags, self._folder / name)
        if self._more:
            ending = "probabilities.tif" if self.probabilities else "entropy.tif"
            join(self._work, self._more_bands(), self.grid, {}, self._folder / beside_map(self.path, ending).name)
        if self._trust:
            bands = [Band("trust.tif", i, band, "uint8", EMPTY) for i, band in enumerate(TRUST, start=1)]
            join(self._work, bands, self.grid, {}, self._folder / beside_map(self.path, "trust.tif").name)
        self._check(self._folder / name)
        write_areas(self._folder / beside_map(self.path, "areas.csv").name, self.areas)
        self._describe()
        if not self.areas.cells[1:].any():
            logger.warning("%s has no class in any cell: nothing in the scene is valid", self.path)
        shutil.rmtree(self._work)
        flush(self._folder)
        made = {each.name for each in self._folder.iterdir()}
        for stale in (beside_map(self.path, ending) for ending in BESIDE_SOME):
            if stale.name not in made and os.path.lexists(stale):  # also of a name that is too long to be there
                stale.unlink()
        first = beside_map(self.path, "json").name  # by which all is known
        for each in sorted(made, key=lambda each: (each == name) - (each == first)):  # the map itself last
            os.replace(self._folder / each, self.path.with_name(each))

    def _describe(self) -> None:
        """Write what else lies beside a map."""
        folder, name = self._folder, self.path.name
        info = read_info(folder / name)
        (folder / beside_map(self.path, "qml").name).write_text(qml_of(self.classes), encoding="utf-8")
        write_png(folder / beside_map(self.path, "png").name, info)
        endings = {
            "probabilities": "probabilities.tif",
            "entropy": "entropy.tif",
            "trust": "trust.tif",
            "areas": "areas.csv",
            "preview": "png",
        }
        files = {kind: folder / beside_map(self.path, ending).name for kind, ending in endings.items()}
        files = {"map": folder / name} | {kind: file for kind, file in files.items() if file.exists()}
        write_item(folder / beside_map(self.path, "json").name, info, files)

    def _bands(self) -> list[Band]:
        return [
            Band("class.tif", 1, "class", self.classes.dtype, NO_DATA, classes=self.classes),
            Band("confidence.tif", 1, "confidence", self.classes.dtype, NO_DATA, CONFIDENCE_SCALE),
        ]

    def _more_bands(self) -> list[Band]:
        names = [*(self.classes.names if self.probabilities else ()), *(["entropy"] if self.entropy else ())]
        return [Band("more.tif", i, name, "uint8", EMPTY, PROBABILITY_SCALE) for i, name in enumerate(names, start=1)]

    def _description(self) -> dict[str, Any]:
        return {"format": FORMAT, "classes": self.classes.to_json(), "about": self.about.to_json()}

    def _check(self, written: Path) -> None:
        """Read the map back and compare its cells: what a full disk swallows raises no error in GDAL."""
        info = read_info(written)
        counts = np.zeros(len(self.classes) + 1, np.int64)
        for rows in blocks(info):
            counts += np.bincount(read_classes(info, rows).ravel(), minlength=len(counts))
        if not np.array_equal(counts, self.areas.cells):
            raise RunError(f"cannot write {self.path}: the file does not hold what was written", FULL)


def normalised_entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shannon's entropy as a share of the largest, log K: [..., K] -> [...] in 0..1; 0 for one class."""
    classes = probabilities.shape[-1]
    logs = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    entropy = -(probabilities * logs).sum(axis=-1) / (np.log(classes) if classes > 1 else 1.0)
    return np.asarray(np.clip(entropy, 0, 1), dtype=np.float32)
