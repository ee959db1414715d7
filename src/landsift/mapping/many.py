"""Maps of many scenes: which there are, which have a map already, and what became of each."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from landsift.data.decoding.gdal import suffixes
from landsift.errors import ConfigError, DataError, LandsiftError, ModelError, RunError, listed
from landsift.mapping.make import MapResult, check_map
from landsift.mapping.map_file import read_info
from landsift.mapping.map_key import files_of, key_of
from landsift.mapping.map_options import LoadedModel, MapOptions, Source
from landsift.mapping.map_place import ENDINGS, beside_map, files_of_map, is_item_of_map, is_map
from landsift.mapping.safe import is_safe
from landsift.mapping.scene_tasks import Finish, Runner, SceneTask, apart, one_after_another, reason
from landsift.mapping.stac_scene import is_item, is_loopback, read_json
from landsift.mapping.stacked_bands import token_bands

logger = logging.getLogger("landsift")

_CATALOGS = ("Collection", "Catalog")


class SceneFiles(NamedTuple):
    """A scene among several.

    Attributes:
        name: of its map, without an ending.
        sources: its files, as of `open_scene`.
    """

    name: str
    sources: tuple[Source, ...]


@dataclass
class Maps:
    """What became of many scenes.

    Attributes:
        made: maps that were made.
        left: maps that were there already.
        failed: names of scenes and what is wrong with them.
    """

    made: list[MapResult] = field(default_factory=list)
    left: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "made": [each.to_dict() for each in self.made],
            "left": [str(each) for each in self.left],
            "failed": self.failed,
        }


def counts_of(result: Mapping[str, Any]) -> str:
    """How many maps there are of each kind in what `Maps.to_dict` gives."""
    made, left, failed = (len(result[kind]) for kind in ("made", "left", "failed"))
    return f"{made} made, {left} left as they are, {failed} failed"


def check_all_made(result: Mapping[str, Any]) -> None:
    """Raise RunError, with their names, where scenes have no map."""
    if failed := result["failed"]:
        total = sum(len(result[kind]) for kind in ("made", "left", "failed"))
        raise RunError(
            f"{len(failed)} of {total} scenes have no map: {', '.join(failed)}",
            "the reasons stand above; the same command maps only these",
        )


def map_scenes(
    model: LoadedModel,
    scenes: Sequence[SceneFiles],
    folder: Path,
    options: MapOptions,
    finish: Finish | None = None,
    finishes: Collection[str] = (),
    run: Runner | None = None,
) -> Maps:
    """Map scenes into a folder, each as NAME.tif.

    A map that is there, of the same model, files and options, is left as it is. A scene that cannot be mapped is named
    and does not stop the others. Of both the maps are in the order of the scenes.

    Args:
        model: that maps.
        scenes: from `scenes_of`.
        folder: for the maps; it is made.
        options: how.
        finish: as of `mapped`.
        finishes: endings of what that writes beside a map, such as html; a map without it is made again.
        run: has scenes mapped by others, such as `on_engine`; None: by `model`, one after the other.

    Raises:
        ModelError: the model has no dense mode.
        ConfigError: `reading` has another key, or a value that is none.
    """
    became: dict[int, MapResult | Path | str] = {}
    beside = [*ENDINGS, *finishes]
    beside += ["probabilities.tif"] if options.probabilities else []
    beside += ["trust.tif"] if model.predictor.trust is not None else []

    def waiting(some: Iterable[tuple[int, SceneFiles]]) -> Iterator[SceneTask]:
        """Those of some scenes that have no such map yet, looked at when they are asked for."""
        for number, scene in some:
            out = folder / f"{scene.name}.tif"
            try:
                check_map(out, scene.sources, options)
                key = key_of(model, scene.sources, options)
                made = _is_made(out, key, beside)
            except (ConfigError, ModelError):  # which would be the same for every scene
                raise
            except Exception as error:  # noqa: BLE001 (whatever is wrong with one must not cost the others)
                became[number] = _told(scene.name, reason(error))
                continue
            if not made:
                yield SceneTask(number, len(scenes), scene.name, scene.sources, out, key)
                continue
            logger.info("%s: its map is there already, of the same model, files and options", scene.name)
            if any("://" in str(each) for each in scene.sources):
                logger.info("%s: whether the files at its address have changed is not known", scene.name)
            became[number] = out

    every = list(enumerate(scenes, start=1))
    groups = [every]
    if run is None:
        run = one_after_another(model, options, finish)
    else:
        groups = apart([(folder / f"{scene.name}.tif", (number, scene)) for number, scene in every])
    with closing(run(map(waiting, groups))) as done:  # type: ignore[type-var]
        for task, result in done:
            became[task.number] = _told(task.name, result) if isinstance(result, str) else result
    maps = Maps()
    for number, scene in every:
        match became[number]:
            case MapResult() as result:
                maps.made.append(result)
            case str() as text:
                maps.failed[scene.name] = text
            case out:
                maps.left.append(out)
    if len(scenes) == len(maps.failed) > 1 and all(_is_a_band(scene) for scene in scenes):
        logger.warning("are these the bands of one scene? They are mapped together with --out MAP.tif")
    return maps


def _told(name: str, text: str) -> str:
    """Why a scene has no map, which is said."""
    logger.error("%s has no map: %s", name, text)
    return text


def _is_a_band(scene: SceneFiles) -> bool:
    """Whether a scene is one file with the name of a band."""
    return len(scene.sources) == 1 and len(token_bands(Path(scene.sources[0]).name)) == 1


def _is_made(out: Path, key: str, beside: Collection[str]) -> bool:
    """Whether a map of this key is there with what lies beside it; else it is made anew, and that is said."""
    if not out.exists():
        return False
    try:
        same = read_info(out).about.key == key
    except LandsiftError:
        same = False
    missing = [each.name for each in (beside_map(out, ending) for ending in beside) if not each.is_file()]
    if not same:
        logger.info("%s is of another model, other files or other options: it is made anew", out)
    elif missing:
        logger.info("%s is made anew, because %s is missing beside it", out, listed(missing))
    return same and not missing


def scenes_of(given: Sequence[Source]) -> list[SceneFiles]:
    """The scenes that some sources stand for, each with a name of its own.

    A raster is a scene. A folder stands for what lies in it: each raster, each folder of rasters (the files of one
    scene) and each folder .SAFE; where it holds STAC items, these alone. Maps of landsift are no scenes. A STAC
    collection or catalogue stands for its items.

    Raises:
        DataError: a source is not there, or holds no scene.
    """
    found: list[tuple[str, tuple[Source, ...]]] = []
    for source in given:
        some = list(_scenes_in(source))
        if not some:
            raise DataError(f"no scene in {source}", "give rasters, folders of rasters, or a STAC collection")
        found += some
    names: dict[str, int] = {}
    scenes = []
    seen: set[tuple[str, ...]] = set()
    for name, sources in found:
        same = tuple(str(each) if "://" in str(each) else os.path.abspath(each) for each in sources)
        if same in seen:  # a folder, and a scene in it
            logger.info("%s is given twice: it is mapped once", sources[0])
            continue
        seen.add(same)
        plain = name.replace("/", "-").replace("\0", "") or "scene"
        key = plain.casefold()  # some disks do not tell a.tif from A.tif
        names[key] = names.get(key, 0) + 1
        if names[key] > 1:
            parent = Path(sources[0]).absolute().parent.name
            other = f"{parent}-{plain}" if f"{parent}-{plain}".casefold() not in names else f"{plain}-{names[key]}"
            logger.info("%s: another scene has this name, so that its map is called %s.tif", sources[0], other)
            names[other.casefold()], plain = 1, other
        scenes.append(SceneFiles(plain, sources))
    return scenes


def _scenes_in(source: Source) -> list[tuple[str, tuple[Source, ...]]]:
    if is_item(source):
        return _of_stac(str(source))
    path = Path(source)
    if not path.exists():
        raise DataError(f"no such file or folder: {path}", "check the path")
    if not path.is_dir() or is_safe(path):
        return [(path.stem, (path,))]
    for name in ("collection.json", "catalog.json"):
        if (path / name).is_file():
            return _of_stac(str(path / name))
    entries = _entries(path)
    if items := _items_in(entries):
        _tell_unnamed(path, items, [each for each in entries if _is_raster(each) and each.is_file()])
        return [(each.stem, (each,)) for each in items]
    found: list[tuple[str, tuple[Source, ...]]] = []
    for each in entries:
        if each.is_dir() and is_safe(each):
            found.append((each.stem, (each,)))
        elif each.is_dir() and (items := _items_in(_entries(each, quiet=True))):
            found += [(item.stem, (item,)) for item in items]
            _tell_unnamed(each, items, _rasters_in(each))
        elif each.is_dir() and (rasters := _rasters_in(each)):
            found.append((each.name, tuple(rasters)))
        elif each.is_file() and _is_raster(each):
            found.append((each.stem, (each,)))
        else:
            logger.info("%s: neither a raster nor a folder of rasters; passed over", each)
    return found


def _entries(folder: Path, *, quiet: bool = False) -> list[Path]:
    """What lies in a folder, without hidden files, and without maps of landsift and what lies beside them."""
    every = [each for each in sorted(folder.iterdir()) if not each.name.startswith(".")]
    maps = [each for each in every if each.is_file() and is_map(each)]
    parts = {file for each in maps for file in files_of_map(each)}
    for item in (each for each in every if each.suffix == ".json" and is_item_of_map(each)):  # its map may be elsewhere
        parts |= {*files_of_map(item.with_suffix(".tif"))[1:], *files_of_map(item.with_suffix(".tiff"))[1:]}
    if maps and not quiet:
        logger.info("%s: passed over, as maps of landsift: %s", folder, listed(each.name for each in maps))
    return [each for each in every if each not in parts]


def _rasters_in(folder: Path) -> list[Path]:
    return [each for each in _entries(folder) if _is_raster(each) and each.is_file()]


def _tell_unnamed(folder: Path, items: Sequence[Path], rasters: Sequence[Path]) -> None:
    """Say which rasters lie beside STAC items that do not name them."""
    named = {os.path.realpath(file) for item in items for file in files_of(item)}
    if others := [each.name for each in rasters if os.path.realpath(each) not in named]:
        logger.warning("%s: rasters that its STAC items do not name are passed over: %s", folder, listed(others))


def _is_raster(path: Path) -> bool:
    return path.suffix.lower() in suffixes(rasters=True) and not path.name.startswith(".")


def _items_in(entries: Sequence[Path]) -> list[Path]:
    """STAC items of scenes."""
    return [each for each in entries if is_item(each) and _is_feature(each) and not is_item_of_map(each)]


def _is_feature(path: Path) -> bool:
    """Whether a file holds a STAC item."""
    try:
        stored = read_json(str(path))
    except DataError:
        return False
    return isinstance(stored, dict) and stored.get("type") == "Feature" and "assets" in stored


def _of_stac(source: str) -> list[tuple[str, tuple[Source, ...]]]:
    """A STAC item, or the items of a collection or catalogue, with their files or addresses on this machine."""
    stored = read_json(source)
    if not isinstance(stored, dict) or stored.get("type") not in _CATALOGS:
        return [(_stem(source), (source,))]  # what else it may be is said where it is read
    return [(_stem(item), (item,)) for item in _linked(source, stored, set())]


def _stem(source: str) -> str:
    return Path(urlsplit(source).path if "://" in source else source).stem


def _linked(source: str, stored: Mapping[str, Any], seen: set[str]) -> list[str]:
    """The items below a collection or catalogue, whose links are followed."""
    seen.add(source)
    found: list[str] = []
    links = stored.get("links")
    for link in links if isinstance(links, list) else []:
        if (
            not isinstance(link, dict)
            or link.get("rel") not in ("item", "child")
            or not isinstance(link.get("href"), str)
        ):
            continue
        href = link["href"].removeprefix("file://")
        if "://" in source or "://" in href:
            target = urljoin(source, href)
        else:
            target = os.path.normpath(Path(source).parent / href)
        if target in seen:
            continue
        if link["rel"] == "child":
            below = read_json(target)
            found += _linked(target, below if isinstance(below, dict) else {}, seen)
            continue
        if "://" in target and not is_loopback(target):
            raise DataError(
                f"{source}: it leads to {target}, and nothing is fetched from the network", "download its items"
            )
        seen.add(target)
        found.append(target)
    return found
