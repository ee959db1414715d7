"""The files that are made from a comparison's figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landsift import runs
from landsift.reports.comparison.csv_tables import tables
from landsift.reports.comparison.page import comparison_html


def write_figures(folder: Path, comparison: Mapping[str, Any]) -> None:
    """Write comparison.json and what is made from it: the CSV tables and the page."""
    for name, text in tables(comparison).items():
        runs.write_text(folder / name, text)
    runs.write_text(folder / runs.REPORT, comparison_html(comparison))
    runs.write_json(folder / runs.COMPARISON, comparison)
