"""How folders go in and out of tasks: on one machine they stay where they are, on a cluster Flyte moves them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flyte.io import Dir


def is_local() -> bool:
    """Whether the running task runs on the user's machine."""
    import flyte

    context = flyte.ctx()
    return context is not None and context.mode == "local"


def path_of(folder: Dir) -> Path:
    """The path behind a `Dir` of a run on one machine."""
    return Path(folder.path.removeprefix("file://"))


async def fetch(folder: Dir) -> Path:
    """The files of `folder` on this machine, downloaded on a cluster."""
    if is_local():
        return path_of(folder)
    return Path(await folder.download(tempfile.mkdtemp(prefix="landsift-")))


def output_folder(name: str = "run") -> Path:
    """A folder, not yet there, for what the running task returns: on one machine beside the run's output."""
    import flyte

    if is_local():
        return Path(flyte.ctx().raw_data_path.path) / name
    return Path(tempfile.mkdtemp(prefix="landsift-")) / name
