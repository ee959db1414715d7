"""What a run does to its output folder, to errors and to an interrupt."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from pipeline_helpers import Processes

import landsift
from landsift.config import RunConfig, cache_folder
from landsift.errors import ConfigError, DataError, DownloadError, ModelError, RunError, TrackingError
from landsift.pipeline import tracking
from landsift.pipeline.cache import results
from landsift.pipeline.flyte import failures
from landsift.pipeline.run import run


@pytest.fixture
def broken(tmp_path) -> Path:
    """A folder of two classes in which no image can be decoded."""
    for label in ("field", "water"):
        (tmp_path / "patches" / label).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "patches" / label / f"{i}.png").write_bytes(b"no image")
    return tmp_path / "patches"


def listing(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize(
    ("setting", "kind", "message"),
    [
        ("data.source=nowhere/at/all", DataError, "does not exist"),
        ("model.backbone=no_such_net", ModelError, "no_such_net"),
        ("strategy=no_such_strategy", ConfigError, "no_such_strategy"),
        ("model.weights=nowhere.safetensors", ModelError, r"nowhere\.safetensors"),
        ("model.backbone_args={in_chans: 4}", ConfigError, "in_chans is 4, but patches have 3 bands"),
    ],
)
def test_an_error_comes_out_as_it_was_raised_and_leaves_nothing(tiny, tmp_path, capfd, setting, kind, message):
    with pytest.raises(kind, match=message) as caught:
        run(tiny.replace(setting), tmp_path / "new" / "out")
    assert type(caught.value) is kind
    assert caught.value.message
    assert listing(tmp_path) == []
    assert not (cache_folder() / "stores").exists()
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "write", [landsift.run, landsift.compare, lambda config, out: landsift.build_store(config.data, out)]
)
@pytest.mark.parametrize("below", ["out", ".hidden", "field/deep/out", ""])
def test_an_output_among_the_patches_is_refused_from_python_as_on_the_command_line(
    tiny, broken, tmp_path, write, below
):
    """It would be read as a part of them the next time."""
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / "link").symlink_to(broken)
    for way in (broken, tmp_path / "link"):
        with pytest.raises(RunError, match="which is read"):
            write(tiny.replace(f"data.source={broken}"), way / below)
        with pytest.raises(RunError, match="which is read"):
            write(tiny.replace(f"data.source={tmp_path / 'link'}"), way / below)
    (tmp_path / "link").unlink()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_from_scratch_needs_no_weights(tiny, tmp_path):
    scratch = tiny.replace("strategy.0.from_scratch=true", "model.weights=nowhere.safetensors")
    assert run(scratch, tmp_path / "out").manifest["model"]["weights"] == "none"


def test_an_error_of_a_stage_comes_out_at_once_with_its_hint(tiny, tmp_path, broken, capfd):
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError) as caught:
        run(tiny.replace(f"data.source={broken}"), tmp_path / "out")
    assert caught.value.hint
    assert listing(tmp_path / "out") == []
    assert listing(cache_folder() / "stores") == []
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_an_output_that_holds_something_is_refused(tiny, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        run(tiny, tmp_path)
    assert listing(tmp_path) == ["mine.txt"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which not even root may write")
def test_an_output_that_cannot_be_written_is_refused_before_any_work(tiny, tmp_path):
    (tmp_path / "file").touch()
    for out, reason in (
        (Path("/proc/run"), "/proc: "),
        (tmp_path / "file" / "run", f"{tmp_path}/file: not a directory"),
    ):
        with pytest.raises(RunError) as caught:
            run(tiny, out)
        assert caught.value.message.startswith(f"output folder {out} cannot be written: {reason}")
    assert not (cache_folder() / "stores").exists()
    assert listing(tmp_path) == ["file"]


def test_a_failed_download_alone_is_tried_again(tmp_path):
    import asyncio

    import flyte

    from landsift.pipeline.flyte import local

    environment = flyte.TaskEnvironment("failing")
    attempts: list[str] = []

    @environment.task(retries=1)
    async def failing(kind: str) -> None:
        with failures.carried():
            attempts.append(kind)
            raise {"data": DataError, "download": DownloadError}[kind]("the reason", "the hint")

    async def call(kind: str) -> None:
        await local.initialise(flyte.init.aio)
        await flyte.with_runcontext(mode="local", raw_data_path=str(tmp_path)).run.aio(failing, kind=kind)

    for kind in ("data", "download"):
        failures.forget()
        with pytest.raises(flyte.errors.RuntimeUserError) as caught:
            asyncio.run(call(kind))
        assert failures.original(caught.value).hint == "the hint"
    assert attempts == ["data", "download", "download"]


def test_online_tracking_without_a_key_is_refused_before_anything_runs(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    online = tiny.replace("tracking.wandb=online")
    with pytest.raises(TrackingError, match=r"api\.wandb\.ai") as caught:
        run(online, tmp_path / "out")
    assert "tracking.wandb=offline" in caught.value.hint
    assert listing(tmp_path) == []
    assert not any(cache_folder().iterdir())

    (tmp_path / ".netrc").write_text("machine api.wandb.ai\n  login user\n  password secret\n")
    tracking.check_key(online.tracking)
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.university.example")
    with pytest.raises(TrackingError, match=r"wandb\.university\.example"):
        tracking.check_key(online.tracking)
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    tracking.check_key(online.tracking)


def test_wandb_failing_to_start_is_a_tracking_error(tiny, tmp_path):
    with pytest.raises(TrackingError, match=r"W&B cannot start: .*a/b") as caught:
        run(tiny.replace("tracking.wandb=offline", "tracking.project=a/b"), tmp_path / "out")
    assert caught.value.hint == "set tracking.wandb=disabled to train without it"
    assert listing(tmp_path) == []


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "sock5://127.0.0.1:1"])
def test_a_proxy_that_cannot_be_used_is_named(monkeypatch, proxy):
    """The hub's library raises its own errors, the first of 70 lines, whatever it was asked for."""
    import flyte.errors
    import httpx

    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(Exception) as caught:  # noqa: PT011 (whatever it is)
        httpx.Client()
    failures.forget()
    with pytest.raises(flyte.errors.NonRecoverableError) as carried, failures.carried():
        raise caught.value
    told = failures.original(carried.value)
    assert isinstance(told, RunError)
    assert "proxy" in told.message
    assert "ALL_PROXY" in told.hint
    failures.forget()


