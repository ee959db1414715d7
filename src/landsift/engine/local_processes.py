"""Starting the workers of this machine, and ending them."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from landsift.engine import nannies
from landsift.engine.options import EngineOptions
from landsift.errors import RunError
from landsift.runtime import threads
from landsift.runtime.surroundings import environment_for

CALM = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
}
"""Of Dask's configuration: by default each process looks a hundred times a second at what its threads are doing, which
takes time from the small steps of a training."""
_STARTS = 4
"""How often the process that watches the workers is started."""
_LONGEST = 60
"""Bytes of a folder's path in which processes can have their sockets, whose paths have 107 at most."""
_CAUSE = re.compile(r"was killed by signal \d+|memory budget|exited with (code|status) \d+")


class LocalProcesses:
    """Workers of this machine, each one process, and the one that watches them.

    Args:
        options: how many, with what.
        scheduler: its address.
        security: keyword arguments of Dask's `Security`, for this machine alone.
        folder: for files that are of use only while they run.
    """

    def __init__(self, options: EngineOptions, scheduler: str, security: dict[str, Any], folder: Path) -> None:
        self._log = folder / "log"
        self._environment = environment_for(options.count)
        if options.threads:
            self._environment[threads.THREADS] = str(options.threads)
        self._environment |= _temporary_files(folder)
        asked = {"scheduler": scheduler, "security": security, "count": options.count, "devices": options.devices()}
        asked |= {"config": CALM}
        self._asked = json.dumps(asked | {"folder": str(folder)}).encode()
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._ending = threading.Lock()
        self._ended = False
        self.start()

    def start(self) -> None:
        """Start them, again if need be.

        Raises:
            RunError: they have ended before, time and again.
        """
        with self._ending:
            if self._ended:
                return
            if self._starts == _STARTS:
                raise RunError(f"the worker processes ended {_STARTS} times", self.last_said())
            self._starts += 1
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", nannies.__name__],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=self._environment,
                    start_new_session=True,  # an interrupt is this process's to handle
                )
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):  # it has ended already, which is seen soon
                self._process.stdin.write(self._asked)
                self._process.stdin.close()

    @property
    def running(self) -> bool:
        """Whether the process that watches the workers lives."""
        return self._process is not None and self._process.poll() is None

    def last_said(self) -> str:
        """The last line that a process has written."""
        return next((line.strip()[:300] for line in reversed(self._lines()) if line.strip()), "")

    def cause(self) -> str:
        """Why the last worker that died did; "" where nothing is known."""
        for line in reversed(self._lines()):
            if _CAUSE.search(line):
                text = line.rpartition(" - ")[2].strip()[:200]
                found = re.search(r"killed by signal (\d+)", text)
                return f"ended by {signal.Signals(int(found[1])).name}" if found else text
        return ""

    def end(self) -> None:
        """End all processes, whatever they do."""
        with self._ending:
            if self._ended:
                return
            self._ended = True
            if self._process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def _lines(self) -> list[str]:
        with contextlib.suppress(OSError):
            return self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        return []


def _temporary_files(folder: Path) -> dict[str, str]:
    """Have temporary files of the workers in a folder that is deleted: they are ended without time to delete theirs."""
    if len(os.fsencode(folder)) > _LONGEST:
        return {}
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid_{os.getuid()}"
    kept = "TORCHINDUCTOR_CACHE_DIR"  # compiled networks are of use to the next command, at torch's own place
    usual = Path(tempfile.gettempdir(), f"torchinductor_{user}")
    return {"TMPDIR": str(folder), kept: os.environ.get(kept) or str(usual)}
