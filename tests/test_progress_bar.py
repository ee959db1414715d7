"""Work of hours says how far it is where nobody looks."""

import logging

from landsift.runtime import progress_bar
from landsift.runtime.progress_bar import duration, long_progress


def test_without_a_terminal_a_line_says_how_far_it_is_now_and_then(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "landsift")
    times = iter([0.0, 30.0, 61.0, 100.0, 1000.0])
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: next(times))
    with long_progress("Classifying", 1_000_000, 500_000) as advance:
        for _ in range(4):
            advance(6100)
    assert caplog.messages == [
        "Classifying: 512,200 of 1,000,000, 200 per second, 41 min left",
        "Classifying: 524,400 of 1,000,000, 24 per second, 5 h 25 min left",
    ]


def test_durations_are_in_words():
    assert [duration(seconds) for seconds in (5, 90, 3600, 3725, 100_000)] == [
        "less than a minute", "2 min", "1 h 00 min", "1 h 02 min", "27 h 47 min",
    ]  # fmt: skip