def test_names_reach_wandb_as_they_are_written(tiny):
    from flyteplugins.wandb import wandb_config

    named = tiny.replace("tracking.project='2024'", "tracking.entity='true'")
    read = type(wandb_config()).from_dict(tracking.context(named, name="007"))
    assert (read.project, read.entity, read.name, read.mode) == ("2024", "true", "007", "disabled")
    assert read.kwargs == {
        "dir": str(tracking.folder()),
        "settings": {"silent": True, "console": "off", "save_code": False},
    }
    assert RunConfig.from_dict(read.config) == named


def test_an_interrupt_ends_the_run_and_leaves_no_output_but_what_it_goes_on_from(processes: Processes, tmp_path):
    long = "strategy=[{name: head, epochs: 100000, lr_head: 0.002}]"
    process = processes.start([{"out": f"{tmp_path}/out", "set": [long, "tracking.wandb=offline"]}])
    deadline = time.monotonic() + 300  # of a machine with much else to do
    while not list(processes.home.glob("unfinished/*/checkpoints/last.ckpt")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert not (tmp_path / "out").exists()
    assert listing(processes.home / "trained") == []
    assert len(list(processes.home.glob("unfinished/*/checkpoints/last.ckpt"))) == 1
    assert [name for name in listing(tmp_path) if name.endswith(".partial")] == []


def test_a_result_is_whole_or_absent(tmp_path):
    folder = tmp_path / "kept"

    def cut_short() -> None:
        with results.building(folder, "run") as partial:
            partial.mkdir()
            (partial / "half").write_text("half")
            raise ValueError("cut short")

    with pytest.raises(ValueError, match="cut short"):
        cut_short()
    assert listing(tmp_path) == []
    assert results.damage(folder) == "it is not there"

    for content in ("first", "second"):
        with results.building(folder, content, ("deep",)) as partial:
            (partial / "deep").mkdir(parents=True)
            (partial / "note").write_text("only its time is looked at")
            (partial / "deep" / "file").write_text(content)
        assert results.damage(folder) == ""
        assert results.stage_record(folder)["run"] == content
        assert listing(tmp_path) == ["kept"]

    content = (folder / "note").read_text()
    (folder / "note").touch()
    assert results.damage(folder) == "", "another time, and the same content"
    (folder / "note").write_text(content.upper())
    assert results.damage(folder) == "its file note was changed", "of the same size, and written at another time"
    (folder / "note").write_text(content)
    assert results.damage(folder) == ""
    (folder / "deep" / "file").write_text("sEcond")
    assert "deep/file was changed" in results.damage(folder), "of the same size, and yet another"
    (folder / "deep" / "file").write_text("edited by hand")
    assert "deep/file was changed" in results.damage(folder)
    (folder / "deep" / "file").unlink()
    assert "deep/file was deleted" in results.damage(folder)
    (folder / results.STAGE).unlink()
    assert results.STAGE in results.damage(folder)


def test_a_result_of_a_training_with_other_weights_counts_as_damaged(tmp_path):
    """The same training made again on a GPU has other last bits, and its figures are no other training's."""
    for name, weights in (("first", b"1"), ("second", b"2")):
        with results.building(tmp_path / name, "run", ("weights.safetensors",)) as partial:
            partial.mkdir()
            (partial / "weights.safetensors").write_bytes(weights)
    first, second = (results.weights_of(tmp_path / name) for name in ("first", "second"))
    with results.building(tmp_path / "tested", "run", made_from=first) as partial:
        partial.mkdir()
    assert results.damage(tmp_path / "tested", first) == results.damage(tmp_path / "tested") == ""
    assert results.damage(tmp_path / "tested", second) == "it was made from a training with other weights"


def test_of_two_equal_results_the_first_stays_and_an_older_one_is_replaced(tmp_path):
    folder = tmp_path / "kept"

    def build(content: str, meanwhile: str = "") -> None:
        with results.building(folder, content) as partial:
            partial.mkdir()
            (partial / "file").write_text(content)
            if meanwhile:  # another process, which is quicker
                (tmp_path / "other").mkdir()
                (tmp_path / "other" / "file").write_text(meanwhile)
                (tmp_path / "other" / results.STAGE).write_text(
                    json.dumps({"seconds": 1, "run": meanwhile, "files": {"file": len(meanwhile)}, "sha256": {}})
                )
                (tmp_path / "other").rename(folder)

    build("slow", meanwhile="quick")
    assert (folder / "file").read_text() == "quick"
    os.utime(folder, (0, 0))
    build("again")
    assert (folder / "file").read_text() == "again"
    assert listing(tmp_path) == ["kept"]


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("seconds"),
        lambda record: record.update(seconds="4"),
        lambda record: record.update(files=["note"]),
        lambda record: record.update(files={"note": "4 bytes"}),
        lambda record: record.update(sealed={"note": 3}),
        lambda record: record.update(of="nothing"),
    ],
)
def test_a_record_of_other_types_is_no_record(tmp_path, change):
    with results.building(tmp_path / "kept", "run") as partial:
        partial.mkdir()
        (partial / "note").write_text("note")
    file = tmp_path / "kept" / results.STAGE
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))
    assert results.damage(tmp_path / "kept") == f"its {results.STAGE} was deleted or changed"


