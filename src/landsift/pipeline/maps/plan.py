"""What a cluster is told to map: which scenes, how, and where the maps go; plain values for JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from landsift.config import READING, DataConfig
from landsift.mapping.map_options import MapOptions


@dataclass(frozen=True)
class Plan:
    """What a cluster maps.

    Attributes:
        scenes: addresses of scenes, folders and collections, which the cluster lists when it runs.
        out: address of the folder for the maps.
        run: the run that trained the model, as it was given.
        options: how.
        page: whether to write a page beside each map.
        at_once: scenes that are mapped at the same time.
        gpu: as `cluster.gpu`, of each scene's task.
    """

    scenes: tuple[str, ...]
    out: str
    run: str
    options: MapOptions
    page: bool = True
    at_once: int = 8
    gpu: str = "none"

    def to_json(self) -> str:
        """All of it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote."""
        values = json.loads(text)
        return cls(**values | {"scenes": tuple(values["scenes"]), "options": _options(values["options"])})


def _options(values: Mapping[str, Any]) -> MapOptions:
    """From JSON, with tuples in place of its lists."""
    reading, classes = values["reading"], values["mask_classes"]
    data = DataConfig.model_validate(reading)
    changes = {
        "mask_classes": None if classes is None else tuple(classes),
        "reading": {name: getattr(data, name) for name in READING if name in reading},
    }
    return MapOptions(**{**values, **changes})
