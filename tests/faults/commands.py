"""Run the `landsift` command in processes that can be killed, without waiting for torch to load each time.

Each process is forked from one that has loaded the libraries, and nothing of landsift.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

LIBRARIES = ["torch", "torchvision", "timm", "lightning.pytorch", "sklearn.manifold", "torchmetrics", "pandas"]
SOURCE = Path(__file__).resolve().parents[2] / "src"

_fork = multiprocessing.get_context("forkserver")
_fork.set_forkserver_preload(LIBRARIES)


class Command:
    """A running `landsift` command.

    Args:
        arguments: of `landsift`.
        home: its cache folder.
        log: file that its output is added to.
        before: name of a function `MODULE:FUNCTION` to call in the process before the command, and its argument.
    """

    def __init__(self, arguments: list[str], home: Path, log: Path, before: tuple[str, Any] | None = None) -> None:
        self.log = log
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "FLYTE", "LANDSIFT"))}
        env = kept | {"LANDSIFT_HOME": str(home), "HOME": str(home), "DO_NOT_TRACK": "1"}
        self.process = _fork.Process(target=_main, args=(arguments, env, str(log), before, str(Path.cwd())))
        self.process.start()

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit status, negative where a signal ended it; None if it still runs after so many seconds."""
        self.process.join(seconds)
        return self.process.exitcode

    def kill(self) -> None:
        """SIGKILL, as the kernel does it when memory runs out."""
        self.process.kill()
        self.process.join()

    def said(self) -> str:
        """What it has printed so far."""
        return self.log.read_text() if self.log.is_file() else ""

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid


def _main(arguments: list[str], env: dict[str, str], log: str, before: tuple[str, Any] | None, cwd: str) -> None:
    assert not [name for name in sys.modules if name.split(".")[0] == "landsift"]
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path.insert(0, str(SOURCE))
    sys.argv = ["landsift", *arguments]
    if before is not None:
        module, function = before[0].split(":")
        sys.path.insert(0, str(Path(__file__).parent))
        getattr(__import__(module), function)(before[1])
    from landsift.cli.main import main

    try:
        main()
    except SystemExit as leaving:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(leaving.code if isinstance(leaving.code, int) else 1 if leaving.code else 0)
