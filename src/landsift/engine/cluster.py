"""Tasks on the workers of a Dask scheduler: one in this process for this machine's, or one at an address."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import json
import logging
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import urlopen

import dask
from distributed import Client, LocalCluster, Security
from distributed.client import FutureCancelledError
from distributed.protocol.pickle import dumps
from distributed.scheduler import KilledWorker

from landsift.engine import checks, worker
from landsift.engine.interface import Engine, EngineLostError, WorkerLostError
from landsift.engine.local_processes import CALM, LocalProcesses
from landsift.engine.options import EngineOptions
from landsift.engine.scratch import scratch
from landsift.errors import RunError, listed

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger("landsift")

CONNECT = 10.0
"""Seconds within which a scheduler must answer."""
STARTS = 60.0
"""Seconds within which a scheduler must have written its file."""
LOOK_EVERY = 0.5
PATIENCE = 10.0
"""Seconds without a worker after which it is said that one is waited for."""
DASHBOARD = "127.0.0.1:8787"
_LOGGERS = ("distributed", "tornado", "asyncio", "bokeh")


class Cluster(Engine):
    """The workers of a Dask scheduler; `start` comes first.

    Args:
        options: where.
        shared: what workers at an address must see.
        notices: the level from which they are shown.
    """

    def __init__(self, options: EngineOptions, shared: list[Path], notices: int) -> None:
        self._options = options
        self._shared = shared
        self._run = f"landsift-{uuid.uuid4().hex[:12]}"
        self._terms = worker.Terms(self._run, {}, (), notices, threads=not options.is_local)
        self._numbers = itertools.count()
        self._closing = contextlib.ExitStack()
        self._client: Client | None = None
        self._processes: LocalProcesses | None = None
        self._slots = options.count if options.is_local else 1
        self._since = time.monotonic()
        self._unfit: set[str] = set()
        self._broken: asyncio.Future[None] | None = None
        self._watching: asyncio.Future[None] | None = None

    @property
    def slots(self) -> int:
        """One for each worker."""
        return max(1, self._slots)

    def start(self, *, wait: bool = True) -> None:
        """Start the workers, or find them, and check that they can be worked with.

        Args:
            wait: until an address has a worker.

        Raises:
            RunError: there is no scheduler, or a worker is of another version or does not see what is shared.
        """
        try:
            self._closing.enter_context(_quiet())
            self._client = self._local() if self._options.is_local else self._connected()
            self._loop = self._client.loop.asyncio_loop
            self._client.subscribe_topic(self._run, self._relay)
            self._client.sync(self._begin)
            if not self._options.is_local:
                self._check_workers(wait=wait)
        except BaseException:
            self.close()
            raise

    def submit(self, function: Callable[[Item], Result], item: Item, name: str) -> Future[Result]:
        """As `Engine.submit`."""
        work = dumps((function, item))
        return asyncio.run_coroutine_threadsafe(self._one(work, name), self._loop)

    def close(self) -> None:
        """End the processes, or leave the scheduler, which then ends what runs for this client."""
        client, self._client = self._client, None
        if self._processes is not None:
            self._processes.end()  # first, at once: the rest may take a moment, and nothing is to write meanwhile
        if client is not None:
            with contextlib.suppress(Exception):
                if self._watching is not None:
                    client.loop.asyncio_loop.call_soon_threadsafe(self._watching.cancel)
                client.close(timeout=2)
        self._closing.close()

    # How it begins

    def _local(self) -> Client:
        # Encrypted, with keys made for this run: else whoever else works on this machine could have code run.
        security = Security.temporary()
        folder = self._closing.enter_context(scratch())
        dashboard = importlib.util.find_spec("bokeh") is not None
        options: dict[str, Any] = {
            "n_workers": 0,
            "host": "127.0.0.1",
            "security": security,
            "silence_logs": logging.CRITICAL,
        }
        with dask.config.set({"temporary-directory": str(folder)} | CALM):
            cluster = LocalCluster(dashboard_address=DASHBOARD if dashboard else "127.0.0.1:0", **options)
        self._closing.enter_context(_ending(cluster))
        client = Client(cluster, set_as_default=False)
        secret = {name: getattr(security, name) for name in ("tls_ca_file", "tls_worker_key", "tls_worker_cert")}
        encrypted = {"require_encryption": True} | secret
        self._processes = LocalProcesses(self._options, cluster.scheduler_address, encrypted, folder)
        if dashboard:
            logger.info("dashboard: %s", cluster.dashboard_link)
        else:
            logger.debug("no dashboard: bokeh is not installed")
        return client

    def _connected(self) -> Client:
        where = self._options.scheduler()
        hint = "start one with dask scheduler, and workers with dask worker"
        began = time.monotonic()
        while (file := where.get("scheduler_file")) and not Path(file).is_file():
            if time.monotonic() - began > STARTS:
                raise RunError(f"no scheduler has written {file} within {STARTS:.0f} s", hint)
            time.sleep(LOOK_EVERY)
        if file:
            where = {"address": _address_in(Path(file))}
        try:
            client = _Client(**where, timeout=CONNECT, set_as_default=False, name="landsift")
        except Exception as error:  # noqa: BLE001 (of many bases: what a socket, TLS or another version's scheduler gives)
            reason = " ".join(str(error).split())[:200]
            raise RunError(f"no scheduler answers at {self._options.address}: {reason}", hint) from None
        if link := _dashboard(client.dashboard_link):
            logger.info("dashboard: %s", link)
        return client

    def _check_workers(self, *, wait: bool) -> None:
        self._terms = worker.Terms(
            self._run, checks.described(), tuple(self._proofs()), self._terms.notices, self._terms.threads
        )
        assert self._client is not None
        while not (found := self._client.run(worker.asked, self._terms, on_error="return")):
            if not wait:
                return
            time.sleep(LOOK_EVERY)
        wrong = {address: _reason(answer) for address, answer in found.items() if answer}
        if wrong:
            address, reason = next(iter(wrong.items()))
            others = f" ({len(wrong)} of {len(found)} workers are such)" if len(wrong) > 1 else ""
            hint = (
                "workers need the same landsift and libraries as this machine, and see the same files at the same paths"
            )
            raise RunError(f"worker {address}: {reason}{others}", hint)
        self._slots = len(found)

    def _proofs(self) -> Iterator[tuple[str, str]]:
        """What is shared, each with what proves to a worker that it sees the same."""
        for path in self._shared:
            if path.is_dir():
                proof = path / f".{self._run}"
                try:
                    proof.touch()
                except OSError as error:
                    raise RunError(f"{path} cannot be written: {error.strerror or error}") from None
                self._closing.callback(proof.unlink, missing_ok=True)
                yield str(path), proof.name
            else:
                yield str(path), str(path.stat().st_size)

    # What goes on in the event loop of Dask's client, which has a thread of its own

    async def _begin(self) -> None:
        self._broken = asyncio.get_running_loop().create_future()
        self._watching = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        """Count the workers, and have the processes of this machine started again if they have ended."""
        said = False
        while True:
            await asyncio.sleep(LOOK_EVERY)
            client = self._client
            if client is None:
                return
            try:
                if self._processes is not None and not self._processes.running:
                    logger.warning(
                        "the worker processes have ended: %s; starting them again", self._processes.last_said()
                    )
                    self._processes.start()
            except Exception as error:  # noqa: BLE001 (whatever it is, nothing can be run)
                self._broken.set_exception(EngineLostError(*error.args[:2]))  # type: ignore[union-attr]
                return
            count = 0
            with contextlib.suppress(Exception):  # a scheduler that does not answer has no worker to give
                count = len(await client.scheduler.ncores())
            if count:
                self._since = time.monotonic()
                said = False
            elif time.monotonic() - self._since > PATIENCE and not said and self._processes is None:
                logger.info("no worker has joined the scheduler at %s; waiting for one", self._options.address)
                said = True
            if self._processes is None:
                self._slots = count

    async def _one(self, work: bytes, name: str) -> Any:
        """One task to its end, tried again where a worker is found to be unfit for it."""
        while True:
            client = self._client
            if client is None:
                raise EngineLostError("the engine is closed")
            place: dict[str, Any] = {}
            if self._unfit:
                fit = [each for each in await client.scheduler.ncores() if each not in self._unfit]
                place = {"workers": fit, "allow_other_workers": True} if fit else {}
            key = (self._run, next(self._numbers))
            task = client.submit(worker.call, self._terms, work, name, key=key, pure=False, **place)
            try:
                return await self._result(task)
            except worker.UnfitError as unfit:
                address, reason = unfit.args
                if address not in self._unfit:
                    self._unfit.add(address)
                    logger.warning("worker %s is left out: %s", address, reason)
                await asyncio.sleep(LOOK_EVERY)
            except KilledWorker as killed:
                raise self._lost(name, killed) from None
            except _CancelledError:
                raise self._gone() from None
            finally:
                task.release()

    async def _result(self, task: Any) -> Any:
        """A task's result, or what has become of all."""
        assert self._broken is not None
        waiting = asyncio.ensure_future(_awaited(task))
        try:
            await asyncio.wait({waiting, self._broken}, return_when=asyncio.FIRST_COMPLETED)
            return self._broken.result() if not waiting.done() else waiting.result()
        finally:
            waiting.cancel()

    def _lost(self, name: str, killed: KilledWorker) -> WorkerLostError:
        times = killed.allowed_failures + 1
        cause = self._processes.cause() if self._processes else ""
        message = f"{name}: the worker that ran it died, {times} times; the last one, {killed.last_worker.address}"
        hint = "did memory run out? fewer workers, each with more of it, or smaller batches may do"
        return WorkerLostError(f"{message}, was {cause}" if cause else message, hint)

    def _gone(self) -> EngineLostError:
        return EngineLostError(
            f"the scheduler at {self._options.address} is lost" if self._processes is None else "the scheduler is lost",
            "start it again, and then the same command: what is finished is kept",
        )

    def _relay(self, event: tuple[float, dict[str, Any]]) -> None:
        """Say here what a worker has said, with the name of its task if that is not in it."""
        name, text = event[1]["name"], event[1]["text"]
        if not text.startswith((f"{name}:", f"{name} ", f"{name}.")) and not text.endswith(f": {name}"):
            text = f"{name}: {text}"
        logger.log(event[1]["level"], "%s", text, extra={worker.RELAYED: True})


