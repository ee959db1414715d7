"""What a scene may be given as: a raster, files of bands, a STAC item, a folder .SAFE of Sentinel-2."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from landsift.data.decoding.wanted import Wanted
from landsift.errors import DataError
from landsift.mapping.safe import is_safe, product_of, read_product, read_safe, with_product
from landsift.mapping.scene_files import SceneFile, look
from landsift.mapping.stac_scene import is_item, read_item
from landsift.mapping.stacked_bands import APART


class Found(NamedTuple):
    """The files of a scene."""

    name: str
    files: list[SceneFile]
    mask: SceneFile | None = None
    when: datetime | None = None
    doubts: tuple[str, ...] = ()


def found_files(sources: Sequence[Path | str], wanted: Wanted, folder: Path) -> Found:
    """The files that sources stand for.

    Args:
        sources: as of `open_scene`.
        wanted: what the model and the configuration want.
        folder: where files from a URL are kept while the scene is open.

    Raises:
        DataError: one cannot be read, or they are not those of one scene.
    """
    if not sources:
        raise DataError("no files of a scene are given", "give a raster, the files of its bands, or a STAC item")
    first = sources[0]
    whole = [source for source in sources if is_item(source) or Path(source).is_dir()]
    if whole and len(sources) > 1:
        raise DataError(f"{whole[0]} is a scene of its own, beside {len(sources) - 1} others", APART)
    if is_item(first):
        item = read_item(first, wanted, folder)
        return Found(item.name, item.files, item.mask, item.when, item.doubts)
    if is_safe(first):
        product = read_safe(Path(first), wanted, wanted.taken.bands.gsd if wanted.taken else None)
        return Found(product.name, product.files, product.mask, product.when)
    if whole:
        raise DataError(f"{first}: a folder, where the files of one scene are read", APART)
    paths = [Path(source) for source in sources]
    if again := [path for i, path in enumerate(paths) if path in paths[:i]]:
        raise DataError(f"{again[0]} is given twice", APART)
    pictures = len(paths) == 1 and not wanted.anything
    files = []
    for path in paths:
        file = look(path, pictures=pictures)
        root = product_of(path)
        files.append(file if root is None or file.bands.picture else with_product(file, read_product(root)))
    return Found(paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more", files)
