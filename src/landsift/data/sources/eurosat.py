"""EuroSAT: 27,000 Sentinel-2 patches of 64 × 64 pixels (10 m each) in ten land-use classes, in RGB or 13 bands.

Source: Helber, Bischke, Dengel, Borth, "EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use
and Land Cover Classification", IEEE JSTARS 12 (2019). Format: JPEG in `2750/<Class>/<Class>_<n>.jpg`, packed
in `EuroSAT.zip` (94 MB). There is no official split. MD5 of the archive as torchvision publishes it.

Unpacked patches are found below the root in the original layout, `ROOT/2750/<Class>`, in torchvision's,
`ROOT/eurosat/2750/<Class>`, and in other nestings of up to two folders, such as Kaggle's `ROOT/EuroSAT/<Class>`;
landsift downloads to torchvision's.

The 13 bands are GeoTIFFs, uint16, in `ds/images/remote_sensing/otherDatasets/sentinel-2/tif/<Class>/<Class>_<n>.tif`,
packed in `EuroSATallBands.zip` (2 GB), and in `EuroSAT_MS/<Class>` in the later `EuroSAT_MS.zip` (Zenodo record
7711810). Their MD5 are unverified: the first is what TorchGeo publishes, the second what others report of the record;
this project has not downloaded either archive to check them, and `sha256` overrides them. Both layouts are found, and
`ROOT/eurosat/all_bands/tif`, where landsift unpacks them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from landsift.bands import BandSpec
from landsift.config import EuroSATConfig, cache_folder, digest
from landsift.data.sensors import sensor
from landsift.data.sources.download import ResumingDownloader
from landsift.errors import DataError
from landsift.runtime import locks
from landsift.runtime.notices import once
from landsift.runtime.progress_bar import progress_bar
from landsift.runtime.whole import beside

CLASSES = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
)
PATCHES = 27_000
SIDE, GSD_M = 64, 10.0
"""Height and width of a patch in pixels, and metres per pixel."""
ARCHIVE = "EuroSAT.zip"
MD5 = "c8fa014336c82ac7804f0398fcb19387"
_TOP = "2750"
_UNPACKED = f"eurosat/{_TOP}"
_RECEIPT = ".landsift.json"
ALL_BANDS = {
    "EuroSATallBands.zip": "5ac12b3b2557aa56e1826e981e8e200e",
    "EuroSAT_MS.zip": "091174add3c8e680a49244acf185b9f0",
}
"""Archives of all bands and their published MD5; the first is downloaded, unless `base_url` names the other."""
CHECKSUMS = ("md5:", "sha256:")
"""What begins the word for an archive."""
_TIF = "tif"
_UNPACKED_ALL = f"eurosat/all_bands/{_TIF}"
_TOPS_ALL = (
    "ds/images/remote_sensing/otherDatasets/sentinel-2/tif",
    "ds/images/remote_sensing/otherDatasets/sentinel_2/tif",
    "EuroSAT_MS",
    "EuroSATallBands",
)
"""Of all bands: where the archives have the class folders, and people's copies."""
_MAX_BYTES = {"rgb": 2**30, "all": 2**33}
"""Of an archive, and of what is in it: 94 MB of JPEGs, which do not get smaller, or 2 GB and 2.8 GB unpacked."""
_MAX_MEMBERS = 100_000


def find(config: EuroSATConfig) -> Path | None:
    """The folder of unpacked class folders, or None: of several the one with most of the ten, and in RGB.

    Raises:
        DataError: several nested ones are alike, as the parts of a split are.
    """
    root = _root(config)
    rgb = config.bands == "rgb"
    known = (
        (root / _TOP, root / _UNPACKED, root) if rgb else tuple(root / top for top in (*_TOPS_ALL, _UNPACKED_ALL, ""))
    )
    found = [(_rank(folder, rgb=rgb), folder) for folder in known]
    best, _ = max(found, key=lambda item: item[0])
    if best < (len(CLASSES), True):
        found += [(_rank(folder, rgb=rgb), folder) for folder in _nested(root) if folder not in known]
        best, _ = max(found, key=lambda item: item[0])
    alike = [folder for rank, folder in found if rank == best and any(best)]
    if len(alike) > 1 and alike[0] not in known:
        raise DataError(
            f"{root} holds EuroSAT's classes in several folders: {', '.join(map(str, alike[:4]))}",
            "set data.eurosat.root to one of them, or, if they are the parts of a split, train with --data "
            f"{os.path.commonpath(alike)}",
        )
    return alike[0] if alike else None


