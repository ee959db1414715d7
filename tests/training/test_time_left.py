"""Each epoch says how long the rest of its phase takes."""

import pytest

from landsift.training.history import time_left
from landsift.training.phases import Phase

STRATEGY = (
    Phase("head", epochs=3, lr_head=1e-3),
    Phase("all", epochs=200, lr_head=1e-4, lr_backbone=1e-5, blocks="all"),
)


def rows(head, whole=()):
    """Rows of epochs that took so many seconds."""
    seconds = [(1, second) for second in head] + [(2, second) for second in whole]
    return [{"epoch": e, "phase": phase, "seconds": second} for e, (phase, second) in enumerate(seconds)]


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (rows([30.0]), "  about 60 s to the end of phase 1 of 2"),
        (rows([30.0, 4.0]), "  about 4 s to the end of phase 1 of 2"),  # the first epoch has made the features
        (rows([30.0, 4.0, 4.0]), ""),
        (rows([30.0, 4.0, 4.0], [9.0]), "  about 30 min to go"),
        (rows([30.0, 4.0, 4.0], [90.0, 60.0, 64.0]), "  about 3 h 24 min to go"),
        (rows([1.0] * 3, [1.0] * 200), ""),
    ],
)
def test_the_rest_of_a_phase_is_told_at_its_pace(done, said):
    assert time_left(done, STRATEGY) == said
