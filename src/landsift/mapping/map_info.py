"""What is known of a map: its cells, its classes and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift.mapping.classes import NO_DATA, ClassTable
from landsift.version import __version__

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

TAG, FORMAT = "LANDSIFT", 1
"""The tag of a map's file that describes it in JSON, and the version of that description."""
CONFIDENCE_SCALE = 0.01
"""Confidence is stored in per cent."""


@dataclass(frozen=True)
class MapAbout:
    """How a map was made.

    Attributes:
        patch: side of a patch in pixels.
        stride: side of a cell in pixels.
        gsd: ground sampling distance of the pixels, in metres.
        when: acquisition of the scene; None: not known.
        scenes: names of what was mapped.
        model: fingerprint of its weights.
        run: the run that trained it.
        tta: test-time augmentation that the probabilities have, as `evaluation.tta`; None: not known.
        dense: whether the first layers passed over the scene once, for all patches.
        agreement: of dense mode with patch by patch, on patches of the scene: how many, share that got the same class,
            largest and mean difference of probabilities; None: it was not measured.
        smoothing: words about the smoothing of probabilities; None: none.
        mask: the file of masked pixels, such as clouds.
        min_valid: share of a patch's pixels that must be valid for a class.
        key: hash of the model, the scene's files and all options: a map of the same key is the same map.
        landsift: version.
    """

    patch: int | None = None
    stride: int | None = None
    gsd: float | None = None
    when: datetime | None = None
    scenes: tuple[str, ...] = ()
    model: str | None = None
    run: str | None = None
    tta: str | None = None
    dense: bool = False
    agreement: dict[str, Any] | None = None
    smoothing: str | None = None
    mask: str | None = None
    min_valid: float | None = None
    key: str | None = None
    landsift: str = __version__

    def to_json(self) -> dict[str, Any]:
        """As the tag holds it."""
        return asdict(self) | {"when": self.when.isoformat() if self.when else None, "scenes": list(self.scenes)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MapAbout:
        """What `to_json` described; keys of later versions are passed over."""
        known = {each.name: values[each.name] for each in fields(cls) if each.name in values}
        when = known.get("when")
        return cls(
            **known
            | {"when": datetime.fromisoformat(when) if when else None, "scenes": tuple(known.get("scenes") or ())}
        )


@dataclass(frozen=True)
class MapInfo:
    """What a file holds that is a map.

    Attributes:
        path: of the file.
        grid: its cells.
        classes: their codes are those of `read_classes`, 1 to K.
        about: how it was made; hardly anything is known of maps of other tools.
        values: the file's value of each class, K; those of landsift's maps are the codes.
        no_data: the file's value of cells without a class; None: no value stands for it.
        confidence_band: its number; None: there is none.
        own: whether landsift wrote it.
        hides: the number of the alpha band that hides cells, which have no class then; 0: a mask does; None: nothing.
    """

    path: Path
    grid: GeoBox
    classes: ClassTable
    about: MapAbout = field(default_factory=MapAbout)
    values: tuple[int, ...] = ()
    no_data: int | None = NO_DATA
    confidence_band: int | None = None
    own: bool = True
    hides: int | None = None

    @property
    def stride(self) -> int | None:
        """Side of a cell in pixels of the scene."""
        return self.about.stride

    @property
    def patch(self) -> int | None:
        """Side of a patch in pixels of the scene."""
        return self.about.patch

    @property
    def gsd(self) -> float | None:
        """Ground sampling distance of the scene's pixels, in metres."""
        return self.about.gsd

    @property
    def when(self) -> datetime | None:
        """Acquisition of the scene."""
        return self.about.when

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names of what was mapped."""
        return self.about.scenes

    @property
    def model(self) -> str | None:
        """Fingerprint of the model's weights."""
        return self.about.model
