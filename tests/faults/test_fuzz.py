"""A short slice of the fuzzing that `tests/faults/fuzz_inputs.py` does by the thousand."""

import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_inputs import KINDS, OUTCOMES, Worker, damaged, fuzz


@pytest.fixture(scope="module")
def found():
    return fuzz(64, seed=7)


def test_damaged_inputs_are_refused_in_words_or_accepted(found):
    assert found["bad"] == []
    assert sum(row[outcome] for row in found["kinds"].values() for outcome in OUTCOMES) == 64


def test_the_damage_is_neither_too_much_nor_too_little(found):
    """A harness that refused everything, or damaged nothing, would prove nothing."""
    assert sum(row["refused"] for row in found["kinds"].values()) >= 30
    assert sum(row["accepted"] for row in found["kinds"].values()) >= 5
    assert all(row["refused"] for row in found["kinds"].values())


@pytest.mark.slow
def test_a_reader_that_hangs_is_ended_and_counted():
    with Worker() as worker:
        assert worker.ask(KINDS[0], 1, 0, seconds=60)["outcome"] in {"refused", "accepted"}
        assert worker.ask(KINDS[0], 2, 0, seconds=0)["outcome"] == "hang"
        assert worker.ask(KINDS[0], 2, 0, seconds=60)["outcome"] in {"refused", "accepted"}


def test_a_case_is_the_same_every_time():
    import random

    raw, other = bytes(range(256)), b"other" * 20
    first, second = ([damaged(raw, other, random.Random(i), text=False) for i in range(50)] for _ in range(2))
    assert first == second
    assert sum(a != raw for a in first) >= 45


@pytest.mark.slow
def test_the_script_prints_its_table(tmp_path):
    script = Path(__file__).with_name("fuzz_inputs.py")
    command = [sys.executable, script, "--cases", "8", "--json", tmp_path / "f.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "refused  accepted" in done.stdout
    assert (tmp_path / "f.json").stat().st_size > 0