def _rank(folder: Path, *, rgb: bool) -> tuple[int, bool]:
    """How many class folders a folder holds, and whether in what is wanted: RGB is never taken for 13 bands."""
    there = _classes_in(folder)
    fits = bool(there) and _is_rgb(next(iter(there.values()))) == rgb
    return (len(there) if rgb or fits else 0), fits


def tell_incomplete(folder: Path, patches: int) -> None:
    """Warn where `folder`, which holds so many patches, is not all of EuroSAT."""
    there = _classes_in(folder)
    if missing := [name for name in CLASSES if name not in there]:
        once(
            logging.WARNING,
            f"{folder} is not EuroSAT: {len(missing)} of its {len(CLASSES)} classes are missing ({', '.join(missing)})",
        )
    elif patches != PATCHES:
        once(logging.WARNING, f"{folder} has {patches:,} patches, EuroSAT {PATCHES:,}")


def ensure(config: EuroSATConfig) -> Path:
    """The folder that holds the class folders, downloaded and unpacked if need be.

    Raises:
        DataError: the root cannot be written, the download fails, its checksum does not match, or the archive
            is damaged. A cut download is kept and resumed by the next call; nothing else is left behind.
    """
    if folder := find(config):
        return folder
    root = _root(config)
    new = not root.exists()
    try:
        if config.root is not None and not root.parent.is_dir():
            raise DataError(f"data.eurosat.root: {root.parent} does not exist", "create it, or set another root")
        root.mkdir(parents=config.root is None, exist_ok=True)
        try:
            lock = locks.Lock(root / ".eurosat.lock")
            with locks.waited_for(lock, f"another process is downloading EuroSAT to {root}; waiting for it"):
                return find(config) or _unpack(_download(config, root), root, config.bands)
        finally:
            if new:
                with suppress(OSError):
                    root.rmdir()  # where nothing was downloaded
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(
            f"cannot write {error.filename or root}: {reason}",
            "set data.eurosat.root to a folder of yours with free space",
        ) from None


def archive_content(config: EuroSATConfig) -> str:
    """What identifies the archive that `config` asks for."""
    published = MD5 if config.bands == "rgb" else ALL_BANDS[_archive(config)]
    return f"sha256:{config.sha256.lower()}" if config.sha256 else f"md5:{published}"


def bands_of(config: EuroSATConfig) -> BandSpec:
    """What the patches hold, as far as it is known before they are there."""
    if config.bands == "rgb":
        return BandSpec.pictures()
    of = sensor("eurosat")
    count = len(of.bands)
    return BandSpec(of.names, "uint16", (of.scale,) * count, (of.offset,) * count, of.nodata, of.units, 10.0)


def _archive(config: EuroSATConfig) -> str:
    """The name of the archive: of all bands the one that the URL names, else the one that lies at the root."""
    if config.bands == "rgb":
        return ARCHIVE
    first, *others = ALL_BANDS
    for name in others:
        if config.base_url.rstrip("/").endswith(f"/{name}") or (_root(config) / name).is_file():
            return name
    return first


