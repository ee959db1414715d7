"""Predictions whose processes are killed at random moments: whether the table is that of an undisturbed command.

    python benchmarks/random_kills.py RUN PATCHES --workdir FOLDER [--kills 20] [--seed 0] [--count 4096] [--json FILE]

RUN is a trained run, PATCHES a folder with image files; the bytes of --count of them are predicted, one half as members
of a tar archive, the other as single files. `landsift predict` writes a folder with `--workers 2`, and a CSV in one
process, in turn. After a time drawn from that of an undisturbed command one of its processes gets SIGKILL: the command
itself, a worker, or the process that watches the workers, drawn too. After a kill of the command the same command is
started again; after five kills it is left to end. Then the table must be that of an undisturbed command: the same rows,
none twice, the same classes and probabilities; and no process, no hidden file and no temporary folder may be left. A
part has 256 rows; landsift's own has 16 times as many. The exit status is 1 if anything differs.
"""

import argparse
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

import pandas as pd
import psutil

import common
from streaming import as_both

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "faults"))
from commands import Command

MODES = [("table.csv", 1), ("table", 2)]
"""What is written, and by how many processes."""
MOST = 5
"""Kills until a table is there."""
PROGRAMS = {"spawn_main": "a worker", "landsift.engine.nannies": "the watcher of the workers"}
GIVEN_UP = ("the worker that ran it died, 4 times", "the worker processes ended 4 times")
"""What the command says where too much was killed: the same command goes on from there."""


def small_parts(chunks: int) -> None:
    """Called in the process of a command."""
    from landsift.evaluation import stream

    stream.CHUNKS = chunks


class Kills:
    """Runs commands and kills them."""

    def __init__(self, arguments: argparse.Namespace, work: Path) -> None:
        self.run, self.work = arguments.run.absolute(), work
        self.given = as_both(work, arguments.count, arguments.patches)
        for name in ("home", "tmp"):
            (work / name).mkdir()
        self.parts = -(-arguments.count // 256)
        self.dice = random.Random(arguments.seed)
        self.kills: Counter[tuple[str, str]] = Counter()
        self.given_up = 0
        self.seen: set[psutil.Process] = set()
        os.environ["OMP_NUM_THREADS"] = "1"
        forkserver.ensure_running()  # it starts all commands; its own temporary files are not looked at
        os.environ["TMPDIR"] = str(work / "tmp")
        self.tables: dict[int, pd.DataFrame] = {}
        self.seconds: dict[int, float] = {}
        self.before: set[Path] = set()
        for kind, workers in MODES:
            begun, out = time.monotonic(), work / f"whole-{workers}" / kind
            if (command := self.start(out, workers)).wait() != 0:
                sys.exit(command.said())
            self.seconds[workers] = time.monotonic() - begun
            self.tables[workers] = read(out)
            self.before = self.before or self.temporary()  # such as torch's cache

    def start(self, out: Path, workers: int) -> Command:
        out.parent.mkdir(exist_ok=True)
        options = ["predict", str(self.run), *self.given, "--out", str(out), "--workers", str(workers)]
        return Command(options, self.work / "home", out.parent / "log", ("random_kills:small_parts", 1))

    def one(self, number: int, most: int) -> list[str]:
        """Kill a command now and then until there is a table; what is wrong with it."""
        kind, workers = MODES[number % len(MODES)]
        out, kills = self.work / f"killed-{number}" / kind, 0
        command, begun = self.start(out, workers), time.monotonic()
        while True:
            moment = None if kills == most else self.dice.uniform(0, 0.6 * self.seconds[workers])
            status = command.wait(moment)
            if status == 0:
                if not kills:  # another load than at the start: aim better
                    self.seconds[workers] = time.monotonic() - begun
                break
            if status is not None:
                last = command.said().splitlines()[-4:]
                if not any(each in line for each in GIVEN_UP for line in last):
                    return [f"ended with {status}: {last}"]
                self.given_up += 1
                command = self.start(out, workers)
                continue
            victims = self.processes(command)
            who = self.dice.choice(sorted(victims))
            chosen, kills = self.dice.choice(victims[who]), kills + 1
            self.kills[who, self.phase(out)] += 1
            chosen.kill()
            if who == "the command":
                command.wait()
                command = self.start(out, workers)
        found = self.wrong(out, workers)
        print(f"{out}: {kills} kills, {'; '.join(found) or 'the same table'}", file=sys.stderr, flush=True)
        return found

    def processes(self, command: Command) -> dict[str, list[psutil.Process]]:
        """The processes of a command, by what they are."""
        found = {"the command": [psutil.Process(command.pid)]}
        for process in found["the command"][0].children(recursive=True):
            try:
                line = " ".join(process.cmdline())
            except psutil.Error:
                continue
            self.seen.add(process)
            for program, what in PROGRAMS.items():
                if program in line:
                    found.setdefault(what, []).append(process)
        return found

    def phase(self, out: Path) -> str:
        """How far a prediction is."""
        place = out if out.suffix == "" else out.with_name(f".{out.name}.parts")
        done = len(list(place.glob("part-*")))
        if list(place.glob(".part-*")):
            return "while a part is written"
        names = ("before the first part", "between the first and the last part", "at the end")
        return names[0 if done == 0 else 1 if done < self.parts else 2]

    def temporary(self) -> set[Path]:
        """Temporary files and folders that are there."""
        return set((self.work / "tmp").iterdir())

    def wrong(self, out: Path, workers: int) -> list[str]:
        """What is wrong with a table, and what was left."""
        table, whole, found = read(out), self.tables[workers], []
        if list(table["path"]) != list(whole["path"]):
            twice = int(table["path"].duplicated().sum())
            found.append(f"other rows: {len(table)} of {len(whole)}, {twice} of them twice")
        elif not table.equals(whole):
            found.append("other values")
        until(lambda: not any(alive(each) for each in self.seen), 30)
        found += [f"left: process {each.pid}" for each in self.seen if alive(each)]
        hidden = [*out.parent.rglob(".*"), *sorted(self.temporary() - self.before)]
        return found + [f"left: {each.relative_to(self.work)}" for each in hidden]


def read(out: Path) -> pd.DataFrame:
    return pd.read_csv(out) if out.suffix == ".csv" else pd.read_parquet(out)


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def until(happened: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.2)


def main() -> int:
    """Kill, and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("patches", type=Path)
    parser.add_argument("--workdir", type=Path, required=True, help="a new folder, deleted if all is well")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=4096, help="patches")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    begun, work = time.monotonic(), given.workdir.absolute()
    kills, bad, number = Kills(given, work), dict[int, list[str]](), 0
    while (left := given.kills - kills.kills.total()) > 0:
        if found := kills.one(number, min(left, MOST)):
            bad[number] = found
        number += 1
    taken = " and ".join(f"{kills.seconds[n]:.0f} s ({n})" for _, n in MODES)
    print(f"{given.count:,} patches in {kills.parts} parts; undisturbed by {taken} processes")
    print(f"{kills.kills.total()} kills, {number} tables, {number - len(bad)} the same and nothing left")
    print(f"the command gave up {kills.given_up} times and was started again; {time.monotonic() - begun:.0f} s in all")
    rows = [[who, phase, n] for (who, phase), n in sorted(kills.kills.items())]
    print(common.table(["killed", "when", "kills"], rows))
    for each, found in bad.items():
        print(f"table {each}: {'; '.join(found)}")
    common.write_json(given.json, {"kills": rows, "tables": number, "bad": bad, "given_up": kills.given_up})
    if not bad:
        shutil.rmtree(work)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
