"""What a call from Python may give as configuration and as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from landsift.config import RunConfig
from landsift.errors import DataError

if TYPE_CHECKING:
    from landsift.data.store.patch_store import PatchStore

Config: TypeAlias = RunConfig | Mapping[str, Any] | Path | str | None
"""A configuration, nested values, a YAML file, or None for the defaults."""
Data: TypeAlias = "PatchStore | Path | str | None"
"""A store, what `data.source` may name, or None for what the configuration names."""


def configured(config: Config, data: Data) -> RunConfig:
    """The configuration of a call.

    Raises:
        ConfigError: `config` is something else, its file cannot be read, or a key or value is wrong.
        DataError: `data` is something else.
    """
    chosen = RunConfig.of(config)
    if data is None:
        return chosen
    source = data
    if not isinstance(data, str | Path):
        from landsift.data.store.patch_store import PatchStore

        source = data.folder if isinstance(data, PatchStore) else data
    if not isinstance(source, str | Path):
        raise DataError(
            f"data is a {type(source).__name__}; a store, a path or the name of a source is needed",
            "landsift.PatchStore.from_arrays and from_dataset make stores",
        )
    return chosen.replace(f"data.source={json.dumps(str(source))}")
