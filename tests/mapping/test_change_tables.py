"""The tables of a change say what the matrix holds."""

import numpy as np
import pandas as pd
import pytest

from landsift.mapping.change_tables import matrix_table, trajectory_table, transition_table, write_table
from landsift.mapping.transitions import Rows, change_matrix, trajectories

CLASSES = ["Forest", "Pasture", "Sea, lake"]
MAPS = [np.array([[1, 1, 1, 2]], np.uint8), np.array([[1, 1, 3, 1]], np.uint8), np.array([[1, 1, 1, 2]], np.uint8)]


def test_matrix_in_hectares_and_per_cent_with_margins(tmp_path):
    matrix = change_matrix([Rows(MAPS[:2], np.array([2.0]))], 3)
    write_table(matrix_table(matrix, CLASSES), tmp_path / "matrix.csv")
    table = pd.read_csv(tmp_path / "matrix.csv")
    hectares, per_cent = (table[table.unit == unit].set_index("from") for unit in ("hectares", "per cent"))
    assert hectares.loc["Forest", ["to Forest", "to Pasture", "to Sea, lake"]].tolist() == [4, 0, 2]
    assert hectares.loc["Forest", ["total", "persistence", "gain", "loss", "net", "swap"]].tolist() == [
        6,
        4,
        2,
        2,
        0,
        4,
    ]
    assert per_cent[[f"to {name}" for name in CLASSES]].to_numpy().sum() == pytest.approx(100)
    assert per_cent.loc["Pasture", "net"] == -25


def test_transitions_by_area_with_what_is_uncertain():
    matrix = change_matrix([Rows(MAPS[:2], np.array([2.0]), np.array([[0.9, 0.9, 0.2, 0.9]]))], 3)
    table = transition_table(matrix, CLASSES)
    assert table.transition.tolist() == ["Forest → Forest", "Forest → Sea, lake", "Pasture → Forest"]
    assert table.changed.tolist() == [False, True, True]
    assert table["low confidence ha"].tolist() == [0, 2, 0]


def test_trajectories_by_name_with_returns_marked():
    table = trajectory_table(trajectories([Rows(MAPS, np.array([2.0]))], 3), CLASSES)
    assert table.trajectory[0] == "Forest → Forest → Forest"
    assert table["returns"].tolist() == [False, True, True]


def test_no_change_at_all_gives_tables_without_nan():
    matrix = change_matrix([Rows([np.zeros((1, 2), int)] * 2, np.ones(1))], 3)
    assert matrix_table(matrix, CLASSES).notna().to_numpy().all()
    assert transition_table(matrix, CLASSES).empty
