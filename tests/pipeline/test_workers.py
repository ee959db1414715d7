"""The processes that train the trials of a comparison."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from landsift.engine import EngineOptions, nannies
from landsift.errors import DataError
from landsift.pipeline.cache import results
from landsift.pipeline.comparison import cell, trials
from landsift.runtime.surroundings import environment_for


def test_they_import_nothing_from_the_working_folder(tmp_path, monkeypatch):
    for name in ("random", "json", "pathlib", "numpy", "torch", "distributed"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    program = [sys.executable, "-c", f"import {nannies.__name__}, distributed"]
    subprocess.run(program, env=environment_for(1), check=True)
    assert not (tmp_path / "ran").exists()


def test_what_goes_wrong_in_a_trial_comes_back_as_an_error_of_landsift(tiny, tmp_path):
    (tmp_path / "unfinished").mkdir()
    folder = tmp_path / "unfinished" / "key"
    trial = cell.Trial(tiny.model_dump_json(), str(tmp_path / "no-store"), str(folder), "a trial", "a group")
    with pytest.raises(DataError, match="no-store"):
        cell.train_trial(trial)
    assert list((tmp_path / "locks").iterdir()) == []


@pytest.mark.slow
def test_one_that_is_not_let_finish_is_gone_before_anybody_tidies_up(tiny, tmp_path):
    """Else it would write on into a folder that is being cleared, or that the next attempt has taken over."""
    from landsift.data.store.patch_store import build_store

    store = build_store(tiny.data, tmp_path / "store").folder
    endless = tiny.replace("strategy=[{name: head, epochs: 100000, lr_head: 0.002}]")
    folder = tmp_path / "unfinished" / "key"
    folder.mkdir(parents=True)

    async def stopped() -> list[Path]:
        async with trials.side_by_side(EngineOptions(workers=2), [], lambda _: None), trials.turn_for("t") as train:
            training = asyncio.ensure_future(train(endless, store, folder, "a trial", "a group"))
            while not (folder / results.LAST_CHECKPOINT).is_file():
                await asyncio.sleep(0.1)
            training.cancel()
            with pytest.raises(asyncio.CancelledError):
                await training
            return sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))

    left = asyncio.run(stopped())
    assert left == sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    assert list((tmp_path / "locks").glob("*.trains")) in ([], [tmp_path / "locks" / "key.trains"])


def test_what_an_ended_process_was_writing_does_not_stay_with_what_is_kept(tmp_path):
    folder = tmp_path / "trained" / "key"
    with pytest.raises(asyncio.CancelledError), results.continuing(folder, "run") as unfinished:  # noqa: PT012
        (unfinished / results.LAST_CHECKPOINT).parent.mkdir()
        (unfinished / results.LAST_CHECKPOINT).touch()
        for name in (".metrics.json.a-machine.1-0.partial", "checkpoints/.last.ckpt.a-machine.1-1.partial"):
            (unfinished / name).touch()
        raise asyncio.CancelledError
    assert [path.name for path in unfinished.rglob("*") if path.is_file()] == [".run", ".key.json", "last.ckpt"]
