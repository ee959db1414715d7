"""Which map is the same map: a hash of all that decides it, and the files that a scene is read from."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from landsift.data.decoding.gdal import sources_of_vrt
from landsift.mapping.map_options import LoadedModel, MapOptions, Source
from landsift.mapping.masks import NO_MASK
from landsift.version import __version__


def key_of(
    model: LoadedModel, sources: Sequence[Source], options: MapOptions, called: Callable[[Path], str] | None = None
) -> str:
    """A hash of all that decides a map: the model, names, sizes and times of the files, the options, the version.

    Args:
        model: that maps.
        sources: the files of one scene.
        options: how.
        called: the name of a file that is here; None: its absolute path.
    """
    files = [*sources] + ([options.mask] if options.mask not in (None, NO_MASK) else [])
    stated = {
        "model": model.fingerprint,
        "tta": model.predictor.description.tta,
        "files": [_state(source, called) for each in files if each is not None for source in files_of(each)],
        "options": asdict(options) | {"mask": str(options.mask), "reading": dict(options.reading)},
        "landsift": __version__,
    }
    return hashlib.sha256(json.dumps(stated, sort_keys=True, default=str).encode()).hexdigest()[:32]


def files_of(source: Source) -> list[Source]:
    """A source with the files that are read with it: all of a folder, those that a STAC item or a VRT names."""
    path = Path(source)
    if path.is_dir():
        return [*sorted(each for each in path.rglob("*") if each.is_file())]
    if not path.is_file():
        return [source]
    ending = path.suffix.lower()
    world = {".wld", ".prj", f"{ending}w", f"{ending[:2]}{ending[-1:]}w"} if ending else set()
    beside = [path.with_name(path.name + each) for each in (".aux.xml", ".msk")]
    beside += [path.with_suffix(each) for each in (".hdr", *sorted(world))]
    found: list[Source] = [source]
    with contextlib.suppress(OSError):  # a name that is too long to be there
        found += [each for each in beside if each.is_file()]
    with contextlib.suppress(OSError, ValueError, LookupError, RecursionError, AttributeError, TypeError):
        if ending in (".json", ".geojson"):
            hrefs = sorted(str(asset["href"]) for asset in json.loads(path.read_bytes())["assets"].values())
            found += [path.parent / unquote(href.removeprefix("file://")) for href in hrefs]
        elif ending == ".vrt":
            found += [file for each in sources_of_vrt(path) for file in files_of(each)]
    return found


def _state(source: Source, called: Callable[[Path], str] | None) -> list[Any]:
    path = Path(source).absolute()
    try:
        found = path.stat()
    except OSError:  # a URL
        return [str(source)]
    return [str(path) if called is None else called(path), found.st_size, found.st_mtime_ns]
