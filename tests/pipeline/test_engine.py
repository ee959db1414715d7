"""Flyte as an engine in this process."""

import asyncio
import gc

import pytest

from landsift.pipeline import engine


async def interrupted_in_a_step() -> None:
    """One of several tasks is interrupted while its code runs, and the one that waits for them hears of it late."""

    async def one() -> None:
        await asyncio.sleep(0)
        raise KeyboardInterrupt

    # Flyte puts a handler of its own into every loop that it runs in.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: loop.default_exception_handler(context))
    await asyncio.gather(one(), asyncio.sleep(10))


@pytest.mark.parametrize("run", [asyncio.run, engine.in_loop])
def test_an_interrupt_within_a_step_shows_no_traceback(run, caplog):
    """As asyncio alone runs it, it does: that is what went wrong when a comparison was interrupted."""
    with pytest.raises(KeyboardInterrupt):
        run(interrupted_in_a_step())
    gc.collect()
    assert ("Task exception was never retrieved" in caplog.text) == (run is asyncio.run)
