"""One progress bar for the slow steps of the data room: on stderr, gone when done, silent where nobody looks.

It is drawn by rich, which comes with landsift[train]; without it there is no bar. Work of hours says how far it is even
where nobody looks.
"""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from landsift.runtime.notices import watched

logger = logging.getLogger("landsift")

SAY_EVERY = 60.0
"""Seconds between two lines about work of hours."""


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


@contextmanager
def long_progress(text: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """The same for work of hours, with steps per second; where standard error is no terminal, a line now and then.

    Args:
        text: What is being done.
        total: Number of steps.
        done: of them, those that were done before.
    """
    if watched() and importlib.util.find_spec("rich") is not None:
        from rich import progress
        from rich.console import Console

        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeRemainingColumn(),
        )
        bar = progress.Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=SAY_EVERY)
        with bar:
            task = bar.add_task(text, total=total, completed=done, rate="")

            def advance(steps: int) -> None:
                speed = bar.tasks[0].speed
                bar.update(task, advance=steps, rate=f"{speed:,.0f}/s" if speed else "")

            yield advance
        return
    begun = said = time.monotonic()
    now_done = done

    def count(steps: int) -> None:
        nonlocal now_done, said
        now_done += steps
        now = time.monotonic()
        if now - said >= SAY_EVERY and now_done > done:
            said = now
            rate = (now_done - done) / (now - begun)
            left = duration((total - now_done) / rate)
            logger.info(
                "%s: %s of %s, %s per second, %s left", text, f"{now_done:,}", f"{total:,}", f"{rate:,.0f}", left
            )

    yield count


def duration(seconds: float) -> str:
    """In words, to the minute: "2 h 05 min", "12 min", "less than a minute"."""
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min" if minutes else "less than a minute"
