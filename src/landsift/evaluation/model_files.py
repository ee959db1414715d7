"""How files are read for a trained model, and what they are brought to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from landsift.config import READING, DataConfig, RunConfig
from landsift.data.decoding.wanted import Taken
from landsift.errors import ConfigError
from landsift.models.model_json import ModelDescription


def files_for(model: ModelDescription, said: Mapping[str, Any]) -> tuple[DataConfig, Taken]:
    """How files are read for a model, and what it takes.

    Args:
        model: what model.json says.
        said: of these files: keys of `READING`. The others are as for the training's files.

    Raises:
        ConfigError: there is no such key, or a value is none.
    """
    if unknown := [key for key in said if key not in READING]:
        raise ConfigError(f"reading: there is no key '{unknown[0]}'", f"known: {', '.join(READING)}")
    trained = {key: value for key, value in model.reading.items() if key in READING}
    data = RunConfig.from_dict({"data": {**trained, **said}}).data
    return data, Taken(model.bands, frozenset({*trained} - {*said}), model.reading.get("of"))
