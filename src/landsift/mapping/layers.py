"""Windows of the files of a scene on its grid: read as they are where they lie on it, else through a warped VRT."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from landsift.data.decoding.decode import quiet_pillow
from landsift.data.decoding.gdal import in_words, reading
from landsift.data.decoding.unreadable import UnreadableError
from landsift.mapping.grids import is_aligned, is_same
from landsift.mapping.scene_files import SceneFile, refused

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

Values = NDArray[Any]
Flags = NDArray[np.bool_]

_ONE_OPENS = threading.Lock()
LEAST_CACHE, MOST_CACHE = 2**26, 2**29
"""Bytes of decoded blocks that GDAL keeps while a scene is read."""
_TYPES = {"uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32",
          "uint64": "UInt64", "int64": "Int64", "float32": "Float32", "float64": "Float64"}  # fmt: skip
"""GDAL's names of numbers."""


@dataclass(frozen=True, eq=False)
class Layer:
    """Some bands of a file on the grid of a scene.

    Attributes:
        file: which one.
        picks: positions of the bands in the file, from 0.
        nodata: the number that means nothing in it; None: there is none.
        hides: the band that hides pixels, as a VRT calls it; None: none does.
        together: whether a pixel has nothing only where all its bands have that number.
        resampling: for pixels of another grid.
    """

    file: SceneFile
    picks: tuple[int, ...]
    nodata: float | None
    hides: str | None
    together: bool = False
    resampling: Resampling = Resampling.cubic


class LayerReader:
    """Reads windows of a layer; each thread has datasets of its own, as rasterio's are not to be shared."""

    def __init__(self, layer: Layer, box: GeoBox) -> None:
        self.layer = layer
        self.direct = is_same(layer.file, box)
        self.aligned = self.direct or is_aligned(layer.file, box)
        self.cache = LEAST_CACHE
        self._box = box
        self._own = threading.local()
        self._lock = threading.Lock()
        self._open: list[ExitStack] = []
        self._told: Counter[str] = Counter()

    def read(self, window: Window) -> tuple[Values, Flags | None]:
        """Values [h, w, P] as the file has them, and where they are hidden or there is no file, [h, w].

        Raises:
            DataError: the file is damaged, or its alpha band is none.
        """
        path = self.layer.file.path
        try:
            with reading(path.absolute(), self.cache) as heard:
                dataset = self._dataset()
                found = self._direct(dataset, window) if self.direct else self._warped(dataset, window)
            with self._lock:
                self._told.update(in_words(heard, path.absolute()))
        except UnreadableError as error:
            raise refused(path, error) from None
        return found

    def tell(self) -> list[str]:
        """What GDAL said of the file while it was read."""
        return list(self._told)

    def close(self) -> None:
        """Close the datasets of all threads; none of them may be reading."""
        with self._lock:
            while self._open:
                self._open.pop().close()
        self._own = threading.local()

    def _dataset(self) -> DatasetReader | WarpedVRT:
        found: DatasetReader | WarpedVRT | None = getattr(self._own, "dataset", None)
        if found is None:
            stack = ExitStack()
            try:
                with _ONE_OPENS, quiet_pillow():  # filters of warnings are the whole process's
                    found = stack.enter_context(self.layer.file.open())
                    if not self.direct:
                        found = self._warp(stack)
            except BaseException:
                stack.close()
                raise
            with self._lock:
                self._open.append(stack)
            self._own.dataset = found
        return found

    def _direct(self, dataset: DatasetReader, window: Window) -> tuple[Values, Flags | None]:
        layer = self.layer
        values = np.moveaxis(dataset.read([pick + 1 for pick in layer.picks], window=window), 0, -1)
        hidden = None
        if layer.hides is not None and layer.hides.startswith("mask"):
            hidden = dataset.read_masks(layer.picks[0] + 1, window=window) == 0
        elif layer.hides is not None:
            alpha = dataset.read(int(layer.hides), window=window)
            hidden = alpha == 0
        if layer.together and layer.nodata is not None:
            empty = (values == layer.nodata).all(axis=-1)
            hidden = empty if hidden is None else hidden | empty
        return values, hidden

    def _warped(self, dataset: WarpedVRT, window: Window) -> tuple[Values, Flags | None]:
        values = np.moveaxis(dataset.read(window=window), 0, -1)
        if len(self.layer.picks) == values.shape[-1]:
            return values, None
        return values[..., :-1], values[..., -1] == 0

    def _warp(self, stack: ExitStack) -> WarpedVRT:
        layer, file = self.layer, self.layer.file
        source = stack.enter_context(rasterio.open(self._selected(), driver="VRT", sharing=False))
        resampling = Resampling.nearest if self.aligned else layer.resampling
        crs = CRS.from_wkt(self._box.crs.to_wkt())
        # Of several bands each has its own holes, and what is beside one is not made of it.
        if layer.nodata is None:
            how: dict[str, Any] = {"add_alpha": True}
        elif layer.together:
            how = {"add_alpha": True, "src_nodata": layer.nodata, "UNIFIED_SRC_NODATA": "YES"}
        else:
            how = {"src_nodata": layer.nodata, "nodata": layer.nodata, "UNIFIED_SRC_NODATA": "NO"}
        if file.gcps:  # rasterio has GDAL follow them only to a grid of its own choice
            inner = WarpedVRT(source, src_crs=file.crs, crs=crs, resampling=resampling, **how)
            source, how = stack.enter_context(inner), {} if "add_alpha" in how else how
        return stack.enter_context(
            WarpedVRT(
                source,
                src_crs=None if file.gcps else _wrapped(file),
                crs=crs,
                transform=self._box.affine,
                height=self._box.shape[0],
                width=self._box.shape[1],
                resampling=resampling,
                **how,
            )
        )

    def _selected(self) -> str:
        """A VRT of the layer's bands alone, whose mask is what hides them."""
        layer, file = self.layer, self.layer.file
        name = escape(str(file.path.absolute()))
        height, width = file.size

        def band(number: int | None, source: str, dtype: str) -> str:
            at = "" if number is None else f' band="{number}"'
            return (
                f'<VRTRasterBand dataType="{dtype}"{at}><SimpleSource>'
                f'<SourceFilename relativeToVRT="0" shared="0">{name}</SourceFilename>'
                f"<SourceBand>{source}</SourceBand></SimpleSource></VRTRasterBand>"
            )

        wkt = escape(file.crs.to_wkt())
        if file.gcps:
            points = "".join(
                f'<GCP Id="{i}" Pixel="{p.col!r}" Line="{p.row!r}" X="{p.x!r}" Y="{p.y!r}"/>'
                for i, p in enumerate(file.gcps)
            )
            place = f'<GCPList Projection="{escape(file.crs.to_wkt(), {chr(34): "&quot;"})}">{points}</GCPList>'
        else:
            place = f"<SRS>{wkt}</SRS><GeoTransform>{', '.join(map(repr, file.transform.to_gdal()))}</GeoTransform>"
        dtype = _TYPES[file.dtype]
        body = "".join(band(i + 1, str(pick + 1), dtype) for i, pick in enumerate(layer.picks))
        hides = f"<MaskBand>{band(None, layer.hides, 'Byte')}</MaskBand>" if layer.hides else ""
        return f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{place}{body}{hides}</VRTDataset>'


