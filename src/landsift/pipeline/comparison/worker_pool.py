"""A bounded number of processes on this machine that train the cells of a comparison."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import IO

from landsift import errors
from landsift.config import RunConfig
from landsift.models import own_networks
from landsift.pipeline.comparison import cell
from landsift.pipeline.comparison import worker_process as program
from landsift.pipeline.flyte.failures import ProcessLostError
from landsift.runtime.surroundings import environment_for
from landsift.runtime.threads import cores

Train = Callable[[RunConfig, Path, Path, str, str], Awaitable[None]]
"""Trains; the arguments are those of `cell.train_here`."""
_pool: ContextVar[_Pool | None] = ContextVar("_pool", default=None)


def suggested() -> int:
    """How many processes train at once where nobody says: one for every four cores."""
    return max(1, cores() // 4)


@contextlib.asynccontextmanager
async def training(count: int, started: Callable[[str], None]) -> AsyncIterator[None]:
    """While this lasts, the cells of this task and of those that it starts train in processes, which share the cores.

    Args:
        count: processes.
        started: called with a cell's label when its training begins.
    """
    pool = _Pool(count, started)
    token = _pool.set(pool)
    try:
        yield
    finally:
        _pool.reset(token)
        await pool.close()


@contextlib.asynccontextmanager
async def process_for(label: str) -> AsyncIterator[Train]:
    """What trains the cell of this label, as soon as there is a process for it; without processes, this one does."""
    pool = _pool.get()
    if pool is None:
        yield _train_here
        return
    async with pool.process(label) as train:
        yield train


async def _train_here(config: RunConfig, store: Path, folder: Path, label: str, group: str) -> None:
    cell.train_here(config, store, folder, label, group)


class _Pool:
    def __init__(self, count: int, started: Callable[[str], None]) -> None:
        self._count = count
        self._started = started
        self._workers: list[_Worker] = []
        self._free: asyncio.Queue[_Worker | None] = asyncio.Queue()
        for _ in range(count):
            self._free.put_nowait(None)

    @contextlib.asynccontextmanager
    async def process(self, label: str) -> AsyncIterator[Train]:
        """A free process, started if need be; one that did not finish its training is not used again."""
        worker = await self._free.get()
        try:
            if worker is None:
                worker = await _Worker.start(self._count)
                self._workers.append(worker)
            self._started(label)
            yield worker.train
        finally:
            if worker is not None and not worker.ready:
                self._workers.remove(worker)
                worker = None
            self._free.put_nowait(worker)

    async def close(self) -> None:
        for each in self._workers:
            await each.close()


class _Worker:
    """A process that trains one cell at a time."""

    def __init__(self, process: asyncio.subprocess.Process, output: IO[bytes]) -> None:
        self._process = process
        self._output = output
        self.ready = True

    @classmethod
    async def start(cls, count: int) -> _Worker:
        output = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", program.__name__),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=output,
            env=environment_for(count),
            start_new_session=True,  # an interrupt is this process's to handle
        )
        return cls(process, output)

    async def train(self, config: RunConfig, store: Path, folder: Path, label: str, group: str) -> None:
        """Have one cell trained; raises what went wrong.

        Where it is not trained to its end, nothing writes to `folder` any more.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        config = own_networks.by_file(config)
        asked = {"config": config.model_dump_json(), "store": str(store), "folder": str(folder)}
        asked |= {"label": label, "group": group}
        self.ready = False
        try:
            with contextlib.suppress(ConnectionError):
                self._process.stdin.write(json.dumps(asked).encode() + b"\n")
                await self._process.stdin.drain()
            answer = await self._process.stdout.readline()
            if not answer:
                raise await self._lost()
            self.ready = True
        finally:
            if not self.ready:
                await self.close()
        if error := json.loads(answer)["error"]:
            raise errors.from_record(error, "the training")

    async def _lost(self) -> ProcessLostError:
        status = await self._process.wait()
        if status < 0:
            hint = "did memory run out? fewer --workers or a smaller training.batch_size need less"
            return ProcessLostError(f"the trial's process was ended by {signal.Signals(-status).name}", hint)
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").split("\n")
        said = next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
        return ProcessLostError(f"the trial's process exited with {status}", said)

    async def close(self) -> None:
        """End the process, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        self._output.close()
