"""Let the processes of a training in two fall away in every way, and time how long the command takes to say so.

    python tests/faults/dying_ranks.py [--json FILE]

Each case starts `landsift run` with `training.devices=2`, waits until it has a checkpoint, does something to one of its
processes, and measures the seconds until the command has ended. Then the same command must go on and end with the
bits of one that nothing happened to. The exit status is 1 if it does not, or if one took longer than a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from commands import Command
from kills import SETTINGS, differences, left_behind

TRAINED = (
    *SETTINGS,
    "strategy=[{epochs: 6, lr_head: 2.0e-3, lr_backbone: 2.0e-3, blocks: all}]",
    "training.batch_size=4",
    "training.devices=2",
    "training.ema=0.9",
    "tracking.tsne_every=0",
)
MOST = 60.0
"""Seconds within which the command must have ended."""


def ranks(command: Command) -> list[int]:
    """The processes that train, by rank."""
    found = {}
    for task in Path(f"/proc/{command.pid}/task").iterdir():
        for pid in (task / "children").read_text().split():
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            numbers = [int(v[5:]) for v in environment if v.startswith(b"RANK=")]
            found |= {n: int(pid) for n in numbers}
    return [found[n] for n in sorted(found)]


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait for long until somebody asks how."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _kill(number: int, with_signal: signal.Signals) -> Callable[[Command], None]:
    return lambda command: os.kill(ranks(command)[number], with_signal)


CASES: dict[str, tuple[Callable[[Command], None], int, str]] = {
    "rank 1 is killed": (_kill(1, signal.SIGKILL), 1, "training process 1 of 2 was ended by SIGKILL"),
    "rank 0, which writes, is killed": (_kill(0, signal.SIGKILL), 1, "training process 0 of 2 was ended by SIGKILL"),
    "rank 1 gets SIGTERM": (_kill(1, signal.SIGTERM), 143, "ended by SIGTERM"),
    "the command gets SIGTERM": (lambda c: os.kill(c.pid, signal.SIGTERM), 143, "ended by SIGTERM"),
    "the command gets SIGINT": (lambda c: os.kill(c.pid, signal.SIGINT), 130, "interrupted"),
    "the command is killed": (lambda c: os.kill(c.pid, signal.SIGKILL), -signal.SIGKILL, ""),
    "rank 1 crashes": (_kill(1, signal.SIGSEGV), 1, "training process 1 of 2 was ended by SIGSEGV"),
}
"""What happens, the exit status that is due, and what is said last."""


def arguments(out: Path) -> list[str]:
    """The command line."""
    return ["run", "--out", str(out), *(part for setting in TRAINED for part in ("--set", setting))]


def uninterrupted(folder: Path) -> Path:
    """The output of the command when nothing happens."""
    folder.mkdir(parents=True)
    status = Command(arguments(folder / "out"), folder / "home", folder / "log").wait(120)
    assert status == 0, (folder / "log").read_text()
    return folder / "out"


def one(name: str, folder: Path, whole: Path) -> tuple[float, list[str]]:
    """Let something happen; the seconds until the command and all its processes have ended, and what was wrong then."""
    happens, due, said = CASES[name]
    folder.mkdir(parents=True)
    command = Command(arguments(folder / "out"), folder / "home", folder / "log")
    while not list((folder / "home").glob("unfinished/*/checkpoints/last.ckpt")):
        assert command.wait(0.02) is None, (folder / "log").read_text()
    processes, began = ranks(command), time.monotonic()
    happens(command)
    status = command.wait(2 * MOST)
    while any(map(lives, processes)) and time.monotonic() - began < 2 * MOST:
        time.sleep(0.01)
    seconds = time.monotonic() - began
    wrong = [] if status == due else [f"status {status}, not {due}"]
    log = (folder / "log").read_text()
    wrong += [f"{said!r} is not said"] * (said not in log)
    wrong += ["a traceback is shown"] * ("Traceback" in log)
    wrong += [f"{seconds:.0f} s"] * (seconds > MOST)
    wrong += ["an output is there"] * (folder / "out").exists()
    again = Command(arguments(folder / "out"), folder / "home", folder / "log").wait(120)
    if again != 0:
        return seconds, [*wrong, f"the second attempt ended with {again}"]
    wrong += ["it began again"] * ("resuming an interrupted training" not in (folder / "log").read_text())
    return seconds, wrong + differences(folder / "out", whole) + left_behind(folder)


def main() -> int:
    """Run all cases and print what became of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, help="a file to write the seconds to")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="landsift-ranks-"))
    whole, found, bad = uninterrupted(folder / "whole"), {}, 0
    for number, name in enumerate(CASES):
        seconds, wrong = one(name, folder / str(number), whole)
        found[name] = {"seconds": round(seconds, 2), "wrong": wrong}
        bad += bool(wrong)
        print(f"{seconds:6.2f} s  {name}: {'; '.join(wrong) or 'bit-identical when it resumes'}", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1))
    if not bad:
        shutil.rmtree(folder)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
