"""Where tasks run, in how many processes, and with what each of them computes."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from landsift.errors import ConfigError
from landsift.runtime.threads import cores

LOCAL = "local"
_SCHEMES = ("tcp", "tls")
_GPUS = Path("/proc/driver/nvidia/gpus")
CORES_EACH = 4
"""Cores for a process where nobody says how many processes or threads."""


@dataclass(frozen=True)
class EngineOptions:
    """Where tasks run.

    Attributes:
        address: "local", the address of a Dask scheduler such as tcp://host:8786, or the file that it has written.
        workers: processes of this machine; None: one for every four cores, or for every `threads`.
        threads: that each of them computes in; None: its share of the cores.
        gpus: of this machine, for each of them alone; None: all see all.

    Raises:
        ConfigError: a value cannot be used, or would change nothing.
    """

    address: str = LOCAL
    workers: int | None = None
    threads: int | None = None
    gpus: int | None = None

    def __post_init__(self) -> None:
        for name in ("workers", "threads", "gpus"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} is {value}", "a whole number is needed, at least one")
            if not self.is_local:
                message = f"{name} changes nothing with an engine at {self.address}"
                raise ConfigError(
                    message, "workers there have the processes, threads and GPUs that they were started with"
                )
        if not self.is_local:
            self.scheduler()
        elif self.gpus is not None:
            self.devices()

    @property
    def is_local(self) -> bool:
        """Whether the processes are this machine's, and started for the work."""
        return self.address == LOCAL

    @property
    def count(self) -> int:
        """Processes of this machine."""
        return self.workers or max(1, cores() // (self.threads or CORES_EACH))

    @property
    def in_process(self) -> bool:
        """Whether this very process is enough."""
        return self.is_local and self.count == 1

    def scheduler(self) -> dict[str, str]:
        """How a client finds the scheduler: its `address`, or its `scheduler_file`.

        Raises:
            ConfigError: the address is none.
        """
        scheme, separator, rest = self.address.partition("://")
        host, colon, port = (rest if separator else self.address).rpartition(":")
        if (not separator or scheme in _SCHEMES) and host and colon and port.isdecimal() and 0 < int(port) < 65536:
            return {"address": self.address if separator else f"tcp://{self.address}"}
        file = Path(self.address).expanduser()
        # One that is not there yet is waited for: a batch job starts its scheduler and the command together.
        if not separator and (file.is_file() or (file.suffix == ".json" and file.parent.is_dir())):
            return {"scheduler_file": os.path.abspath(file)}
        hint = "give local, an address such as tcp://HOST:8786, or the file that dask scheduler --scheduler-file wrote"
        raise ConfigError(f"the engine {self.address!r} is no address and no file", hint)

    def devices(self) -> list[str]:
        """The GPUs of each process, as CUDA_VISIBLE_DEVICES names them; nothing where all see all.

        Raises:
            ConfigError: there are too few.
        """
        if self.gpus is None:
            return []
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        found = [n.strip() for n in named.split(",") if n.strip()] if named is not None else _gpus()
        asked = self.gpus * self.count
        if asked > len(found):
            message = f"{self.count} workers with gpus={self.gpus} each need {asked} GPUs, and there are {len(found)}"
            raise ConfigError(message, "ask for fewer workers, or for fewer GPUs each")
        return [",".join(found[k * self.gpus : (k + 1) * self.gpus]) for k in range(self.count)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def _gpus() -> list[str]:
    """Numbers of this machine's GPUs, by its driver: torch need not be loaded for it."""
    return [str(number) for number, _ in enumerate(_GPUS.iterdir())] if _GPUS.is_dir() else []
