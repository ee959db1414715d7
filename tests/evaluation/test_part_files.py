"""Parts of a prediction as files: what is read is what was written, whatever they hold."""

import numpy as np
import pandas as pd
import pytest

from landsift.evaluation.part_files import join, read_note, read_part, write_part
from landsift.evaluation.predict import Predictions
from landsift.models.trust import Judged
from landsift.runs import write_parquet


def some(count: int, *, judged: str = "all", place: bool = False, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(3), count).astype(np.float32)
    where = rng.uniform(-80, 80, (count, 2)) if place else np.full((count, 2), np.nan)
    said = None
    if judged != "none":
        abstain = rng.random(count) < 0.5 if judged == "all" else None
        said = Judged(probabilities > 0.3, abstain, rng.random(count) < 0.5, rng.random(count))
    paths = [f'{seed}/a "{i}", é\n.png' for i in range(count)]
    return Predictions(paths, ("a", "b,c", 'd"'), probabilities, [], where, said)


@pytest.mark.parametrize("judged", ["all", "no threshold", "none"])
@pytest.mark.parametrize("count", [0, 7])
def test_a_part_is_read_as_it_was_written(tmp_path, judged, count):
    given = some(count, judged=judged, place=True)
    note = {"plan": "x", "number": 3, "unreadable": [("p", "why", "DAMAGED")]}
    for name in ("part.npz", "part.parquet"):
        write_part(tmp_path / name, given, note)
        assert read_note(tmp_path / name) == {"plan": "x", "number": 3, "unreadable": [["p", "why", "DAMAGED"]]}
    read = read_part(tmp_path / "part.npz")
    assert (read.paths, read.classes) == (given.paths, given.classes)
    for name, values in given.columns(places=True).items():
        np.testing.assert_array_equal(read.columns(places=True)[name], values)
        np.testing.assert_array_equal(pd.read_parquet(tmp_path / "part.parquet")[name], values)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["part.npz", "part.parquet"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_joined_parts_are_the_table_that_would_be_written_at_once(tmp_path, kind):
    parts = [some(5, seed=1), some(0, seed=2), some(6, place=True, seed=3)]
    for i, part in enumerate(parts):
        write_part(tmp_path / f"{i}.npz", part, {})
    join([tmp_path / f"{i}.npz" for i in range(3)], tmp_path / f"t.{kind}", places=True)
    frame = pd.concat([pd.DataFrame(part.columns(places=True)) for part in parts if part.paths], ignore_index=True)
    if kind == "csv":
        frame.to_csv(tmp_path / "once.csv", index=False)
        assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "once.csv").read_bytes()
    else:
        write_parquet(tmp_path / "once.parquet", frame)
        pd.testing.assert_frame_equal(
            pd.read_parquet(tmp_path / "t.parquet"), pd.read_parquet(tmp_path / "once.parquet")
        )


@pytest.mark.parametrize("name", ["part.npz", "part.parquet"])
def test_a_part_that_is_cut_anywhere_has_no_note(tmp_path, name):
    write_part(tmp_path / name, some(20), {"plan": "x"})
    whole = (tmp_path / name).read_bytes()
    for length in (0, 3, len(whole) // 2, len(whole) - 1):
        (tmp_path / name).write_bytes(whole[:length])
        assert read_note(tmp_path / name) is None
    assert read_note(tmp_path / f"no-{name}") is None
