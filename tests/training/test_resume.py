"""An interrupted training goes on from where it was, and ends with the same bits as one that never stopped."""

import json
import random
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from interruptions import Killed, after_steps, assert_equal, in_validation, kill, sigterm
from small_runs import VARIANTS, small, train

from foreign_variables import FOREIGN
from landsift.errors import RunError
from landsift.runtime.interruption import Terminated
from landsift.training import resume

CHANGES = {
    "plain": (
        "training.augment={color_jitter: [0.2, 0.2, 0.2, 0.1], crop: 0.6, noise: 0.1}",
        "training.feature_epochs=1",
    ),
    "rich": ("strategy.0.warmup_steps=3", "strategy.1.image_size=24"),
}


@pytest.fixture(scope="module", params=VARIANTS)
def config(request):
    return small(*VARIANTS[request.param], *CHANGES[request.param])


@pytest.fixture(scope="module")
def whole(config, store, tmp_path_factory):
    """A run that nothing interrupted."""
    return train(config, store, tmp_path_factory.mktemp("whole") / "r").path


def slow(*values):
    """Cases for `--complete`: each is a training of its own."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def stopped(config, store, folder: Path, when) -> None:
    """Train until SIGTERM comes."""
    before = signal.getsignal(signal.SIGTERM)
    with when, pytest.raises(Terminated) as caught:
        train(config, store, folder)
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("step", [*slow(1, 5, 6), 10, 13, *slow(20)])
def test_after_sigterm_in_any_step_it_goes_on(config, store, whole, tmp_path, step):
    """Steps 5, 10 and 20 are the last of their epochs, 10 of its phase, 20 of all."""
    stopped(config, store, tmp_path / "r", after_steps(step, sigterm))
    done = torch.load(tmp_path / "r" / "checkpoints" / "last.ckpt", weights_only=True)
    assert done["global_step"] == step
    train(config, store, tmp_path / "r")
    assert_equal(tmp_path / "r", whole)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP])
def test_what_batch_systems_send_before_the_time_is_up_stops_it_with_a_checkpoint(store, tmp_path, number, monkeypatch):
    """And asks nobody to start the job again, as Lightning does under SLURM."""
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")  # else this would be one of eight
    config = small("strategy=[{epochs: 2, lr_head: 1.0e-3}]", "tracking.tsne_every=0")
    started_with = signal.signal(number, signal.SIG_DFL)  # nohup, for one, has SIGHUP ignored
    try:
        with after_steps(2, lambda: signal.raise_signal(number)), pytest.raises(Terminated) as caught:
            train(config, store, tmp_path / "r")
        assert (caught.value.code, caught.value.number) == (128 + number, number)
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, started_with)
    assert [f.name for f in (tmp_path / "r").rglob("*.ckpt")] == ["last.ckpt"]
    assert torch.load(tmp_path / "r" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2


def test_a_signal_that_the_caller_has_a_use_for_stays_the_callers(store, tmp_path, monkeypatch):
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
    try:
        with after_steps(2, lambda: signal.raise_signal(signal.SIGUSR1)):
            train(small("strategy=[{epochs: 1, lr_head: 1.0e-3}]", "tracking.tsne_every=0"), store, tmp_path / "r")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [1]


@pytest.mark.parametrize("batch", [1, *slow(2, 8)])
def test_after_sigterm_in_a_validation_it_goes_on(config, store, whole, tmp_path, batch):
    """Validations have two batches: of the first it stops before the second, of the second at the end of the epoch."""
    stopped(config, store, tmp_path / "r", in_validation(batch, sigterm))
    rows = json.loads((tmp_path / "r" / "metrics.json").read_text()) if batch > 1 else []
    assert len(rows) == batch // 2
    train(config, store, tmp_path / "r")
    assert_equal(tmp_path / "r", whole)


@pytest.mark.parametrize("step", [7, *slow(10)])
def test_after_a_kill_it_goes_on_from_the_last_epoch(config, store, whole, tmp_path, step):
    with after_steps(step, kill), pytest.raises(Killed):
        train(config, store, tmp_path / "r")
    done = torch.load(tmp_path / "r" / "checkpoints" / "last.ckpt", weights_only=True)
    assert done["global_step"] == (step - 1) // 5 * 5
    train(config, store, tmp_path / "r")
    assert_equal(tmp_path / "r", whole)


def test_within_an_epoch_it_goes_on_from_the_last_checkpoint(config, store, whole, tmp_path):
    often = config.replace("training.checkpoint_minutes=1.0e-9")
    with after_steps(8, kill), pytest.raises(Killed):
        train(often, store, tmp_path / "r")
    assert torch.load(tmp_path / "r" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 7
    run = train(config, store, tmp_path / "r")  # how often it is guarded makes no other training of it
    assert_equal(tmp_path / "r", whole)
    assert run.manifest["interruptions"] == 1
    assert run.manifest["seconds_before"] > 0


def test_interrupted_again_and_again_it_ends_the_same(config, store, whole, tmp_path):
    attempts = 1
    for steps in (3, 3, 1, 4, 2, 5):
        stopped(config, store, tmp_path / "r", after_steps(steps, sigterm))
        attempts += 1
    run = train(config, store, tmp_path / "r")
    assert_equal(tmp_path / "r", whole)
    assert run.manifest["interruptions"] == attempts - 1


def test_killed_after_the_last_epoch_it_is_only_tested(config, store, whole, tmp_path):
    with in_validation(9, kill), pytest.raises(Killed):  # four validations have eight batches; then it predicts
        train(config, store, tmp_path / "r")
    assert not (tmp_path / "r" / "evaluation.json").exists()

    def step():
        raise AssertionError("a step was trained")

    with after_steps(1, step):
        train(config, store, tmp_path / "r")
    assert_equal(tmp_path / "r", whole)


def test_a_stop_on_the_validation_loss_stays_one(store, tmp_path):
    """What was stopped early and killed before its test must not train on."""
    early = small(
        "strategy=[{epochs: 9, lr_head: 5.0e-3}]",
        "training.early_stopping={patience: 1, min_delta: 100}",
        "tracking.tsne_every=5",
    )
    once = train(early, store, tmp_path / "once").path
    assert len(json.loads((once / "metrics.json").read_text())) == 2
    with in_validation(5, kill), pytest.raises(Killed):
        train(early, store, tmp_path / "r")
    train(early, store, tmp_path / "r")
    assert_equal(tmp_path / "r", once)


def test_a_finished_training_that_is_asked_for_again_trains_no_step_and_stays_as_it_is(config, store, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "r")

    def step():
        raise AssertionError("a step was trained")

    with after_steps(1, step):
        train(config, store, tmp_path / "r")
    assert_equal(tmp_path / "r", whole)


def test_an_epoch_that_counts_no_more_leaves_no_checkpoint(config, store, whole, tmp_path):
    """Killed between the best epochs' checkpoint and the last one, the newer of the two is nobody's."""
    stopped(config, store, tmp_path / "r", after_steps(5, sigterm))
    orphan = tmp_path / "r" / "checkpoints" / "best-000-0.987.ckpt"
    orphan.write_bytes(b"of an epoch that is trained again")
    (tmp_path / "r" / "checkpoints" / ".last.ckpt.99.partial").write_bytes(b"half")
    train(config, store, tmp_path / "r")
    assert_equal(tmp_path / "r", whole)


def test_it_goes_on_in_another_place(config, store, whole, tmp_path):
    stopped(config, store, tmp_path / "a", after_steps(13, sigterm))
    (tmp_path / "a").rename(tmp_path / "b")
    train(config, store, tmp_path / "b")
    assert_equal(tmp_path / "b", whole)


def test_another_trainings_folder_is_refused(config, store, tmp_path):
    stopped(config, store, tmp_path / "r", after_steps(3, sigterm))
    with pytest.raises(RunError, match="other settings or patches"):
        train(config.replace("seed=1"), store, tmp_path / "r")


class Sly:
    """Runs a command when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize("damage", ["code", "cut", "other", "rubbish"])
