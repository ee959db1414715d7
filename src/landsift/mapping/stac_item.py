"""A map as a STAC item: where it lies, when the scene was acquired, what its values mean, and the files of it.

Reference: STAC 1.1 with the extensions classification 2.0, file 2.1, projection 2.0 and raster 1.1.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift.mapping.classes import NO_DATA, NO_DATA_NAME, ClassTable
from landsift.mapping.footprint import footprint_of
from landsift.mapping.map_info import CONFIDENCE_SCALE, MapInfo

if TYPE_CHECKING:
    import pystac

logger = logging.getLogger(__name__)

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_SHA256 = "1220"
"""Of a multihash: the function and the length of its value, which the extension file asks for."""


def write_item(path: Path, info: MapInfo, files: dict[str, Path]) -> None:
    """Write the STAC item of a map.

    Args:
        path: of the item, in the folder of the files.
        info: of the map.
        files: of the map, by the name of their asset: `map`, and what there is of `probabilities`, `entropy`, `trust`,
            `areas` and `preview`.
    """
    import pystac
    from pystac.extensions.file import FileExtension
    from pystac.extensions.projection import ProjectionExtension

    footprint, box = footprint_of(info.grid)
    created = datetime.now(UTC).replace(microsecond=0)
    item = pystac.Item(
        id=path.stem, geometry=footprint, bbox=box, datetime=info.when or created, properties=_properties(info)
    )
    item.common_metadata.created = created
    if info.grid.crs is not None:
        code = f"EPSG:{info.grid.crs.epsg}" if info.grid.crs.epsg else None
        ProjectionExtension.ext(item, add_if_missing=True).apply(
            code=code,
            wkt2=None if code else info.grid.crs.to_wkt(),
            shape=list(info.grid.shape),
            transform=[*info.grid.affine],
        )
    kinds = {
        "map": COG,
        "probabilities": COG,
        "entropy": COG,
        "trust": COG,
        "areas": "text/csv",
        "preview": "image/png",
    }
    roles = {"areas": ["metadata"], "preview": ["overview"]}
    for name, file in files.items():
        asset = pystac.Asset(f"./{file.name}", media_type=kinds[name], roles=roles.get(name, ["data"]))
        item.add_asset(name, asset)
        with file.open("rb") as raw:
            checksum = _SHA256 + hashlib.file_digest(raw, "sha256").hexdigest()
        FileExtension.ext(asset, add_if_missing=True).apply(size=file.stat().st_size, checksum=checksum)
    _add_bands(item, info.classes)
    text = json.dumps(item.to_dict(include_self_link=False), indent=2, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def _properties(info: MapInfo) -> dict[str, Any]:
    about = info.about
    if info.when is None:
        logger.info("the scene's acquisition is not known: the STAC item has the time at which the map was made")
    properties: dict[str, Any] = {
        "description": "Classes of land use" + ("" if info.when else "; datetime is when the map was made"),
        "gsd": about.gsd,
        "landsift:version": about.landsift,
        "landsift:scenes": list(about.scenes),
        "landsift:model": about.model,
        "landsift:patch": about.patch,
        "landsift:stride": about.stride,
        "landsift:key": about.key,
    }
    return {key: value for key, value in properties.items() if value is not None}


def _add_bands(item: pystac.Item, classes: ClassTable) -> None:
    """Describe the bands of the map."""
    from pystac.extensions.classification import Classification, ClassificationExtension
    from pystac.extensions.raster import DataType, RasterBand, RasterExtension

    kind = DataType(classes.dtype)
    band, confidence = RasterBand.create(nodata=NO_DATA, data_type=kind), RasterBand.create(
        nodata=NO_DATA, data_type=kind, scale=CONFIDENCE_SCALE
    )  # fmt: skip
    described = [Classification.create(NO_DATA, title=NO_DATA_NAME, name="no-data", nodata=True)]
    described += [
        Classification.create(
            each.code, title=each.name, name=_slug(each.name, each.code), color_hint=each.colour[1:].upper()
        )
        for each in classes
    ]
    ClassificationExtension.add_to(item)
    RasterExtension.ext(item.assets["map"], add_if_missing=True).apply([band, confidence])
    ClassificationExtension.ext(band).apply(classes=described)
    item.assets["map"].extra_fields["bands"] = [{"name": "class"}, {"name": "confidence"}]


def _slug(name: str, code: int) -> str:
    """A name as the extension wants it, of letters, digits, - and _; the whole name is the title."""
    short = re.sub(r"[^0-9A-Za-z_-]+", "-", name).strip("-")
    return f"{short or 'class'}-{code}" if short != name else name
