"""Flyte as an engine in this process."""

import asyncio
import gc
import os
import threading

import pytest

from landsift.errors import RunError
from landsift.pipeline.flyte import local


async def interrupted_in_a_step() -> None:
    """One of several tasks is interrupted while its code runs, and the one that waits for them hears of it late."""

    async def one() -> None:
        await asyncio.sleep(0)
        raise KeyboardInterrupt

    # Flyte puts a handler of its own into every loop that it runs in.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: loop.default_exception_handler(context))
    await asyncio.gather(one(), asyncio.sleep(10))


@pytest.mark.parametrize("run", [asyncio.run, local.in_loop])
def test_an_interrupt_within_a_step_shows_no_traceback(run, caplog):
    """As asyncio alone runs it, it does: that is what went wrong when a comparison was interrupted."""
    with pytest.raises(KeyboardInterrupt):
        run(interrupted_in_a_step())
    gc.collect()
    assert ("Task exception was never retrieved" in caplog.text) == (run is asyncio.run)


def test_a_loop_that_waits_is_not_in_the_way_and_runs_on():
    """As a notebook's, which calls a cell; the work is done in the same thread, where signals are heard."""

    async def work() -> tuple[int, str]:
        await asyncio.sleep(0)
        task = asyncio.current_task()
        return threading.get_ident(), task.get_name() if task else ""

    async def cell() -> None:
        mine = asyncio.get_running_loop(), asyncio.current_task()
        thread, name = local.in_loop(work())
        assert thread == threading.get_ident()
        assert name != mine[1].get_name()
        assert (asyncio.get_running_loop(), asyncio.current_task()) == mine
        assert await work() == (threading.get_ident(), mine[1].get_name())

    asyncio.run(cell())


def test_flyte_sees_nothing_that_lies_around_and_is_the_callers_again_afterwards(tmp_path, monkeypatch):
    """A pipe called config.yaml in the working folder would hang it, a file might send the run to a server."""
    import flyte.config
    from flyte import _initialize

    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "config.yaml")
    mine = object()
    monkeypatch.setattr(_initialize, "_init_config", mine)
    with local.private_flyte():
        assert flyte.config.auto().source is None
        asyncio.run(local.initialise(flyte.init.aio))
        assert _initialize._init_config is not mine
    assert _initialize._init_config is mine
    (tmp_path / "config.yaml").unlink()
    (tmp_path / "config.yaml").write_text("admin: {endpoint: dns:///mine.example}")
    assert flyte.config.auto().source is not None


def test_a_process_that_was_forked_is_told_to_be_started_anew():
    """It has none of Flyte's threads, and waited for them for ever."""
    with local.private_flyte():
        pass
    child = os.fork()
    if not child:
        try:
            with local.private_flyte():
                os._exit(1)
        except RunError as error:
            os._exit(0 if "spawn" in error.hint else 2)
        finally:
            os._exit(3)
    assert os.waitpid(child, 0)[1] == 0
