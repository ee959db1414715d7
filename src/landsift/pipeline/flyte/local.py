"""Flyte as an engine in this process: its event loop and its silence."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from landsift.errors import RunError
from landsift.runtime import interruption

OF_A_CLUSTER = re.compile(
    r"(FLYTE|FLYTECTL|UCTL|UNION|_F|_U|_UNION)_.*|_RUN_MODE|RUN_NAME|ACTION_NAME|(USER_)?LOG_LEVEL"
)
"""What leads Flyte to a cluster, has it believe that it is on one, or to talk: on one machine none is meant."""


_process: int | None = None
"""The process that Flyte has worked in; one that is forked from it has none of its threads."""


def in_loop(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end in this thread, so that an interrupt reaches the training at once.

    So also inside a notebook, whose own loop runs in this thread and waits for this code: in another thread the
    training would hear of no signal, and go on in hiding after the cell has ended.
    """
    # A factory, because without one the runner takes the place of the loop that the caller has set.
    with (
        interruption.interruptible(),
        _callers_loop_hidden(),
        asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner,
    ):
        try:
            return runner.run(work)
        finally:  # for what the tasks have left; while they run, Flyte has a handler of its own
            runner.get_loop().set_exception_handler(_handle)


@contextlib.contextmanager
def _callers_loop_hidden() -> Iterator[None]:
    """Have asyncio forget that a loop runs in this thread: it would refuse to run another one in it."""
    theirs = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(theirs)


def _handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say nothing of tasks that an interrupt has ended: it has ended the loop as well, and that is told."""
    if not isinstance(context.get("exception"), KeyboardInterrupt | SystemExit):
        loop.default_exception_handler(context)


def quiet_flyte() -> Any:
    """Import Flyte without its telemetry and without its hook that prints tracebacks to standard output."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    hook = sys.excepthook
    import flyte

    sys.excepthook = hook
    return flyte


async def initialise(start: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    """Call one of Flyte's `init` functions, and keep its logging to itself.

    Errors reach people as exceptions, so that Flyte's own lines about them, tracebacks among them, would be noise.
    """
    handlers = logging.getLogger().handlers
    formatters = [handler.formatter for handler in handlers]
    # The folder of the package, because the default, the working folder, would end up in sys.path.
    await start(*arguments, root_dir=Path(__file__).parents[3], log_level=logging.CRITICAL)
    for handler, formatter in zip(handlers, formatters, strict=False):
        handler.setFormatter(formatter)  # Flyte puts run and action before every line of everyone
    framework = logging.getLogger("flyte")
    framework.handlers[:] = [logging.NullHandler()]
    framework.propagate = False


@contextlib.contextmanager
def private_flyte() -> Iterator[Any]:
    """Flyte for a run on this machine, with nothing of what lies around; afterwards it is again as the caller had it.

    Flyte offers no settings for it. It reads the next `config.yaml` in the working folder, be it anyone's, which may
    send the run to a server.

    Raises:
        RunError: this process was forked from one in which Flyte has worked, and would wait for its threads for ever.
    """
    global _process
    if _process not in {None, os.getpid()}:
        raise RunError(
            "this process was forked from one in which landsift has run, and has none of its threads",
            "start it with multiprocessing.get_context('spawn')",
        )
    _process = os.getpid()
    flyte = quiet_flyte()
    from flyte import _initialize
    from flyte.config import _reader

    patched = [
        (_reader, "resolve_config_path", _reader.resolve_config_path),
        (_initialize, "_init_config", _initialize._init_config),
    ]
    _reader.resolve_config_path = lambda: None
    _reader.get_config_file.cache_clear()
    try:
        yield flyte
    finally:
        for place, name, before in patched:
            setattr(place, name, before)
        _reader.get_config_file.cache_clear()