def known_content(config: EuroSATConfig, folder: Path) -> str | None:
    """What identifies `folder` if it is, untouched, what was unpacked from the archive that `config` asks for.

    So a fingerprint taken before the download holds after it, and later ones need not read 27,000 files.
    """
    try:
        receipt = json.loads((folder / _RECEIPT).read_text(encoding="utf-8"))
        untouched = receipt["listing"] == _listing(folder)
        return archive_content(config) if untouched and archive_content(config) in receipt["archive"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _nested(root: Path) -> list[Path]:
    """Where class folders may lie beside the usual places: up to two folders deep."""
    outer = _folders_in(root)
    inner = [folder for name in outer for folder in _folders_in(name)]
    return [folder for folder in (*outer, *inner) if folder not in (root / _TOP, root / _UNPACKED)]


def _classes_in(folder: Path) -> dict[str, Path]:
    """The class folders in a folder, by class; some copies have their names in lower case."""
    tried = ((name, folder / written) for name in CLASSES for written in (name.lower(), name))
    return {name: path for name, path in tried if path.is_dir()}


def _folders_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            inside = [
                Path(e.path) for e in entries if e.is_dir() and not e.name.startswith(".") and e.name not in CLASSES
            ]
    except OSError:
        return []
    return sorted(inside)


def _is_rgb(folder: Path) -> bool:
    """Whether the first file of a class folder is no TIFF, in which the 13 bands come."""
    try:
        with os.scandir(folder) as entries:
            first = next((e.name for e in entries if not e.name.startswith(".")), "")
    except OSError:
        return False
    return not first.lower().endswith((".tif", ".tiff"))


def _root(config: EuroSATConfig) -> Path:
    return Path(os.path.abspath(config.root.expanduser())) if config.root else cache_folder() / "downloads"


def _download(config: EuroSATConfig, root: Path) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    name, url = _archive(config), config.base_url.rstrip("/")
    downloader = ResumingDownloader(root / f"{name}.part", _MAX_BYTES[config.bands])
    archives = pooch.create(
        path=root, base_url=url.removesuffix(f"/{name}") + "/", registry={name: archive_content(config)}
    )
    try:
        return Path(archives.fetch(name, downloader=downloader))
    except ValueError as error:  # pooch's word for a hash that does not match
        kind = "SHA-256" if config.sha256 else "MD5"
        given = "data.eurosat.sha256" if config.sha256 else "the published one"
        if "hash" not in str(error):
            raise DataError(f"cannot download {name}: {error}", "check data.eurosat.base_url") from None
        raise DataError(
            f"{archives.get_url(name)}: its {kind} does not match {given}; the download was dropped",
            "run again, use another mirror (data.eurosat.base_url), or set data.eurosat.sha256 to the mirror's",
        ) from None


def _unpack(archive: Path, root: Path, bands: str) -> Path:
    """Unpack whole or not at all: RGB into torchvision's layout."""
    target = root / (_UNPACKED if bands == "rgb" else _UNPACKED_ALL)
    tops = (_TOP,) if bands == "rgb" else _TOPS_ALL
    try:
        with beside(root / "eurosat") as partial, zipfile.ZipFile(archive) as file:
            members = [m for m in file.infolist() if not m.is_dir()]
            _refuse_bomb(members, archive, bands)
            for member in members:
                _refuse_outside(member, archive)
            with progress_bar("Unpacking EuroSAT", len(members)) as advance:
                for member in members:
                    file.extract(member, partial)
                    advance(1)
            top = next((partial / top for top in tops if (partial / top).is_dir()), None)
            if top is None:
                raise DataError(f"{archive} holds no folder {tops[0]}", "is it the original EuroSAT archive?")
            # Not flushed, 27,000 files take minutes: what a power cut took of them, the listing tells.
            receipt = {"archive": _checksums(archive), "listing": _listing(top)}
            (top / _RECEIPT).write_text(json.dumps(receipt) + "\n", encoding="utf-8")
            target.parent.mkdir(exist_ok=True, parents=True)
            top.rename(target)
    except DataError:
        raise
    except Exception as error:  # what zipfile and the decompressors of its four methods meet
        clash = isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError)  # of two members
        if isinstance(error, OSError) and error.errno is not None and not clash:  # the disk's, not the archive's
            raise
        raise DataError(f"{archive} is no zip file that can be unpacked: {error}", "delete it and run again") from error
    return target


def _refuse_bomb(members: list[zipfile.ZipInfo], archive: Path, bands: str) -> None:
    """Refuse what would fill the disk, or write one file twice; zipfile unpacks no more of a member than it claims."""
    size = sum(member.file_size for member in members)
    if size > _MAX_BYTES[bands] or len(members) > _MAX_MEMBERS:
        raise DataError(
            f"{archive} was not unpacked: it claims {len(members):,} files of {size / 2**30:.1f} GiB together, where "
            f"EuroSAT has 27,000 of {'0.1' if bands == 'rgb' else '2.8'}",
            "use the original archive",
        )
    names = Counter(member.filename.lower() for member in members)  # some disks do not tell a from A
    name, count = names.most_common(1)[0] if names else ("", 0)
    if count > 1:
        raise DataError(f"{archive} was not unpacked: it holds {name!r} twice", "use the original archive")


def _refuse_outside(member: zipfile.ZipInfo, archive: Path) -> None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
    if path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0] or is_link:
        raise DataError(
            f"{archive} was not unpacked: its member {member.filename!r} points outside", "use the original archive"
        )


def _checksums(file: Path) -> list[str]:
    with file.open("rb") as stream:
        md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        stream.seek(0)
        return [f"md5:{md5}", f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"]


def _listing(folder: Path) -> str:
    """Digest of the names, sizes and times of the files below `folder`."""
    return digest(sorted(_entries(folder)))


def _entries(folder: Path) -> Iterator[list[Any]]:
    for parent, _, names in os.walk(folder):
        for name in names:
            if name != _RECEIPT:
                file = Path(parent, name)
                status = file.stat()
                yield [file.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns]