class _Client(Client):
    """A client that gives up in time: Dask's own waits for ever for what takes a connection and says nothing.

    It is closed where it cannot connect; Dask's own would wait for that when Python ends, 20 seconds.
    """

    def start(self, **options: Any) -> None:
        """As `Client.start`."""
        try:
            super().start(**options)
        except BaseException:
            with contextlib.suppress(Exception):
                self.close(timeout=2)
            self.status = "closed"
            raise

    async def _start(self, **options: Any) -> Any:
        try:
            return await asyncio.wait_for(super()._start(**options), 1.5 * CONNECT)
        except TimeoutError as error:
            raise OSError(str(error) or "it takes the connection and says nothing, as no scheduler does") from None


class _CancelledError(Exception):
    """Dask has given up a task, because it has lost its scheduler; its own error would cancel who waits."""


async def _awaited(task: Any) -> Any:
    try:
        return await task
    except FutureCancelledError as error:
        raise _CancelledError(str(error)) from None


def _address_in(file: Path) -> str:
    """What a scheduler has written of itself.

    Raises:
        RunError: it is not that.
    """
    for left in reversed(range(10)):
        try:
            return str(json.loads(file.read_text(encoding="utf-8"))["address"])
        except (OSError, ValueError, KeyError, TypeError):  # it may be at it
            if left:
                time.sleep(LOOK_EVERY / 5)
    raise RunError(f"{file} is no file that a scheduler has written", "give what dask scheduler --scheduler-file wrote")


@contextlib.contextmanager
def _ending(cluster: Any) -> Iterator[Any]:
    try:
        yield cluster
    finally:
        with contextlib.suppress(Exception):
            cluster.close(timeout=2)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the log of Dask and what it builds on: what matters of it is raised. Afterwards all is as before."""
    names = [n for n in logging.root.manager.loggerDict if n.split(".")[0] in _LOGGERS]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)


def _dashboard(link: str) -> str:
    """The address of a scheduler's dashboard, if it has one; where bokeh is missing, a page there says so."""
    with contextlib.suppress(OSError, ValueError), urlopen(link, timeout=2) as page:  # noqa: S310 (http)
        return "" if b"needs bokeh" in page.read(100_000) else link
    return ""


def _reason(answer: Any) -> str:
    """What is wrong with a worker, by its answer or by what it has raised instead."""
    if isinstance(answer, ModuleNotFoundError):
        return f"{answer.name or answer} is not installed there"
    if isinstance(answer, Exception):
        return " ".join(f"{type(answer).__name__}: {answer}".split())[:200]
    return listed([str(answer)])