@pytest.mark.parametrize("way", ["file", "link to nothing", "link to a folder"])
def test_what_is_no_folder_makes_place_for_a_result(tmp_path, way):
    """Left by a hand or by a backup, it stood in the way of the same training for ever."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").touch()
    place = tmp_path / "kept"
    {
        "file": place.touch,
        "link to nothing": lambda: place.symlink_to(tmp_path / "nowhere"),
        "link to a folder": lambda: place.symlink_to(tmp_path / "elsewhere"),
    }[way]()
    with results.building(place, "run") as partial:
        partial.mkdir()
    assert place.is_dir()
    assert not place.is_symlink()
    assert results.damage(place) == ""
    assert listing(tmp_path) == ["elsewhere", "kept"]
    assert listing(tmp_path / "elsewhere") == ["mine"]


def test_neither_an_output_nor_the_cache_lies_among_the_patches(tiny, broken, monkeypatch):
    config = tiny.replace(f"data.source={broken}")
    with pytest.raises(RunError, match="which is read"):
        run(config, broken / "field" / "out")
    monkeypatch.setenv("LANDSIFT_HOME", str(broken / "cache"))
    with pytest.raises(RunError, match=r"the cache folder .* which is read\nset LANDSIFT_HOME"):
        run(config, broken.parent / "out")
    assert listing(broken) == ["field", "water"]
    assert len(listing(broken / "field")) == 3
    monkeypatch.setenv("LANDSIFT_HOME", str(broken / ".cache"))  # what is hidden is not read
    with pytest.raises(DataError, match="of 6 files"):
        run(config, broken.parent / "out")
