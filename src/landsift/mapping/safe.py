"""Sentinel-2 products as ESA delivers them: a folder .SAFE of JPEG 2000 files, and what its metadata say of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from landsift.data.decoding.wanted import Wanted
from landsift.data.sensors import sensor
from landsift.errors import DataError
from landsift.mapping.scene_files import SceneFile, look, when_of
from landsift.mapping.stacked_bands import is_called

_BAND = re.compile(r"_(B\d[\dA]|TCI|SCL)(?:_(\d+)m)?\.(?:jp2|tif)$", re.IGNORECASE)
_OFFSETS = ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")
_QUANTIFICATION = ("BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE")
_NODATA = 0.0
"""In all of Sentinel-2's files, whose tags do not say so."""


class Product(NamedTuple):
    """What the metadata of a product say of the numbers in its files."""

    add_offset: float
    quantification: float
    baseline: str
    when: datetime | None


class SafeScene(NamedTuple):
    """The files of a product that a model takes."""

    name: str
    files: list[SceneFile]
    mask: SceneFile | None
    pictures: bool
    when: datetime | None


def is_safe(source: Path | str) -> bool:
    """Whether a source is a folder of a product."""
    path = Path(source)
    return path.is_dir() and (path.suffix.upper() == ".SAFE" or any(path.glob("MTD_MSIL*.xml")))


def product_of(path: Path) -> Path | None:
    """The folder of the product that a file belongs to."""
    return next((parent for parent in path.absolute().parents if parent.suffix.upper() == ".SAFE"), None)


def read_safe(root: Path, wanted: Wanted, gsd: float | None) -> SafeScene:
    """The files of a product that hold what a model takes; of several resolutions the one nearest to the model's.

    Raises:
        DataError: its metadata or a band are missing.
    """
    product = read_product(root)
    every = list(_bands(root))
    if not every:
        raise DataError(f"{root}: no files of bands in GRANULE/*/IMG_DATA", "unpack the whole product")
    if len(granules := {file.relative_to(root).parts[1] for _, _, file in every}) > 1:
        raise DataError(f"{root}: {len(granules)} granules, where one is mapped", "give the files of one of them")
    scl = [file for name, _, file in every if name == "SCL"]
    mask = look(min(scl), pictures=False, names=[("scl",)]) if scl else None
    if wanted.taken is not None and wanted.taken.bands.is_rgb8 and not wanted.anything:
        colours = [(metres or 10, file) for name, metres, file in every if name == "TCI"]
        if not colours:
            raise DataError(f"{root}: no TCI file, the picture that this model takes", "unpack the whole product")
        return SafeScene(root.name, [look(min(colours)[1], pictures=True, when=product.when)], mask, True, product.when)
    of = wanted.sensor or sensor("sentinel2_l1c")
    asked = wanted.taken.bands.names if wanted.taken else ()
    letters = {letter for index in wanted.indices for letter in index.bands}
    files = []
    for band in of.bands:
        found = [(metres, file) for name, metres, file in every if name == band.name]
        needed = any(is_called(band.name, name, wanted._replace(sensor=of)) for name in asked) or band.letter in letters
        if found and needed:
            file = min(found, key=lambda each: abs((each[0] or band.gsd or 10) - (gsd or 0)))[1]
            files.append(look(file, pictures=False, names=[(band.name, *band.aliases)], when=product.when))
    if not files:
        raise DataError(f"{root}: none of the bands that the model takes", "give a product of the model's sensor")
    return SafeScene(root.name, [with_product(file, product) for file in files], mask, False, product.when)


def with_product(file: SceneFile, product: Product) -> SceneFile:
    """A file of a product with what the metadata say of its numbers."""
    own = file.bands
    bands = replace(
        own,
        add_offset=product.add_offset,
        quantification=product.quantification,
        baseline=product.baseline,
        nodata=_NODATA if own.nodata is None and own.dtype == "uint16" else own.nodata,
    )
    return replace(file, bands=bands, when=product.when or file.when)


def read_product(root: Path) -> Product:
    """What the metadata of a product say.

    Raises:
        DataError: they are missing, or damaged.
    """
    found = sorted(root.glob("MTD_MSIL*.xml"))
    if not found:
        raise DataError(f"{root}: no MTD_MSIL1C.xml or MTD_MSIL2A.xml, which says what the numbers mean",
                        "unpack the whole product")  # fmt: skip
    try:
        tree = ElementTree.parse(found[0])  # noqa: S314 (a file of the user's; expat refuses growing entities)
    except (ElementTree.ParseError, OSError) as error:
        raise DataError(f"{found[0]}: damaged: {error}", "unpack the product again") from None
    texts: dict[str, list[str]] = {}
    for element in tree.iter():
        texts.setdefault(element.tag.rsplit("}", 1)[-1], []).append((element.text or "").strip())
    offsets = {float(text) for name in _OFFSETS for text in texts.get(name, ())}
    if len(offsets) > 1:
        raise DataError(f"{found[0]}: offsets that differ between bands: {sorted(offsets)}",
                        "write the bands with one offset, or say it with data.reflectance")  # fmt: skip
    factors = [float(text) for name in _QUANTIFICATION for text in texts.get(name, ())]
    start = next(iter(texts.get("PRODUCT_START_TIME", ())), "")
    baseline = next(iter(texts.get("PROCESSING_BASELINE", ())), "")
    return Product(
        offsets.pop() if offsets else 0.0, factors[0] if factors else 1e4, baseline, when_of(start or root.name)
    )


def _bands(root: Path) -> Iterator[tuple[str, int | None, Path]]:
    """Band, resolution in metres, and file of all images of a product."""
    for file in sorted(root.glob("GRANULE/*/IMG_DATA/**/*")):
        if found := _BAND.search(file.name):
            yield found[1].upper(), int(found[2]) if found[2] else None, file
