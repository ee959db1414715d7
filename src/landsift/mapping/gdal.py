"""GDAL as maps are read and written with it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",
    "GDAL_PAM_ENABLED": "YES",
    "GDAL_CACHEMAX": 64 * 2**20,  # GDAL's own is a share of the memory
    "GDAL_VRT_ENABLE_PYTHON": "NO",
}


@contextlib.contextmanager
def gdal() -> Iterator[None]:
    """GDAL's settings; a map without a place is told where that matters, and not by a warning whenever it is opened."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with rasterio.Env(**OPTIONS), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def errors() -> tuple[type[Exception], ...]:
    """What rasterio raises for GDAL's errors: its own, and GDAL's where nothing turned them into those."""
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    return RasterioError, CPLE_BaseError


def reason(error: BaseException) -> str:
    """What GDAL says of an error, on one line."""
    return " ".join(str(error.__cause__ or error).split())[:200]
