"""The arithmetic is chosen by measuring, written down, and leaves the network as it was."""

import pytest
import torch

from landsift.config import RunConfig
from landsift.data.store import build_store
from landsift.training import arithmetic
from landsift.training.fit import train

TINY = (
    "data.synthetic.patches=60",
    "data.synthetic.size=16",
    "model.backbone=test_efficientnet",
    "model.weights=none",
    "training.image_size=32",
    "training.batch_size=16",
    "training.accelerator=cpu",
    "tracking.tsne_every=0",
    "strategy=[{epochs: 2, lr_head: 5.0e-3, blocks: all, lr_backbone: 1.0e-3}]",
)


def configured(*changes):
    return RunConfig.load(None, (*TINY, *changes))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return build_store(configured().data, tmp_path_factory.mktemp("store") / "s")


def hardware(run):
    return {name: run.manifest["hardware"][name] for name in ("precision", "precision_trials", "compiled_from_epoch")}


@pytest.fixture
def slow_batches(monkeypatch):
    """Every batch is worth measuring, and the processor has bfloat16."""
    monkeypatch.setattr(arithmetic, "WORTH_MEASURING", 0.0)
    monkeypatch.setattr(arithmetic, "has_bfloat16", lambda _device: True)


@pytest.mark.parametrize(("share", "chosen"), [(1e6, "bf16-mixed"), (0.0, "32-true")])
def test_the_faster_one_is_taken_and_the_trials_are_written_down(
    slow_batches, monkeypatch, store, tmp_path, share, chosen
):
    monkeypatch.setattr(arithmetic, "WINS", share)
    known = hardware(train(configured(), store, tmp_path / "r"))
    assert known["precision"] == chosen
    assert set(known["precision_trials"]) == {"32-true", "bf16-mixed"}
    assert min(known["precision_trials"].values()) > 0


def test_a_network_too_small_to_gain_is_left_in_float32(store, tmp_path, monkeypatch):
    monkeypatch.setattr(arithmetic, "WORTH_MEASURING", 1e6)
    assert hardware(train(configured(), store, tmp_path / "r")) == {
        "precision": "32-true", "precision_trials": {}, "compiled_from_epoch": None,
    }  # fmt: skip


@pytest.mark.parametrize(("asked", "used"), [("'32'", "32-true"), ("bf16", "bf16-mixed")])
def test_what_is_asked_for_is_used_without_measuring(store, tmp_path, asked, used):
    known = hardware(train(configured(f"training.precision={asked}"), store, tmp_path / "r"))
    assert (known["precision"], known["precision_trials"]) == (used, {})


def test_measuring_changes_no_weight_and_no_random_draw(slow_batches, monkeypatch, store, tmp_path):
    monkeypatch.setattr(arithmetic, "WINS", 0.0)
    measured = train(configured(), store, tmp_path / "measured")
    told = train(configured("training.precision='32'"), store, tmp_path / "told")
    for one, other in zip(measured.metrics, told.metrics, strict=True):
        assert one["train_loss"] == other["train_loss"]
        assert one["val_loss"] == other["val_loss"]


def test_a_long_phase_is_compiled_after_its_first_epoch(monkeypatch, store, tmp_path):
    """The compiled backbone is replaced by the eager one here: what is tested is when, and that training goes on."""
    compiled = []
    monkeypatch.setattr(arithmetic, "PAYS_AFTER", 0.0)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **kwargs: compiled.append(kwargs))
    known = hardware(train(configured(), store, tmp_path / "r"))
    assert known["compiled_from_epoch"] == 1
    assert compiled == [{"dynamic": False}]


@pytest.mark.parametrize("wanted", ["auto", "false"])
def test_a_short_phase_is_not_compiled_and_neither_is_one_that_was_told_not_to(monkeypatch, store, tmp_path, wanted):
    monkeypatch.setattr(arithmetic, "PAYS_AFTER", 0.0 if wanted == "false" else 1e9)
    assert (
        hardware(train(configured(f"training.compile={wanted}"), store, tmp_path / "r"))["compiled_from_epoch"] is None
    )
