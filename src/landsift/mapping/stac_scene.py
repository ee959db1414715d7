"""A STAC item as a scene: which of its assets hold which bands, and what it says that the files do not.

The item is a file, or lies at a URL of this machine (loopback); so do its assets. Nothing is fetched from elsewhere.
Reference: the STAC specification 1.0 and 1.1 with its extensions eo, raster, projection.
"""

from __future__ import annotations

import ipaddress
import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pystac
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from landsift.bands import REFLECTANCE
from landsift.data.decoding.file_bands import FileBands
from landsift.data.decoding.wanted import Wanted
from landsift.data.sensors import common, find, plain
from landsift.errors import DataError
from landsift.mapping.scene_files import Elsewhere, SceneFile, look
from landsift.mapping.stacked_bands import is_called, token_bands

_MOST = 2**26  # bytes of an item
_SECONDS = 30
_NOT_DATA = ("thumbnail", "overview", "metadata", "data-mask", "cloud", "snow-ice", "water-mask", "visual")
_VISUAL = ("visual", "tci", "truecolor", "rgb")
_SCL = ("scl",)
_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
"""Properties that say that Sentinel-2's offset is no longer in the numbers, whatever `raster:bands` says."""


class ItemScene(NamedTuple):
    """What an item names."""

    name: str
    files: list[SceneFile]
    mask: SceneFile | None
    """Sentinel-2's scene classification."""
    pictures: bool
    """Whether it is one picture of 8 bits."""
    when: datetime | None
    doubts: tuple[str, ...]


def is_item(source: Path | str) -> bool:
    """Whether a source is meant as a STAC item."""
    text = str(source)
    return text.startswith(("http:", "https:")) or text.lower().endswith((".json", ".geojson"))


def read_item(source: Path | str, wanted: Wanted, folder: Path) -> ItemScene:
    """The files of an item that hold what a model takes.

    Args:
        source: the item's file, or a URL of this machine.
        wanted: what the model and the configuration want.
        folder: where files from a URL are kept while the scene is open.

    Raises:
        DataError: it is no item, an asset is missing, or lies on the network.
    """
    item = _item(str(source))
    assets = {
        key: asset for key, asset in item.assets.items() if not {*(asset.roles or ())} & {*_NOT_DATA} - {"visual"}
    }
    asked = () if wanted.taken is None else wanted.taken.bands.names
    computed = {index.name for index in wanted.indices}
    letters = {letter for index in wanted.indices for letter in index.bands}
    pictures = wanted.taken is not None and wanted.taken.bands.is_rgb8 and not wanted.anything
    when = item.common_metadata.start_datetime if item.datetime is None else item.datetime
    when = None if when is None else when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC)
    scl = next((key for key in assets if plain(key) in _SCL), None)
    mask = None if scl is None else _file(item, scl, folder, ((("scl",)),), None, pictures=False)
    if pictures and (key := next((key for key in assets if plain(key) in _VISUAL), None)):
        return ItemScene(item.id, [_file(item, key, folder, (), when, pictures=True)], mask, True, when, ())
    chosen: dict[str, None] = {}
    for name in (each for each in asked if each not in computed):
        chosen[_asset_of(item, assets, name, wanted)] = None
    for letter in sorted(letters):
        for key, asset in assets.items():
            if any(_letter(each, wanted) == letter for names in _names(key, asset) for each in names):
                chosen.setdefault(key)
                break
    doubts: list[str] = []
    files = [
        _with_meaning(item, key, _file(item, key, folder, _names(key, assets[key]), when, pictures=False), doubts)
        for key in chosen
    ]
    return ItemScene(item.id, files, mask, False, when, tuple(dict.fromkeys(doubts)))


def read_json(source: str) -> Any:
    """What a JSON file holds, or one at a URL of this machine; raises DataError."""
    try:
        return json.loads(_fetched(source) if "://" in source else _text(Path(source)))
    except (ValueError, RecursionError):
        raise DataError(f"{source}: no JSON", "give a STAC item") from None


