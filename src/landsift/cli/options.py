"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="A YAML configuration.", show_default=False)
]
RemoteOption = Annotated[
    Path | None,
    typer.Option("--remote", metavar="FLYTE_CONFIG", help="Submit to the Flyte cluster of this configuration."),
]