def test_a_checkpoint_that_is_none_or_carries_code_is_refused_in_words(store, tmp_path, damage):
    config = small("strategy=[{epochs: 1, lr_head: 5.0e-3}]", "tracking.tsne_every=0")
    stopped(config, store, tmp_path / "r", after_steps(3, sigterm))
    file, ran = tmp_path / "r" / "checkpoints" / "last.ckpt", tmp_path / "ran"
    whole = file.read_bytes()
    if damage == "code":
        torch.save(torch.load(file, weights_only=True) | {"hyper_parameters": Sly(ran)}, file)
    else:
        content = {"cut": whole[: len(whole) // 2], "other": b"", "rubbish": b"no archive"}[damage]
        torch.save({"state_dict": {}}, file) if damage == "other" else file.write_bytes(content)
    with pytest.raises(RunError) as caught:
        train(config, store, tmp_path / "r")
    assert str(file) in caught.value.message
    assert caught.value.hint == "delete that file to train from the start"
    assert not ran.exists()
    file.unlink()
    train(config, store, tmp_path / "r")


def test_a_checkpoint_of_another_version_is_refused_and_not_resumed_in_part(store, tmp_path):
    config = small(*VARIANTS["plain"])
    stopped(config, store, tmp_path / "r", after_steps(3, sigterm))
    file = tmp_path / "r" / "checkpoints" / "last.ckpt"
    saved = torch.load(file, weights_only=True)
    del saved["landsift"]["format"]
    torch.save(saved, file)
    with pytest.raises(RunError, match="another version of landsift wrote it") as caught:
        train(config, store, tmp_path / "r")
    assert caught.value.hint == "resume with that version, or delete that file to train from the start"


def test_what_was_chosen_at_the_start_is_not_chosen_again(config, store, tmp_path):
    """The precision goes by the device: another choice after an interruption would change the numbers."""
    auto = config.replace("training.precision=auto")
    stopped(auto, store, tmp_path / "r", after_steps(3, sigterm))
    file = tmp_path / "r" / "checkpoints" / resume.SETTLED
    settled = json.loads(file.read_text())
    file.write_text(json.dumps(settled | {"precision": "bf16-mixed"}))
    run = train(auto, store, tmp_path / "r")
    assert run.manifest["hardware"]["precision"] == "bf16-mixed"


def draw() -> tuple[float, ...]:
    return random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002


def test_random_states_come_back_and_are_plain_values(tmp_path):
    torch.save(resume.random_states(), tmp_path / "states")
    drawn = draw()
    resume.put_random_states_back(torch.load(tmp_path / "states", weights_only=True))
    assert draw() == drawn
