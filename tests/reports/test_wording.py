"""Figures are said as people say them."""

import pytest

from landsift.reports.wording import duration, moment, number_of, percents, span


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.42, "0.4 s"), (38.2, "38 s"), (252, "4 min 12 s"), (7500, "2 h 5 min"), (None, "–")]
)
def test_durations_are_said_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_intervals_and_numbers_of_things():
    assert span([0.9551, 0.9662]) == "0.955 to 0.966"
    assert percents([0.9551, 0.9662], 1) == "95.5 to 96.6\N{NO-BREAK SPACE}%"
    assert span(None) == percents(None) == "–"
    assert number_of(1, "seed") == "1 seed"
    assert number_of(1200, "patch", "patches") == "1,200 patches"


@pytest.mark.parametrize(
    ("created", "said"),
    [
        ("2026-01-02T03:04:05+00:00", "2026-01-02 03:04 UTC"),
        ("2026-01-02T03:04:05.678+02:00", "2026-01-02 03:04 UTC+02:00"),
        ("2026-01-02T03:04:05", "2026-01-02 03:04"),
        ("", ""),
        (None, ""),
    ],
)
def test_times_are_said_with_their_zone(created, said):
    assert moment({"created": created}) == said
