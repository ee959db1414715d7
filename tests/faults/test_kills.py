"""Runs that are killed end, when they are run again, as if nothing had happened: a slice of what the scripts here do.

`kills.py` kills at random moments, `every_write.py` before every change of the disk. `dying_ranks.py` takes minutes;
`tests/training/test_start.py` holds its parts.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import every_write
import pytest
from commands import Command
from kills import SETTINGS, Trials, arguments, left_behind


def test_runs_killed_at_random_moments_end_with_the_same_bits(tmp_path, complete):
    """Twenty times; six without `--complete`, which may by chance all be of one stage."""
    trials, number, found = Trials(tmp_path, seed=11, again=0.5), 0, {}
    while trials.killed < (20 if complete else 6):
        found[number] = trials.one(number)
        number += 1
    assert {n: wrong for n, wrong in found.items() if wrong} == {}
    assert len([n for name, n in trials.kills.items() if not name.startswith("none")]) >= (3 if complete else 1)


def test_a_kill_before_a_change_of_the_disk_leaves_the_old_state_or_the_new_one(tmp_path, complete):
    writes = every_write.Writes("run", tmp_path)
    assert len(writes.changes) > 80
    chosen = writes.chosen(5 if complete else 3)
    assert {writes.changes[n - 1]: found for n in chosen if (found := writes.one(n))} == {}


# Two at once


@pytest.fixture
def start(tmp_path):
    """Start the command into an output folder; what still runs in the end is killed."""
    started = []

    def start(variant: str, out: str, log: str) -> Command:
        started.append(Command(arguments(variant, tmp_path / out, None), tmp_path / "home", tmp_path / log))
        return started[-1]

    yield start
    for command in started:
        command.kill()


def until(command: Command, happened: Callable[[], object]) -> None:
    while not happened():
        assert command.wait(0.02) is None, command.said()


def test_of_two_runs_of_the_same_training_the_second_waits_and_takes_the_firsts(tmp_path, start):
    first = start("plain", "a", "first")
    until(first, lambda: list((tmp_path / "home").glob("unfinished/*/metrics.json")))
    os.kill(first.pid, signal.SIGSTOP)  # else it may be done before the other has begun
    second = start("plain", "b", "second")
    until(second, lambda: "another process is making this model; waiting for it" in second.said())
    os.kill(first.pid, signal.SIGCONT)
    assert (first.wait(60), second.wait(60)) == (0, 0)
    assert "epoch" not in second.said()
    assert every_write.differences(tmp_path / "a", tmp_path / "b") == []


def test_the_second_goes_on_where_the_first_is_killed(tmp_path, start):
    first = start("plain", "a", "first")
    until(first, lambda: list((tmp_path / "home").glob("unfinished/*/checkpoints/last.ckpt")))
    os.kill(first.pid, signal.SIGSTOP)
    second = start("plain", "b", "second")
    until(second, lambda: "waiting for it" in second.said())
    first.kill()
    assert second.wait(60) == 0
    assert "resuming an interrupted training" in second.said()


def test_a_second_run_into_the_same_output_is_refused_in_words(tmp_path, start):
    first = start("plain", "a", "first")
    until(first, lambda: list((tmp_path / "home").glob("unfinished/*")))
    second = start("rich", "a", "second")
    assert second.wait(60) == 1
    assert second.said() == (
        f"error: another run is writing to {tmp_path / 'a'}\nwait until it has ended, or give --out another folder\n"
    )
    assert first.wait(60) == 0


# SIGTERM


def test_sigterm_while_patches_are_decoded_ends_with_its_status_and_leaves_nothing(tmp_path):
    many = [*arguments("plain", tmp_path / "out", None), "--set", "data.synthetic.patches=60000"]
    command = Command([*many, "--set", "data.synthetic.size=64"], tmp_path / "home", tmp_path / "log")
    until(command, lambda: list((tmp_path / "home").glob("stores/.*")))
    os.kill(command.pid, signal.SIGTERM)
    assert command.wait(30) == 143
    assert command.said().splitlines()[-1] == "ended by SIGTERM"
    assert left_behind(tmp_path) == []
    assert list((tmp_path / "home" / "stores").iterdir()) == []


def test_sigterm_in_training_is_answered_within_a_step(tmp_path):
    long = [part for s in (*SETTINGS, "strategy=[{epochs: 100000, lr_head: 0.002}]") for part in ("--set", s)]
    line = ["run", "--out", str(tmp_path / "out"), *long, "--set", "training.augment.color_jitter=[0, 0, 0, 0]"]
    command = Command(line, tmp_path / "home", tmp_path / "log")
    until(command, lambda: list((tmp_path / "home").glob("unfinished/*/checkpoints/last.ckpt")))
    began = time.monotonic()
    os.kill(command.pid, signal.SIGTERM)
    assert command.wait(30) == 143
    assert time.monotonic() - began < 20
    said = command.said()
    assert "SIGTERM: stopped in epoch" in said
    assert "the same command resumes it" in said
    assert "Traceback" not in said


def test_the_attempts_at_one_training_are_one_run_of_weights_and_biases(tmp_path):
    long = [*arguments("plain", tmp_path / "out", None), "--set", "tracking.wandb=offline"]
    command = Command(long, tmp_path / "home", tmp_path / "log")
    until(command, lambda: list((tmp_path / "home").glob("unfinished/*/checkpoints/last.ckpt")))
    os.kill(command.pid, signal.SIGTERM)
    assert command.wait(60) == 143
    again = Command(long, tmp_path / "home", tmp_path / "again")
    assert again.wait(60) == 0, again.said()
    said = next(line for line in again.said().splitlines() if "wandb sync" in line)
    folders = said.split("wandb sync ")[1].split()
    assert sorted(folders) == sorted(map(str, (tmp_path / "home" / "tracking" / "wandb").glob("offline-run-*")))
    assert len(folders) == 2
    assert len({Path(folder).name.split("-", 3)[3] for folder in folders}) == 1  # the ID
    assert not list((tmp_path / "out").glob(".*"))
