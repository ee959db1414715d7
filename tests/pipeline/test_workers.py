"""The processes that train the cells of a comparison."""

import asyncio

import pytest

from landsift.pipeline.cache import results
from landsift.pipeline.comparison.worker_pool import _Worker


def test_they_import_nothing_from_the_working_folder(tmp_path, monkeypatch):
    for name in ("random", "json", "pathlib", "numpy", "torch"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")

    async def start_and_end() -> int:
        worker = await _Worker.start(1)
        worker._process.stdin.close()  # it has nothing more to do
        return await worker._process.wait()

    assert asyncio.run(start_and_end()) == 0
    assert not (tmp_path / "ran").exists()


def test_one_that_is_not_let_finish_is_gone_before_anybody_tidies_up(tiny, tmp_path):
    """Else it would write on into a folder that is being cleared, or that the next attempt has taken over."""

    async def stopped() -> _Worker:
        worker = await _Worker.start(1)
        training = asyncio.ensure_future(worker.train(tiny, tmp_path / "no-store", tmp_path / "r", "a cell", "a group"))
        await asyncio.sleep(0.1)  # it is being loaded
        training.cancel()
        with pytest.raises(asyncio.CancelledError):
            await training
        return worker

    worker = asyncio.run(stopped())
    assert worker._process.returncode is not None
    assert not worker.ready


def test_what_an_ended_process_was_writing_does_not_stay_with_what_is_kept(tmp_path):
    folder = tmp_path / "trained" / "key"
    with pytest.raises(asyncio.CancelledError), results.continuing(folder, "run") as unfinished:  # noqa: PT012
        (unfinished / results.LAST_CHECKPOINT).parent.mkdir()
        (unfinished / results.LAST_CHECKPOINT).touch()
        for name in (".metrics.json.a-machine.1-0.partial", "checkpoints/.last.ckpt.a-machine.1-1.partial"):
            (unfinished / name).touch()
        raise asyncio.CancelledError
    assert [path.name for path in unfinished.rglob("*") if path.is_file()] == [".run", ".key.json", "last.ckpt"]
