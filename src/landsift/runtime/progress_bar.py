"""One progress bar for the slow steps of the data room: on stderr, gone when done, silent where nobody looks.

It is drawn by rich, which comes with landsift[train]; without it there is no bar.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(text: str, total: int | None, *, in_bytes: bool = False) -> Iterator[Callable[[int], None]]:
    """Show `text` and a bar while the block runs; call what it yields with the number of steps done since.

    Args:
        text: What is being done.
        total: Number of steps, or of bytes; None where unknown.
        in_bytes: Steps are bytes of a download.
    """
    if importlib.util.find_spec("rich") is None:
        yield lambda steps: None
        return
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    counts = (
        [progress.DownloadColumn(), progress.TransferSpeedColumn()] if in_bytes else [progress.MofNCompleteColumn()]
    )
    bar = progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        *counts,
        progress.TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(text, total=total)
        yield lambda steps: bar.advance(task, steps)
