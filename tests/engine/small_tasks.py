"""Functions for an engine to run, as a module has them."""

import logging
import os
import signal
import time
from pathlib import Path

from landsift.errors import DataError


def square(number: int) -> int:
    return number * number


def process(_: object) -> int:
    return os.getpid()


def environment(name: str) -> str | None:
    return os.environ.get(name)


def refused(number: int) -> None:
    raise DataError(f"patch {number} is damaged", "leave it out")


def crashed(number: int) -> None:
    raise ZeroDivisionError(f"of {number}")


def notes(text: str) -> None:
    logging.getLogger("landsift").warning("%s is odd", text)


def killed_once(flag: str) -> int:
    if not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def always_killed(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ticks(file: str) -> None:
    """Write on and on, as a training does."""
    while True:
        with open(file, "a") as out:
            out.write(".")
        time.sleep(0.1)


def fills_memory(mebibytes: int) -> int:
    held = bytearray(os.urandom(2**20)) * mebibytes
    time.sleep(20)
    return len(held)


def torch_threads(_: object) -> int:
    import torch

    return torch.get_num_threads()
