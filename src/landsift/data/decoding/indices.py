"""Spectral indices by name, through spyndex (Montero et al. 2023, "A standardized catalogue of spectral indices")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from landsift.errors import ConfigError, nearest

FARTHEST = 1e6
"""An index beyond it is the quotient of almost nothing, and no number to learn from."""


class Index(NamedTuple):
    """A spectral index whose bands are reflectances."""

    name: str
    bands: tuple[str, ...]
    """What its formula calls them, such as N and R."""
    constants: tuple[tuple[str, float], ...]
    formula: str

    @property
    def key(self) -> list[object]:
        """What decides its values."""
        return [self.name, self.formula, self.constants]

    def of(self, reflectance: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float32]:
        """Its values, [H, W], of the bands that it takes; NaN where it divides by nothing.

        Args:
            reflectance: of each band, [H, W]; NaN where there is nothing.
        """
        import spyndex

        with np.errstate(all="ignore"):
            values = spyndex.computeIndex(self.name, {**reflectance, **dict(self.constants)})
        found = np.asarray(values, dtype=np.float32)
        return np.where(np.abs(found) <= FARTHEST, found, np.float32(np.nan))


def indices(names: Sequence[str]) -> tuple[Index, ...]:
    """The indices of these names.

    Raises:
        ConfigError: there is none of a name, or it takes more than reflectances and constants.
    """
    if not names:
        return ()
    import spyndex

    found = []
    for name in names:
        if name not in spyndex.indices:
            same = next((each for each in spyndex.indices if each.lower() == name.lower()), None)
            hint = f"did you mean '{same}'?" if same else nearest(name, spyndex.indices)
            raise ConfigError(
                f"data.indices: there is no spectral index '{name}'", hint or "spyndex.indices lists them"
            )
        entry = spyndex.indices[name]
        bands = tuple(each for each in entry.bands if each in spyndex.bands)
        others = [each for each in entry.bands if each not in spyndex.bands]
        values = {each: spyndex.constants[each].default for each in others if each in spyndex.constants}
        if unknown := [each for each in others if not isinstance(values.get(each), int | float)]:
            raise ConfigError(
                f"data.indices: {name} takes {', '.join(unknown)}, which no band of reflectance is",
                "choose one of bands and constants alone",
            )
        if "T1" in bands or "T2" in bands or "T" in bands:
            raise ConfigError(f"data.indices: {name} takes a temperature", "choose one of reflectance alone")
        constants = tuple((each, float(values[each])) for each in others)
        found.append(Index(name, bands, constants, str(entry.formula)))
    return tuple(found)


def bands_of(letters: Sequence[str]) -> str:
    """What formulas mean by their letters: "N (near-infrared (NIR))"."""
    import spyndex

    return " and ".join(f"{each} ({spyndex.bands[each].long_name})" for each in letters)
