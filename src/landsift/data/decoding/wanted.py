"""What the configuration wants of the bands of files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

from landsift.bands import BandSpec
from landsift.config import READING, DataConfig
from landsift.data.decoding.indices import Index, indices
from landsift.data.sensors import Sensor, sensor
from landsift.extras import needs


class Taken(NamedTuple):
    """What a model takes: files are brought to that."""

    bands: BandSpec
    """What the numbers of its patches mean."""
    assumed: frozenset[str] = frozenset()
    """Keys of `READING` that were said of its training's files and not of those that are read: what these say
    themselves goes before."""
    file_bands: int | None = None
    """Bands of its training's files, where their numbers say which ones are read; None: not known."""


class Wanted(NamedTuple):
    """What the configuration wants of the bands."""

    bands: str | tuple[int | str, ...] | None = None
    sensor: Sensor | None = None
    indices: tuple[Index, ...] = ()
    reflectance: tuple[float, float] | None = None
    taken: Taken | None = None

    @classmethod
    def of(cls, data: DataConfig, taken: Taken | None = None) -> Self:
        """Of the section `data`, for a model or for nothing but a store.

        Raises:
            ConfigError: there is no such sensor or index.
            MissingExtraError: what reads them is not installed.
        """
        if data.indices:
            needs("spyndex", extra="bands", what="data.indices")
        found = cls(
            data.bands,
            None if data.effective_sensor is None else sensor(data.effective_sensor),
            indices(data.indices),
            data.reflectance,
            taken,
        )
        if found.anything:
            needs("rasterio", extra="bands", what="reading bands")
        return found

    @property
    def anything(self) -> bool:
        """Whether it says more than nothing; then rasters of all endings are read."""
        return bool(self.bands or self.sensor or self.indices or self.reflectance)

    @property
    def said(self) -> str:
        """The keys of the configuration that say something, such as "data.bands and data.sensor"."""
        return " and ".join(f"data.{name}" for name in READING if getattr(self, name))

    def assumes(self, key: str) -> bool:
        """Whether a key of `READING` was said of other files than those that are read."""
        return self.taken is not None and key in self.taken.assumed

    def key(self) -> Mapping[str, object]:
        """What decides what is stored, for a fingerprint; empty where nothing is wanted."""
        if not self.anything:
            return {}
        return {
            "bands": self.bands,
            "sensor": self.sensor,
            "indices": [index.key for index in self.indices],
            "reflectance": self.reflectance,
        }
