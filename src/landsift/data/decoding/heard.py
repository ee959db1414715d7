"""What is found in the numbers of rasters while they are read, to be said once of all of them."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

OFFSET_SEEN = 1000
"""Numbers that all lie above it make one think of Sentinel-2's offset."""
CIRRUS = "B10"
"""Sentinel-2's band in which the ground is hidden by water vapour."""
_ENOUGH = 20  # patches to think so

_log = logging.getLogger("landsift")


class Heard(NamedTuple):
    """What was found in some patches."""

    told: Mapping[str, int] = {}
    """What is to be said, and of how many numbers."""
    read: int = 0
    """How many patches."""
    least: float = math.inf
    """The least number of those whose offset is a guess."""
    sums: tuple[float, ...] | None = None
    """Of each band's mean reflectance, where one is the cirrus band."""

    def plus(self, other: Heard) -> Heard:
        """What was found in the patches of both."""
        sums = self.sums if other.sums is None else other.sums
        if self.sums is not None and other.sums is not None:
            sums = tuple(one + another for one, another in zip(self.sums, other.sums, strict=True))
        told = self.told if not other.told else Counter(self.told) + Counter(other.told)
        return Heard(told, self.read + other.read, min(self.least, other.least), sums)

    def say(self, names: Sequence[str]) -> None:
        """Say it; `names` are the model's or store's bands."""
        for note, count in self.told.items():
            if count:
                _log.warning("%s (%s in all)", note, f"{count:,}")
        if self.read >= _ENOUGH and OFFSET_SEEN <= self.least < math.inf:
            _log.warning(
                "no number of %d patches is below %d: Sentinel-2's offset of 1,000 seems to be in them "
                "(data.reflectance=[0.0001, -0.1])",
                self.read,
                OFFSET_SEEN,
            )
        if self.sums is not None:
            darkest = min(range(len(self.sums)), key=self.sums.__getitem__)
            if darkest != list(names).index(CIRRUS):
                _log.warning(
                    "%s (cirrus) is not the darkest band, as it nearly always is, but %s: the files seem to have "
                    "another order (data.sensor=eurosat has B8A last)",
                    CIRRUS,
                    names[darkest],
                )

    def to_json(self) -> dict[str, Any]:
        """As values of JSON."""
        least = None if math.isinf(self.least) else self.least
        return {"told": dict(self.told), "read": self.read, "least": least, "sums": self.sums}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Heard:
        """From what `to_json` gave."""
        least = math.inf if values["least"] is None else values["least"]
        sums = None if values["sums"] is None else tuple(values["sums"])
        return cls(values["told"], values["read"], least, sums)
