"""Writing a map: strips of probabilities in, a Cloud-Optimized GeoTIFF and all that lies beside it out.

Each band is written to a file of its own first, with overviews of its own: the most frequent class, but the mean
confidence. A VRT joins them, with names and colours, and GDAL's driver COG copies it. That driver alone would make the
overviews of all bands in one way. Memory does not grow with the map.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.errors import RunError
from landsift.mapping.class_areas import AreaCount, write_areas
from landsift.mapping.classes import NO_DATA, ClassTable
from landsift.mapping.gdal import errors, gdal, reason
from landsift.mapping.map_file import TILE, blocks, read_classes, read_info
from landsift.mapping.map_info import CONFIDENCE_SCALE, FORMAT, TAG, MapAbout
from landsift.mapping.overview import write_png
from landsift.mapping.qgis_style import qml_of
from landsift.mapping.stac_item import write_item
from landsift.mapping.vrt import Band, vrt_of
from landsift.runtime.outputs import check_file
from landsift.runtime.whole import beside, flush, writing

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

logger = logging.getLogger(__name__)

PROBABILITY_SCALE, EMPTY = 0.005, 255
"""Probabilities and entropy are stored as 0 to 200; 255 is no data."""
_UNTIDY = 1e-3
"""By which the probabilities of a cell may miss 1."""


def beside_map(path: Path, ending: str) -> Path:
    """The path of what lies beside a map, such as `areas.csv`: MAP.tif, MAP.areas.csv."""
    return path.with_name(f"{path.stem}.{ending}")


class MapWriter:
    """A map that is being written; used in a `with` statement.

    When that ends, MAP.tif is there, with MAP.tif.aux.xml (names of the classes for GDAL), MAP.qml (for QGIS), MAP.json
    (STAC item), MAP.areas.csv, MAP.png, and MAP.probabilities.tif or MAP.entropy.tif where wanted. After an error there
    is nothing, or what was there before.

    Args:
        path: of the map, ending in .tif or .tiff.
        grid: its cells.
        classes: its classes.
        about: how it was made.
        probabilities: whether to write those of all classes.
        entropy: whether to write the entropy of a cell's probabilities, as a share of the largest, log K.

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
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in (".tif", ".tiff"):
            raise RunError(f"--out {path} does not end in .tif", "give the name of a GeoTIFF, such as map.tif")
        check_file(self.path)
        self.grid, self.classes, self.about = grid, classes, about or MapAbout()
        self.probabilities, self.entropy = probabilities, entropy
        self.areas = AreaCount(grid, classes)
        self._next = 0

    def __enter__(self) -> MapWriter:
        with contextlib.ExitStack() as stack, _gdal(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._folder = stack.enter_context(beside(self.path))
            self._work = self._folder / "work"  # a map may have the name of a band's file
            self._work.mkdir(parents=True)
            dtype = self.classes.dtype
            self._class = stack.enter_context(self._open("class.tif", dtype, 1, NO_DATA))
            self._confidence = stack.enter_context(self._open("confidence.tif", dtype, 1, NO_DATA))
            bands = (len(self.classes) if self.probabilities else 0) + self.entropy
            self._more = stack.enter_context(self._open("more.tif", "uint8", bands, EMPTY)) if bands else None
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        with self._stack:
            if error is None:
                with _gdal(self.path):
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
        with _gdal(self.path):
            self._class.write(codes, 1, window=window)
            self._confidence.write(np.where(valid, per_cent, NO_DATA).astype(codes.dtype), 1, window=window)
            if self._more:
                self._more.write(self._stored(filled, valid), window=window)
        self.areas.add(rows, codes)
        self._next = rows.stop

    def _stored(self, probabilities: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Probabilities and entropy as they are stored, uint8 [bands, h, w]."""
        shares = np.moveaxis(probabilities, -1, 0) if self.probabilities else np.empty((0, *valid.shape))
        if self.entropy:
            shares = np.concatenate([shares, normalised_entropy(probabilities)[None]])
        stored = np.clip(np.rint(shares / PROBABILITY_SCALE), 0, 200)
        return np.where(valid, stored, EMPTY).astype(np.uint8)

    def _open(self, name: str, dtype: str, bands: int, no_data: int) -> Any:
        import rasterio

        height, width = self.grid.shape
        return rasterio.open(
            self._work / name, "w", driver="GTiff", height=height, width=width, count=bands, dtype=dtype,
            nodata=no_data, tiled=True, blockxsize=TILE, blockysize=TILE, interleave="band", BIGTIFF="IF_SAFER",
            SPARSE_OK=True, **_place(self.grid),
        )  # fmt: skip

    def _finish(self) -> None:
        if self._next != self.grid.height:
            raise ValueError(f"rows {self._next} to {self.grid.height} of a map were not written")
        for each in filter(None, (self._class, self._confidence, self._more)):
            each.close()
        name = self.path.name
        self._copy(name, self._bands(), {TAG: json.dumps(self._description())})
        if self._more:
            ending = "probabilities.tif" if self.probabilities else "entropy.tif"
            self._copy(beside_map(self.path, ending).name, self._more_bands(), {})
        self._check(self._folder / name)
        write_areas(self._folder / beside_map(self.path, "areas.csv").name, self.areas)
        self._describe()
        if not self.areas.cells[1:].any():
            logger.warning("%s has no class in any cell: nothing in the scene is valid", self.path)
        shutil.rmtree(self._work)
        flush(self._folder)
        made = {each.name for each in self._folder.iterdir()}
        for ending in ("probabilities.tif", "entropy.tif", "html"):  # of an earlier map, which they would be taken for
            for stale in (beside_map(self.path, ending), beside_map(self.path, f"{ending}.aux.xml")):
                if stale.name not in made:
                    stale.unlink(missing_ok=True)
        for each in sorted(made, key=lambda each: each == name):  # the map itself last
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

    def _copy(self, name: str, bands: list[Band], tags: dict[str, str]) -> None:
        import rasterio.shutil

        levels = 0
        for source in {band.source for band in bands}:
            how = "mode" if source == "class.tif" else "average"
            levels = _add_overviews(self._work / source, how, self.grid)
        bands = [replace(band, overviews=levels) for band in bands]
        vrt = self._work / f"{name}.vrt"
        vrt.write_text(vrt_of(self.grid, self._work.absolute(), bands, tags), encoding="utf-8")
        rasterio.shutil.copy(
            vrt, self._folder / name, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=TILE,
            OVERVIEWS="FORCE_USE_EXISTING", BIGTIFF="IF_SAFER",
        )  # fmt: skip

    def _description(self) -> dict[str, Any]:
        return {"format": FORMAT, "classes": self.classes.to_json(), "about": self.about.to_json()}

    def _check(self, written: Path) -> None:
        """Read the map back and compare its cells: what a full disk swallows raises no error in GDAL."""
        info = read_info(written)
        counts = np.zeros(len(self.classes) + 1, np.int64)
        for rows in blocks(info):
            counts += np.bincount(read_classes(info, rows).ravel(), minlength=len(counts))
        if not np.array_equal(counts, self.areas.cells):
            raise RunError(f"cannot write {self.path}: the file does not hold what was written", "free space on disk")


def normalised_entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shannon's entropy as a share of the largest, log K: [..., K] -> [...] in 0..1; 0 for one class."""
    classes = probabilities.shape[-1]
    logs = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    entropy = -(probabilities * logs).sum(axis=-1) / (np.log(classes) if classes > 1 else 1.0)
    return np.asarray(np.clip(entropy, 0, 1), dtype=np.float32)


def _place(grid: GeoBox) -> dict[str, Any]:
    """CRS and transform as rasterio takes them; none where the scene has none."""
    place: dict[str, Any] = {} if grid.affine.is_identity else {"transform": grid.affine}
    if grid.crs is not None:
        place["crs"] = grid.crs.to_wkt() if grid.crs.epsg is None else f"EPSG:{grid.crs.epsg}"
    return place


def _add_overviews(path: Path, resampling: str, grid: GeoBox) -> int:
    """Add overviews until the smallest is one tile; returns how many."""
    import rasterio
    from rasterio.enums import Resampling

    factors: list[int] = []
    side = max(grid.shape)
    while side > TILE and 2 ** (len(factors) + 1) <= grid.width:  # COG readers take the decimation from the widths
        side = -(-side // 2)
        factors.append(2 ** (len(factors) + 1))
    if factors:
        with rasterio.open(path, "r+") as dataset:
            dataset.build_overviews(factors, Resampling[resampling])
    return len(factors)


@contextlib.contextmanager
def _gdal(path: Path) -> Iterator[None]:
    """GDAL's settings for writing, and its errors in our words."""
    try:
        with gdal(), writing(path):
            yield
    except errors() as error:
        hint = "check the disk's free space and the folder's rights"
        raise RunError(f"cannot write {path}: {reason(error)}", hint) from None
