"""Kill `landsift run` at random moments and see whether it ends, when it is run again, as if nothing had happened.

    python tests/faults/kills.py --count 500 [--seed 0] [--data FOLDER] [--json FILE]

Each trial has a cache and an output folder of its own. The command is killed with SIGKILL after a time drawn from the
whole time it takes, often again when it goes on, and then left to end. Metrics without their seconds, evaluation,
predictions, embeddings, weights and every checkpoint's tensors must be those of a run that was never killed, bit for
bit, and nothing may be left beside them. The exit status is 1 if anything differs.

The trainings are small: two variants (kept features, averaged weights, dropout, t-SNE; mixing, crops, stochastic depth,
balanced classes, early stopping), four epochs of five steps, on generated patches or on those of `--data`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from commands import Command

sys.path.append(str(Path(__file__).resolve().parents[1] / "training"))
from interruptions import differences
from small_runs import SMALL, VARIANTS

SETTINGS = (*SMALL, "training.checkpoint_minutes=0.002", "tracking.wandb=disabled")
AGAIN = 0.3
"""How likely a run that goes on is killed again."""


def arguments(variant: str, out: Path, data: Path | None) -> list[str]:
    """The command line of a variant."""
    changes = [part for setting in (*SETTINGS, *VARIANTS[variant]) for part in ("--set", setting)]
    source = ["--data", str(data)] if data else []
    return ["run", "--out", str(out), *source, *changes]


class Trials:
    """Kills runs of the variants and compares what they leave.

    Args:
        folder: to work in.
        seed: of the moments.
        data: a folder of patches; None: generated ones.
        again: how likely a run that goes on is killed again.
    """

    def __init__(self, folder: Path, seed: int, data: Path | None = None, again: float = AGAIN) -> None:
        self.folder = folder
        self.data = data
        self.again = again
        self.dice = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        for variant in VARIANTS:
            self._whole(variant)

    @property
    def killed(self) -> int:
        """How many kills there were."""
        return sum(n for name, n in self.kills.items() if not name.startswith("none"))

    def _whole(self, variant: str) -> None:
        """Run without a kill, twice: the second tells how long it takes."""
        for _ in range(2):
            shutil.rmtree(self.folder / variant, ignore_errors=True)
            (self.folder / variant).mkdir(parents=True)
            began = time.monotonic()
            self._end(variant, self.folder / variant)
            self.seconds[variant] = time.monotonic() - began

    def _start(self, variant: str, trial: Path) -> Command:
        return Command(arguments(variant, trial / "out", self.data), trial / "home", trial / "log")

    def _end(self, variant: str, trial: Path) -> None:
        status = self._start(variant, trial).wait(300)
        if status != 0:
            raise AssertionError(f"the run ended with {status}:\n{(trial / 'log').read_text()}")

    def one(self, number: int) -> list[str]:
        """Kill a run, once or more often, and let it end; what differs then from a run that was never killed."""
        variant = list(VARIANTS)[number % len(VARIANTS)]
        trial = self.folder / f"trial-{number}"
        trial.mkdir()
        attempts = 0
        while True:
            command, attempts = self._start(variant, trial), attempts + 1
            moment = self.dice.uniform(0, self.seconds[variant])
            if command.wait(moment) is not None:
                self.kills["none: it had ended"] += 1
                if attempts == 1:  # another load than at the start: aim better; later attempts have less to do
                    self.seconds[variant] = moment
                break
            self.kills[where(trial)] += 1
            command.kill()
            if self.dice.random() > self.again:
                break
        if not (trial / "out" / "report.html").is_file():
            self._end(variant, trial)
        elif self._start(variant, trial).wait(300) != 1:  # it refuses what is complete, and clears what is beside it
            return ["run again, it did not refuse the complete output"]
        found = differences(trial / "out", self.folder / variant / "out")
        found += [f"left behind: {path}" for path in left_behind(trial)]
        if not found:
            shutil.rmtree(trial)
        return found


def where(trial: Path) -> str:
    """What there is at the moment of a kill."""
    home = trial / "home"
    if (trial / "out").exists():
        return "run complete"
    if any((home / "tested").glob("[!.]*")):
        return "in the report"
    if any((home / "trained").glob("[!.]*")):
        return "in the test"
    if any((home / "unfinished").glob("*/checkpoints/last.ckpt")):
        return "in training, with a checkpoint"
    if any((home / "unfinished").glob("*")):
        return "in training, without"
    return "before training"


def left_behind(trial: Path) -> list[str]:
    """What a finished run has not cleared away: half-written files, unfinished trainings, folders beside the output."""
    places = [*trial.rglob("*.partial*"), *(trial / "home" / "unfinished").glob("*")]
    beside = [p for p in trial.iterdir() if p.name not in {"home", "out", "log"}]
    return sorted(str(path.relative_to(trial)) for path in [*places, *beside])


def main() -> int:
    """Run the trials and print what became of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=500, help="trials")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="a folder of patches in place of generated ones")
    parser.add_argument("--json", type=Path, help="a file to write the counts to, after each trial")
    chosen = parser.parse_args()
    data = chosen.data and chosen.data.absolute()
    bad: dict[int, list[str]] = {}
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="landsift-kills-"))
    trials = Trials(folder, chosen.seed, data)
    for number in range(chosen.count):
        try:
            found = trials.one(number)
        except AssertionError as error:
            found = [str(error)]
        if found:
            bad[number] = found
            print(f"trial {number}: {'; '.join(found)}\n  kept in {folder / f'trial-{number}'}", flush=True)
        counts: dict[str, Any] = {"trials": number + 1, "equal": number + 1 - len(bad), "kills": trials.killed}
        counts |= {"where": dict(trials.kills), "seconds": round(time.monotonic() - began, 1), "bad": bad}
        if chosen.json:
            chosen.json.write_text(json.dumps(counts, indent=1))
        if sys.stderr.isatty() or (number + 1) % 20 == 0:
            print(
                f"{counts['equal']} of {counts['trials']} equal after {trials.killed} kills",
                file=sys.stderr,
                flush=True,
            )
    print(
        f"{counts['trials']} trials, {trials.killed} kills: {counts['equal']} with the same bits, {counts['seconds']} s"
    )
    for name, n in sorted(trials.kills.items()):
        print(f"  {n:5}  {name}")
    if not bad:
        shutil.rmtree(folder)
    return 1 if bad else 0


if __name__ == "__main__":
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    sys.exit(main())
