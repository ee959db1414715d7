"""What a run says of phases that lose or add nothing, from its rows of metrics.json."""

import pytest

from landsift.training.phase_watch import fall_at, falls, idle_phases


def rows(*phases: list[float]) -> list[dict]:
    """Rows of phases with these validation accuracies, in percent."""
    names = ("head", "fine-tune", "more")
    return [
        {"phase": i + 1, "phase_name": names[i], "val_acc": accuracy / 100}
        for i, phase in enumerate(phases)
        for accuracy in phase
    ]


def test_the_fall_that_was_seen_on_eurosat_is_said():
    """2,700 patches, MobileNetV2, batch norms in train mode: 92.1 % to 81.4 %, on 135 patches."""
    said = falls(rows([90.0, 92.1], [81.4, 84.0]), 135)
    assert said == [
        "phase 2 (fine-tune) lowered the validation accuracy at its start: 81.40 % after its first epoch, "
        "92.10 % before it (95 % interval 86.00 % to 95.39 %)"
    ]


@pytest.mark.parametrize(
    ("accuracies", "patches"),
    [
        (rows([90.0, 92.0], [91.0]), 135),  # within the interval
        (rows([90.0, 92.0], [93.0]), 135),
        (rows([92.0, 60.0, 91.0], [92.0]), 5000),  # within a phase
        (rows([92.0]), 135),
        ([], 135),
    ],
)
def test_what_is_no_fall_at_a_start_is_not_said(accuracies, patches):
    assert falls(accuracies, patches) == []
    assert fall_at(accuracies, patches) is None


def test_the_same_fall_leaves_the_interval_of_many_patches_and_not_of_few():
    assert falls(rows([92.0], [90.0]), 5000)
    assert not falls(rows([92.0], [90.0]), 100)


def test_a_fall_is_said_when_its_epoch_ends_and_not_again():
    history = rows([90.0, 92.1], [81.4, 84.0], [60.0])
    assert [bool(fall_at(history[:i], 135)) for i in range(6)] == [False, False, False, True, False, True]
    assert len(falls(history, 135)) == 2


def test_phases_that_did_not_improve_on_what_came_before_are_named():
    assert idle_phases(rows([90.0, 92.0], [91.0, 92.0], [93.0])) == [
        "phase 2 (fine-tune) did not improve on the phases before it: validation accuracy 92.00 % at best, "
        "92.00 % before"
    ]
    assert idle_phases(rows([90.0], [94.0], [93.0])) == [
        "phase 3 (more) did not improve on the phases before it: validation accuracy 93.00 % at best, 94.00 % before"
    ]
    assert idle_phases(rows([90.0, 89.0])) == []
    assert idle_phases(rows([90.0], [91.0], [92.0])) == []
