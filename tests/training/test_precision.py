"""The precision goes by the device, compiling by a measured epoch, and both are written down."""

import pytest
import torch
from small_runs import small

from landsift.errors import ConfigError
from landsift.training import precision
from landsift.training.module import PatchModule
from landsift.training.start import train

SETTINGS = (
    "training.precision=auto",
    "tracking.tsne_every=0",
    "strategy=[{epochs: 2, lr_head: 5.0e-3, blocks: all, lr_backbone: 1.0e-3}]",
)


def configured(*changes):
    return small(*SETTINGS, *changes)


def hardware(run):
    return {name: run.manifest["hardware"][name] for name in ("precision", "compiled_from_epoch")}


@pytest.mark.parametrize(("asked", "used"), [("auto", "32-true"), ("'32'", "32-true"), ("bf16", "bf16-mixed")])
def test_a_cpu_computes_in_float32_unless_asked_otherwise(store, tmp_path, asked, used):
    """A noisy timing chose one or the other, and with it every figure."""
    run = train(configured(f"training.precision={asked}"), store, tmp_path / "r")
    assert hardware(run) == {"precision": used, "compiled_from_epoch": None}


@pytest.mark.parametrize(("asked", "used"), [("auto", None), ("'32'", "32-true"), ("bf16", "bf16-mixed")])
@pytest.mark.parametrize("has", [True, False])
def test_a_gpu_computes_in_bfloat16_if_it_has_it(monkeypatch, asked, used, has):
    """Emulated, it is no faster."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    config = configured(f"training.precision={asked}").training
    by_device = "bf16-mixed" if has else "32-true"
    assert precision.choose_precision(config, torch.device("cuda", 0)) == (used or by_device)
    assert precision.choose_precision(config, torch.device("cpu")) == ("bf16-mixed" if asked == "bf16" else "32-true")


def test_a_long_phase_is_compiled_after_its_first_epoch(monkeypatch, store, tmp_path):
    """The compiled backbone is replaced by the eager one here: what is tested is when, and that training goes on."""
    compiled = []
    monkeypatch.setattr(precision, "PAYS_AFTER", 0.0)
    monkeypatch.setattr(precision, "can_compile", lambda: True)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **kwargs: compiled.append(kwargs))
    known = hardware(train(configured(), store, tmp_path / "r"))
    assert known["compiled_from_epoch"] == 1
    assert compiled == [{"dynamic": False}]


@pytest.mark.parametrize("wanted", ["auto", "false"])
def test_a_short_phase_is_not_compiled_and_neither_is_one_that_was_told_not_to(monkeypatch, store, tmp_path, wanted):
    monkeypatch.setattr(precision, "PAYS_AFTER", 0.0 if wanted == "false" else 1e9)
    assert (
        hardware(train(configured(f"training.compile={wanted}"), store, tmp_path / "r"))["compiled_from_epoch"] is None
    )


def test_bfloat16_goes_with_clipped_gradients(store, tmp_path):
    """What the message about diverged losses recommends; Lightning's own clipping refuses the fused optimizer."""
    known = hardware(train(configured("training.precision=bf16", "training.gradient_clip=1.0"), store, tmp_path / "r"))
    assert known["precision"] == "bf16-mixed"


def test_gradients_are_clipped_to_their_norm(monkeypatch, store, tmp_path):
    norms = []
    original = PatchModule.configure_gradient_clipping

    def clip(self, optimizer, **arguments):
        original(self, optimizer, **arguments)
        gradients = [p.grad.norm() for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.stack(gradients).norm()))

    monkeypatch.setattr(PatchModule, "configure_gradient_clipping", clip)
    train(configured("training.gradient_clip=0.01"), store, tmp_path / "r")
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


def test_a_compiled_training_is_the_same_training(monkeypatch, store, tmp_path):
    """With the compiler's front end alone, which captures the network and runs it as it is."""
    original = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **kwargs: original(self, backend="eager", **kwargs))
    monkeypatch.setattr(precision, "can_compile", lambda: True)
    both = configured("training.precision='32'", "training.ema=0.9")
    plain = train(both.replace("training.compile=false"), store, tmp_path / "plain")
    compiled = train(both.replace("training.compile=true"), store, tmp_path / "compiled")
    assert hardware(compiled)["compiled_from_epoch"] == 0
    for one, other in zip(compiled.metrics, plain.metrics, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-4)


def test_compiling_without_a_compiler_is_refused(monkeypatch, store, tmp_path):
    monkeypatch.setattr(precision.shutil, "which", lambda _name: None)
    with pytest.raises(ConfigError, match="there is no C\\+\\+ compiler here"):
        train(configured("training.compile=true"), store, tmp_path / "r")
