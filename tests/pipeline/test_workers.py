"""The processes that train the cells of a comparison."""

import asyncio

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
