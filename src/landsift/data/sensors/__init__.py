"""Sensors as data: what the bands of their files are called, how they are scaled and ordered (`sensors.yaml`)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import yaml

from landsift.errors import ConfigError, nearest


class Band(NamedTuple):
    """A band of a sensor."""

    name: str
    aliases: tuple[str, ...]
    """In `plain` form, its own name among them."""
    wavelength: float | None
    """Central, in nanometres."""
    gsd: float | None
    """Native ground sampling distance in metres."""
    letter: str | None
    """What formulas of spectral indices call it."""


class Sensor(NamedTuple):
    """What files of a sensor hold, where they do not say otherwise."""

    name: str
    bands: tuple[Band, ...]
    """In the order of its files."""
    dtypes: tuple[str, ...]
    """Of files whose numbers are scaled so."""
    scale: float
    offset: float
    """Of Sentinel-2 that of processing baselines before 04.00."""
    by_baseline: bool
    """Whether the offset is 0.1 less since processing baseline 04.00."""
    units: str
    nodata: float | None

    @property
    def names(self) -> tuple[str, ...]:
        """Of its bands."""
        return tuple(band.name for band in self.bands)

    def find(self, name: str) -> Band | None:
        """The band of a name or one of its other names."""
        return find(self.bands, name)


def sensor(name: str) -> Sensor:
    """The sensor of a name.

    Raises:
        ConfigError: there is none.
    """
    entry = _tables()["sensors"].get(name)
    if entry is None:
        known = names()
        hint = nearest(name.lower().replace("-", ""), known)
        others = f"known: {', '.join(known)}; for others say what each band is, data.bands=[blue=1, green=2, ...]"
        raise ConfigError(f"data.sensor: there is no sensor '{name}'", hint or others)
    return _sensor(name, entry)


def names() -> tuple[str, ...]:
    """Of all sensors."""
    return tuple(_tables()["sensors"])


def common() -> tuple[Band, ...]:
    """Bands by the names that they have whatever the sensor."""
    return _bands(_tables()["common"])


def find(bands: Iterable[Band], name: str) -> Band | None:
    """The band of a name or one of its other names."""
    wanted = plain(name)
    return next((band for band in bands if wanted in band.aliases), None)


def red_green_blue(names: Sequence[str]) -> tuple[int | None, int | None, int | None]:
    """Which of some bands are red, green and blue, by their names: positions from 0; None where there is none.

    A name such as B4 means another band for another sensor: the first that knows most of the names decides.
    """
    tables = [*(sensor(name).bands for name in _tables()["sensors"]), common()]
    known = max(tables, key=lambda bands: sum(find(bands, name) is not None for name in names))
    letters = [band.letter if (band := find(known, name)) else None for name in names]
    red, green, blue = (letters.index(letter) if letter in letters else None for letter in "RGB")
    return red, green, blue


def plain(name: str) -> str:
    """A name without what people write in different ways: case, spaces, - and _."""
    return re.sub(r"[\s_-]+", "", name.lower())


@functools.cache
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = yaml.safe_load((files("landsift.data.sensors") / "sensors.yaml").read_text("utf-8"))
    return tables


def _sensor(name: str, entry: Mapping[str, Any]) -> Sensor:
    every = {band.name: band for band in _bands(entry["bands"])}
    order = [band for band in entry.get("order", every) if band not in entry.get("without", ())]
    by_baseline = entry["offset"] == "baseline"
    return Sensor(
        name,
        tuple(every[band] for band in order),
        tuple(entry["dtypes"]),
        float(entry["scale"]),
        0.0 if by_baseline else float(entry["offset"]),
        by_baseline,
        entry["units"],
        entry.get("nodata"),
    )


def _bands(entries: Mapping[str, Mapping[str, Any]]) -> tuple[Band, ...]:
    return tuple(
        Band(
            name,
            tuple(plain(each) for each in (name, *entry["aka"])),
            entry.get("nm"),
            entry.get("gsd"),
            entry.get("index"),
        )
        for name, entry in entries.items()
    )
