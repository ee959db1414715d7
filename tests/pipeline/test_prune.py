"""`landsift cache`: what is listed, what goes, and what never goes without being asked for."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from landsift.cli.main import app
from landsift.config import RunConfig, cache_folder
from landsift.errors import ConfigError, RunError
from landsift.pipeline.cache import keys, locks, prune, results
from landsift.pipeline.stage_table import DECODE, TRAIN
from landsift.runs import CONFIG
from landsift.runtime.whole import beside

DAY = 86400


@pytest.fixture
def config(tiny) -> RunConfig:
    return tiny.replace("data.budget=12")


@pytest.fixture
def store(config) -> Path:
    """A patch store that present code can use."""
    folder = results.place(DECODE, keys.store_key(config.data, "content"), local=True)
    with results.building(folder, "a run") as partial:
        partial.mkdir()
        info = {"shape": [60, 16, 16, 3], "info": {"source": "synthetic", "root": None}}
        (partial / "store.json").write_text(json.dumps(info))
    return folder


@pytest.fixture
def trained(config, store) -> Path:
    """A training on it."""
    folder = results.place(TRAIN, keys.training_key(config, store.name), local=True)
    with results.building(folder, "a run") as partial:
        partial.mkdir()
        (partial / CONFIG).write_text(config.to_yaml())
        (partial / "model.safetensors").write_bytes(b"0" * 5000)
    return folder


@pytest.fixture
def unfinished(config, store) -> Path:
    """A training that was interrupted."""
    folder = results.place(TRAIN, keys.training_key(config.replace("seed=1"), store.name), local=True)
    with contextlib.suppress(KeyboardInterrupt), results.continuing(folder, "a run") as partial:
        (partial / CONFIG).write_text(config.to_yaml())
        (partial / "checkpoints").mkdir()
        (partial / results.LAST_CHECKPOINT).write_bytes(b"0" * 100)
        raise KeyboardInterrupt
    return results.unfinished(folder)


@pytest.fixture
def offline() -> Path:
    """A W&B run that was never uploaded."""
    folder = cache_folder() / "tracking" / "wandb" / "offline-run-20260101_000000-abcdefgh"
    folder.mkdir(parents=True)
    (folder / "run-abcdefgh.wandb").write_bytes(b"0" * 50)
    return folder


def age(path: Path, days: float) -> None:
    """As if nothing in it had been touched for so long."""
    then = time.time() - days * DAY
    for each in [*path.rglob("*"), path]:
        os.utime(each, (then, then))


def command(*arguments: str) -> tuple[int, dict]:
    done = CliRunner().invoke(app, ["cache", *arguments, "--json"])
    return done.exit_code, json.loads(done.stdout) if done.exit_code == 0 else {}


def pruned(*options: str) -> list[str]:
    status, result = command("prune", "--yes", *options)
    assert status == 0
    return sorted(Path(entry["path"]).name for entry in result["deleted"])


def test_the_list_says_what_is_there(store, trained, unfinished, offline):
    found = {entry["kind"]: entry for entry in command("list")[1]["entries"]}
    assert set(found) == {"stores", "trained", "unfinished", "wandb offline"}
    assert found["stores"]["what"] == "synthetic, 60 patches"
    assert found["trained"]["what"] == "synthetic, head, test_efficientnet, 12 labels, seed 0"
    assert found["trained"]["size"] > 5000
    assert [kind for kind, entry in found.items() if entry["protected"]] == ["unfinished", "wandb offline"]
    assert not any(entry["unreachable"] for entry in found.values())
    said = CliRunner().invoke(app, ["cache", "list"]).stdout
    assert "the same command resumes it" in said
    assert trained.name[:12] in said
    assert said.splitlines()[-1].startswith("4 entries of ")


def test_an_empty_cache_is_listed():
    assert CliRunner().invoke(app, ["cache", "list"]).stdout.startswith("0 entries of 0 B")


def test_what_was_not_used_for_long_goes(store, trained):
    age(trained, 40)
    assert pruned("--older-than", "30d") == [trained.name]
    assert store.is_dir()
    assert not trained.exists()


def test_what_was_used_lately_stays_however_old(store, trained):
    age(trained, 40)
    assert results.damage(trained) == ""  # as before every use
    assert pruned("--older-than", "30d") == []
    assert trained.is_dir()


def test_unfinished_trainings_and_offline_runs_stay_unless_asked_for(trained, unfinished, offline):
    for path in (trained, unfinished, offline):
        age(path, 400)
    done = CliRunner().invoke(app, ["cache", "prune", "--older-than", "30d", "--yes"])
    assert "kept: 1 unfinished trainings (--unfinished deletes them too)" in done.stdout
    assert "kept: 1 offline W&B runs (--offline-runs deletes them too)" in done.stdout
    assert not trained.exists()
    assert unfinished.is_dir()
    assert offline.is_dir()
    assert pruned("--unfinished") == [unfinished.name]
    assert pruned("--older-than", "30d", "--offline-runs") == [offline.name]


def test_unfinished_alone_takes_nothing_else(trained, unfinished, offline):
    assert pruned("--unfinished") == [unfinished.name]
    assert trained.is_dir()
    assert offline.is_dir()


def test_what_other_code_or_libraries_made_is_unreachable(store, trained, unfinished, monkeypatch):
    assert pruned("--unreachable") == []
    before = prune.code_version
    monkeypatch.setattr(prune, "code_version", lambda stage: before(stage) + "x" * (stage.name == "train_model"))
    reasons = {entry["kind"]: entry["unreachable"] for entry in command("list")[1]["entries"]}
    assert reasons["stores"] == ""
    assert reasons["trained"] == reasons["unfinished"] == "landsift's code for train_model has changed"
    assert pruned("--unreachable") == [trained.name]
    assert unfinished.is_dir()


def test_what_was_made_from_an_unreachable_result_is_so_too(store, trained, monkeypatch):
    before = prune.code_version
    monkeypatch.setattr(prune, "code_version", lambda stage: before(stage) + "x" * (stage.name == "load_dataset"))
    assert pruned("--unreachable") == sorted([store.name, trained.name])


def test_another_version_of_a_library_makes_unreachable(trained, monkeypatch):
    before = prune.version_of
    monkeypatch.setattr(prune, "version_of", lambda name: "0.0" if name == "timm" else before(name))
    (reason,) = (e["unreachable"] for e in command("list")[1]["entries"] if e["kind"] == "trained")
    assert reason == f"made with timm {before('timm')}"


def test_a_result_that_does_not_say_what_it_is_of_is_not_taken_for_unreachable(trained):
    """As those of versions that noted nothing."""
    record = json.loads((trained / results.STAGE).read_text())
    (trained / results.STAGE).write_text(json.dumps({k: v for k, v in record.items() if k != "of"}))
    assert trained.name not in pruned("--unreachable")


def test_both_filters_take_what_is_both(store, trained, monkeypatch):
    monkeypatch.setattr(prune, "code_version", lambda stage: "other")
    age(store, 40)
    assert pruned("--unreachable", "--older-than", "30d") == [store.name]


def test_a_dry_run_deletes_nothing(trained):
    age(trained, 40)
    status, result = command("prune", "--older-than", "30d", "--dry-run")
    assert status == 0
    assert [entry["key"] for entry in result["deleted"]] == [trained.name]
    assert trained.is_dir()


def test_without_a_terminal_it_needs_to_be_told(trained):
    age(trained, 40)
    assert command("prune", "--older-than", "30d")[0] == 2
    assert trained.is_dir()


@pytest.mark.parametrize("options", [[], ["--yes"], ["--dry-run"]])
def test_it_must_be_said_what_is_to_go(trained, options):
    assert CliRunner().invoke(app, ["cache", "prune", *options]).exit_code in {0, 2}  # without a word: help
    assert trained.is_dir()


def test_nothing_goes_while_another_process_works_with_the_cache(trained):
    age(trained, 40)
    with locks.using(cache_folder()), pytest.raises(RunError, match="another landsift process is using the results"):
        prune.remove(prune.entries())
    assert trained.is_dir()
    assert pruned("--older-than", "30d") == [trained.name]


def test_a_killed_process_holds_nothing(trained):
    code = "from landsift.pipeline.cache import locks; import os\n"
    code += "from landsift.config import cache_folder\nwith locks.using(cache_folder()): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    prune.remove(prune.entries())
    assert not trained.exists()


def test_what_was_used_since_it_was_listed_stays(trained):
    age(trained, 40)
    listed = [entry for entry in prune.entries() if entry.kind == "trained"]
    assert results.damage(trained) == ""
    assert prune.remove(listed) == []
    assert trained.is_dir()


def test_what_killed_processes_left_goes_and_what_living_ones_make_stays(trained):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with beside(trained) as own:
        dead = own.with_name(own.name.replace(f".{os.getpid()}-", f".{process.pid}-"))
        for path in (own, dead):
            path.mkdir()
        note = cache_folder() / dead.name.replace(trained.name, "code.json")
        note.touch()
        assert sorted(pruned("--older-than", "30d")) == sorted([dead.name, note.name])
        assert own.is_dir()
    assert trained.is_dir()


@pytest.mark.parametrize(
    ("text", "length"), [("30d", 30 * DAY), ("12h", DAY / 2), ("2w", 14 * DAY), ("1.5 D", 1.5 * DAY)]
)
def test_lengths_of_time_are_read(text, length):
    assert prune.seconds(text) == length


@pytest.mark.parametrize("text", ["", "30", "d", "-3d", "3 months", "nan d", "1e9d"])
def test_other_lengths_of_time_are_refused(text):
    with pytest.raises(ConfigError, match="is not a length of time"):
        prune.seconds(text)


@pytest.mark.parametrize("content", ["", "{", "[3]", "null", '{"of": 3}', '{"of": {"stage": 3}}'])
def test_damaged_records_do_not_stop_the_list(trained, content):
    (trained / results.STAGE).write_text(content)
    (trained / CONFIG).write_text("data: [")
    (entry,) = (e for e in command("list")[1]["entries"] if e["kind"] == "trained")
    assert entry["key"] == trained.name


def test_a_result_notes_what_its_key_was_made_from(store, trained):
    of = results.stage_record(trained)["of"]
    assert of["stage"] == "train_model"
    assert of["store"] == store.name
    assert of["above"][0]["stage"] == "load_dataset"
    assert keys.parts_of("unknown") is None


def test_results_that_were_moved_to_another_disk_by_a_link_are_seen_and_go(store, trained, tmp_path):
    (tmp_path / "larger").mkdir()
    moved = (cache_folder() / "stores").rename(tmp_path / "larger" / "stores")
    (cache_folder() / "stores").symlink_to(moved)
    (tmp_path / "mine" / store.name).mkdir(parents=True)
    (cache_folder() / "mine").symlink_to(tmp_path / "mine")  # a folder of somebody else's is left alone
    assert sorted(entry.kind for entry in prune.entries()) == ["stores", "trained"]
    age(moved / store.name, 40)
    pruned("--older-than", "30d")
    assert not store.exists()
    assert moved.is_dir()
    assert (tmp_path / "mine" / store.name).is_dir()
