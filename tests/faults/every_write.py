"""Kill `landsift` before each of its changes to the disk and see whether anything is left half done.

    python tests/faults/every_write.py [--count 40] [--what run rich compare] [--json FILE]

Python tells a hook of every file that is opened for writing and of everything that is made, renamed, linked or deleted.
At the n-th of these the process kills itself. Then the output folder must be as it was or complete, a result in the
cache absent or whole, and the same command must end with the bits of one that was never killed, with nothing left
beside it. `--count 0` takes every n, another count as many, spread over all. `run` and `rich` are whole runs of the two
variants of `small_runs.py`; `compare` puts a comparison into the place of an older one. The exit status is 1 if
anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from commands import SOURCE, Command
from kills import SETTINGS, VARIANTS, arguments, differences, left_behind

sys.path.append(str(SOURCE))

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
WHATS = ("run", "rich", "compare")


def die_at(asked: dict[str, Any]) -> None:
    """Have this process killed before its `n`-th change below `root`, counted from 1; note all changes in `notes`."""
    root, notes, seen = asked["root"], os.open(asked["notes"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        if event == "open":
            path, _, flags = args
            if not (isinstance(flags, int) and flags & WRITING):
                return
        elif event in CHANGES:
            path = args[0]
        else:
            return
        if not isinstance(path, str | bytes | os.PathLike) or not os.fsdecode(path).startswith(root):
            return
        seen += 1
        os.write(notes, f"{event} {os.fsdecode(path)[len(root) :]}\n".encode(errors="replace"))
        if seen == asked["n"]:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def command_line(what: str, trial: Path) -> list[str]:
    """What is run in a trial."""
    if what in {"run", "rich"}:
        return arguments("plain" if what == "run" else what, trial / "out", None)
    settings = (*SETTINGS, *(s for s in VARIANTS["plain"] if not s.startswith("strategy=")))
    changes = [part for s in settings for part in ("--set", s)]
    own = "strategies.quick=[{epochs: 1, lr_head: 5.0e-3}]"
    names = ["--strategies", "quick", "--budgets", "24", "--seeds", "0,1", "--workers", "1"]
    return ["compare", "--out", str(trial / "out"), *names, "--set", own, *changes]


def prepare(what: str, trial: Path, older: Path | None) -> None:
    """Make the folder of a trial, with what is there before the command."""
    trial.mkdir(parents=True)
    if what == "compare" and older is not None:
        shutil.copytree(older, trial / "out")


def start(what: str, trial: Path, n: int = 0) -> int | None:
    """Run the command, killed before its n-th change; 0: never."""
    asked = {"n": n, "root": str(trial), "notes": str(trial.with_suffix(".notes"))}
    return Command(command_line(what, trial), trial / "home", trial / "log", ("every_write:die_at", asked)).wait(300)


class Writes:
    """The changes that a command makes, and what becomes of it when it is killed before one of them."""

    def __init__(self, what: str, folder: Path) -> None:
        self.what = what
        self.folder = folder
        self.older: Path | None = None
        if what == "compare":  # of one seed, so that old and new can be told apart
            prepare(what, folder / "older", None)
            line = [part if part != "0,1" else "0" for part in command_line(what, folder / "older")]
            assert Command(line, folder / "older" / "home", folder / "older" / "log").wait(300) == 0
            self.older = folder / "older" / "out"
        prepare(what, folder / "whole", self.older)
        assert start(what, folder / "whole") == 0, (folder / "whole" / "log").read_text()
        self.changes = (folder / "whole.notes").read_text().splitlines()

    def chosen(self, count: int) -> Iterable[int]:
        """As many changes as asked for, spread over all; 0: all."""
        n = len(self.changes)
        return (
            range(1, n + 1)
            if count in range(1) or count >= n
            else (1 + i * (n - 1) // (count - 1) for i in range(count))
        )

    def one(self, n: int) -> list[str]:
        """Kill the command before its n-th change, look, and let it end; what was wrong."""
        trial = self.folder / f"{self.what}-{n}"
        prepare(self.what, trial, self.older)
        status = start(self.what, trial, n)
        made = len(trial.with_suffix(".notes").read_text().splitlines())
        found = [] if status == -signal.SIGKILL or made < n else [f"status {status}"]  # one may make fewer changes
        found += [f"after the kill: {text}" for text in self._half_done(trial)]
        if status == -signal.SIGKILL and start(self.what, trial) not in {0, 1}:
            found.append("the second attempt ended badly")
        if not (trial / "out").is_dir():
            return [*found, (trial / "log").read_text()[-300:]]
        found += self._differences(trial / "out") + left_behind(trial)
        if not found:
            shutil.rmtree(trial)
        return found

    def _half_done(self, trial: Path) -> list[str]:
        """What is neither the old state nor the new one."""
        from landsift.pipeline.cache import results
        from landsift.pipeline.stage_table import STAGES

        out, home = trial / "out", trial / "home"
        kept = [p for stage in STAGES.values() for p in (home / stage.folder).glob("[!.]*")]
        found = [f"{p.relative_to(trial)}: {results.damage(p)}" for p in kept if results.damage(p)]
        if self.older is not None:
            seeds = json.loads((out / "comparison.json").read_text())["seeds"] if out.is_dir() else None
            return found + [f"the comparison is of {seeds}"] * (seeds not in ([0], [0, 1]))
        return found + ["the output is half there"] * (out.is_dir() and not (out / "manifest.json").is_file())

    def _differences(self, out: Path) -> list[str]:
        if self.what != "compare":
            return differences(out, self.folder / "whole" / "out")
        ours, theirs = (
            json.loads((f / "comparison.json").read_text())["results"] for f in (out, self.folder / "whole" / "out")
        )
        return [f"accuracy {a['accuracy']}, not {b['accuracy']}" for a, b in zip(ours, theirs, strict=True)
                if a["accuracy"] != b["accuracy"]]  # fmt: skip


def main() -> int:
    """Run the trials and print what became of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=40, help="how many of the changes; 0: all")
    parser.add_argument("--what", nargs="+", choices=WHATS, default=WHATS)
    parser.add_argument("--json", type=Path, help="a file to write the counts to")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="landsift-writes-"))
    counts: dict[str, Any] = {}
    bad = 0
    for what in chosen.what:
        writes = Writes(what, folder / what)
        done = 0
        for n in writes.chosen(chosen.count):
            found, done = writes.one(n), done + 1
            bad += bool(found)
            if found:
                print(f"{what}, before {writes.changes[n - 1]} ({n}): {'; '.join(found)}", flush=True)
        kinds = Counter(change.split()[0] for change in writes.changes)
        counts[what] = {"changes": len(writes.changes), "kills": done, "kinds": dict(kinds)}
        print(f"{what}: killed before {done} of {len(writes.changes)} changes {dict(kinds)}", flush=True)
    print(f"{bad} wrong")
    if chosen.json:
        chosen.json.write_text(json.dumps(counts | {"wrong": bad}, indent=1))
    if not bad:
        shutil.rmtree(folder)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