def _item(source: str) -> pystac.Item:
    """An item, its links not followed."""
    stored = read_json(source)
    kind = stored.get("type") if isinstance(stored, dict) else None
    if kind == "FeatureCollection":
        hint = "write each item to a file of its own"
        raise DataError(f"{source}: a {kind} of STAC, where one item is read", hint)
    if kind in ("Collection", "Catalog"):
        raise DataError(f"{source}: a {kind} of STAC, where one item is read", "map its items with --out FOLDER")
    if kind != "Feature" or "assets" not in stored:
        raise DataError(f"{source}: no STAC item", "give the JSON of an item, or the files of the scene")
    try:
        return pystac.Item.from_dict(stored, href=source, migrate=False, preserve_dict=False)
    except Exception as error:  # noqa: BLE001 (pystac raises what it meets: KeyError, ValueError, its own)
        text = " ".join(str(error).split())[:200]
        raise DataError(f"{source}: no STAC item: {type(error).__name__}: {text}", "give the JSON of an item") from None


def _text(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MOST:
            raise DataError(f"{path}: larger than {_MOST >> 20} MiB", "give a STAC item")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {(error.strerror or str(error)).lower()}", "check the path") from None


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https"):
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _opened(url: str) -> Any:
    """A file at a URL of this machine; raises DataError."""
    if not is_loopback(url):
        _elsewhere(url)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    try:
        return opener.open(url, timeout=_SECONDS)
    except (urllib.error.URLError, OSError, ValueError, HTTPException) as error:
        raise DataError(f"{url}: {error}", "check the address") from None


def _fetched(url: str) -> bytes:
    with _opened(url) as response:
        raw: bytes = response.read(_MOST + 1)
    if len(raw) > _MOST:
        raise DataError(f"{url}: larger than {_MOST >> 20} MiB", "give a STAC item")
    return raw


def _elsewhere(url: str) -> NoReturn:
    raise DataError(
        f"{url}: nothing is fetched from the network", "download the item and its assets, and give the item's file"
    )


def _local(item: pystac.Item, key: str, folder: Path) -> Path:
    """The file of an asset; one of a URL of this machine is copied into a folder."""
    href = item.assets[key].get_absolute_href() or item.assets[key].href
    if "://" not in href:
        path = Path(href)
        return path if path.exists() else Path(urllib.parse.unquote(href))
    if href.startswith("file://"):
        return Path(urllib.request.url2pathname(urllib.parse.urlsplit(href).path))
    if not is_loopback(href):
        raise DataError(
            f"{item.id}: its asset {key} is at {href}, and nothing is fetched from the network",
            "download it beside the item, and let the asset's href name the file",
        )
    path = folder / f"{len(list(folder.iterdir()))}-{Path(urllib.parse.urlsplit(href).path).name}"
    with _opened(href) as response, path.open("wb") as file:
        shutil.copyfileobj(response, file, 2**20)
    return path


def _file(
    item: pystac.Item, key: str, folder: Path, names: Sequence[Sequence[str]], when: datetime | None, *, pictures: bool
) -> SceneFile:
    path = _local(item, key, folder)
    if not path.exists():
        raise DataError(f"{item.id}: its asset {key} is not there ({path})", "download it beside the item")
    return look(path, pictures=pictures, names=names, when=when, place=_place(item, key))


def _bands(asset: pystac.Asset) -> list[Mapping[str, Any]]:
    """What an asset says of its bands, whatever the version: of eo and raster together, as far as it says."""
    every = [asset.extra_fields.get(key) for key in ("bands", "eo:bands", "raster:bands")]
    found = [[each for each in bands if isinstance(each, Mapping)] for bands in every if isinstance(bands, list)]
    count = max((len(bands) for bands in found), default=0)
    merged: list[Mapping[str, Any]] = []
    for i in range(count):
        one: dict[str, Any] = {}
        for bands in found:
            one |= bands[i] if i < len(bands) else {}
        merged.append(one)
    return merged


def _names(key: str, asset: pystac.Asset) -> tuple[tuple[str, ...], ...]:
    """What each band of an asset may be called, best first."""
    bands = _bands(asset)
    called = [
        [str(band[name]) for name in ("name", "eo:common_name", "common_name") if band.get(name)] for band in bands
    ]
    if len(called) <= 1:
        own = called[0] if called else []
        in_name = token_bands(Path(urllib.parse.urlsplit(asset.href).path).name)
        called = [list(dict.fromkeys([*own, key, *(in_name if len(in_name) == 1 else [])]))]
    return tuple(tuple(each) for each in called)


def _asset_of(item: pystac.Item, assets: Mapping[str, pystac.Asset], name: str, wanted: Wanted) -> str:
    """The asset that holds a band; raises DataError."""
    named = {key: [each for names in _names(key, asset) for each in names] for key, asset in assets.items()}
    found = [key for key, names in named.items() if any(is_called(each, name, wanted) for each in names)]
    found = [key for key in found if plain(key) not in _VISUAL] or found
    if not found:
        raise DataError(
            f"{item.id}: no asset that is band {name} among {', '.join(sorted(assets)[:20])}",
            "--set data.sensor=NAME says of which sensor the item's bands are, where the model does not know it",
        )

    def rank(key: str) -> tuple[bool, bool, bool]:
        asset = assets[key]
        far = "://" in asset.href and not is_loopback(asset.href)
        called = any(plain(each) == plain(name) for each in named[key])
        # Of the same band as GeoTIFF and JPEG 2000 the first is read faster.
        return far, not called, "jp2" in (asset.media_type or "") or key.endswith("jp2")

    return min(found, key=rank)


def _letter(name: str, wanted: Wanted) -> str | None:
    known = wanted.sensor.find(name) if wanted.sensor else find(common(), name)
    return None if known is None else known.letter


def _with_meaning(item: pystac.Item, key: str, file: SceneFile, doubts: list[str]) -> SceneFile:
    """A file with the scale, offset, units and no-data value that the item says of it, where it says none itself."""
    asset, own = item.assets[key], file.bands
    bands = _bands(asset) or [{}]
    every = [bands[min(i, len(bands) - 1)] for i in range(len(own))]
    scales = [_number(asset, band, "scale") for band in every]
    offsets = [_number(asset, band, "offset") for band in every]
    nodata = {_number(asset, band, "nodata") for band in every}
    changes: dict[str, Any] = {}
    if own.nodata is None and not own.picture and len(nodata) == 1 and (value := nodata.pop()) is not None:
        changes["nodata"] = value
    if own.scale is None and any(scale is not None for scale in scales):
        scale = tuple(1.0 if each is None else each for each in scales)
        offset = tuple(0.0 if each is None else each for each in offsets)
        if any(item.properties.get(name) is True for name in _APPLIED) and any(offset):
            doubts.append(
                "its item says that Sentinel-2's offset is no longer in the numbers, and of an offset of "
                f"{offset[0]:g}: taken as 0"
            )
            offset = (0.0,) * len(own)
        changes |= {"scale": scale, "offset": offset}
        if not own.units:
            roles = {*(asset.roles or ())}
            units = {str(band.get("unit") or "") for band in every}
            is_reflectance = "reflectance" in roles or (units == {""} and all(abs(each) < 0.01 for each in scale))
            changes["units"] = REFLECTANCE if is_reflectance else next(iter(units))
    elif not own.baseline and (baseline := item.properties.get("s2:processing_baseline")):
        changes["baseline"] = str(baseline)
    return replace(file, bands=_replaced(own, changes)) if changes else file


def _replaced(bands: FileBands, changes: Mapping[str, Any]) -> FileBands:
    return replace(bands, **changes)


def _number(asset: pystac.Asset, band: Mapping[str, Any], name: str) -> float | None:
    """A number of a band, or of all bands of an asset."""
    for value in (
        band.get(name),
        band.get(f"raster:{name}"),
        *(asset.extra_fields.get(k) for k in (f"raster:{name}", name)),
    ):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if value in ("nan", "NaN"):
            return float("nan")
    return None


def _place(item: pystac.Item, key: str) -> Elsewhere | None:
    """Where the pixels of an asset lie, as the item says; None: it does not."""

    def said(name: str) -> Any:
        return item.assets[key].extra_fields.get(name, item.properties.get(name))

    crs = None
    for name, text in (("proj:code", "{}"), ("proj:epsg", "EPSG:{}"), ("proj:wkt2", "{}")):
        if value := said(name):
            crs = text.format(value)
            break
    else:
        if isinstance(stored := said("proj:projjson"), dict):
            crs = json.dumps(stored)
    if crs is None:
        return None
    try:
        found = CRS.from_user_input(crs)
    except CRSError:
        return None
    numbers, shape = said("proj:transform"), said("proj:shape")
    transform = Affine(*map(float, numbers[:6])) if isinstance(numbers, list) and len(numbers) >= 6 else None
    size = (int(shape[0]), int(shape[1])) if isinstance(shape, list) and len(shape) == 2 else None
    return Elsewhere(found, transform, size, "its STAC item", of_this=True)