def _wrapped(file: SceneFile) -> CRS | None:
    """A CRS of degrees whose longitudes go on beyond 180, where those of a file do; None: the file's own will do."""
    if file.crs.is_projected:
        return None
    corners = ((0, 0), (file.size[1], 0), (0, file.size[0]), file.size[::-1])
    xs = [(file.transform * corner)[0] for corner in corners]
    if min(xs) >= -180 and max(xs) <= 180:
        return None
    return CRS.from_string(f"{file.crs.to_proj4()} +lon_wrap={(min(xs) + max(xs)) / 2:.6f}")


def share_cache(readers: Sequence[LayerReader]) -> None:
    """Have GDAL keep the blocks of two rows of blocks of every file: what windows of whole rows meet again."""
    files = {id(reader.layer.file): reader.layer.file for reader in readers}.values()
    rows = sum(file.block[0] * file.size[1] * len(file.bands) * np.dtype(file.dtype).itemsize for file in files)
    for reader in readers:
        reader.cache = min(max(2 * rows, LEAST_CACHE), MOST_CACHE)


def windows_of(rows: slice, cols: slice) -> Window:
    """A window of rows and columns."""
    return Window(cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start)


def one_array(parts: Sequence[tuple[Values, Flags | None]]) -> tuple[Values, Flags | None]:
    """The bands of several layers beside one another, and where any of them is hidden."""
    if len(parts) == 1:
        return parts[0]
    values = np.concatenate([part[0] for part in parts], axis=-1)
    hidden = None
    for _, part in parts:
        hidden = part if hidden is None else hidden if part is None else hidden | part
    return values, hidden
