"""Weights files: what timm's loader takes is taken, in whatever it was wrapped, and what is passed over is said."""

import argparse
import logging
import re
from collections import OrderedDict
from functools import cache

import pytest
import timm
import torch
from safetensors.torch import save_file

from landsift.config import ModelConfig
from landsift.errors import ModelError
from landsift.models.backbone import create_backbone

TINY = "test_efficientnet"


@cache
def written():
    """What the owner of a TINY network saves: its weights, with statistics that no fresh network has."""
    torch.manual_seed(5)
    network = timm.create_model(TINY)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return OrderedDict(network.state_dict())


def other():
    """The same network with other weights: what must not be loaded."""
    return OrderedDict((name, torch.zeros_like(t)) for name, t in written().items())


def under(prefix, tensors):
    return OrderedDict((prefix + name, tensor) for name, tensor in tensors.items())


def loaded(file, backbone=TINY, size=32, **arguments):
    return create_backbone(ModelConfig(backbone=backbone, weights=str(file), backbone_args=arguments), size).network


def is_written(network):
    """Whether a network has the weights of `written`, and computes with them."""
    kept, wanted = network.state_dict(), written()
    original = timm.create_model(TINY, num_classes=0)
    original.load_state_dict({name: wanted[name] for name in original.state_dict()})
    image = torch.rand(1, 3, 32, 32)
    same = torch.equal(network.eval()(image), original.eval()(image))
    return same and all(torch.equal(tensor, wanted[name]) for name, tensor in kept.items())


@pytest.mark.parametrize("ending", [".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_torch_are_read_whatever_their_ending_and_age(tmp_path, ending, zipped):
    file = tmp_path / f"w{ending}"
    if ending == ".safetensors":
        save_file(written(), file)
        file = file.rename(tmp_path / "w.pth") if zipped else file  # the content says what it is
    else:
        torch.save(written(), file, _use_new_zipfile_serialization=zipped)
    assert is_written(loaded(file))


WRAPPED = {
    "a list of settings beside it": (
        lambda w: {"model": w, "optimizer": {"state": {0: {"step": torch.ones(1)}}}, "args": argparse.Namespace(lr=1)},
        "its 'model' is taken",
    ),
    "averages": (lambda w: {"state_dict": other(), "state_dict_ema": w, "epoch": 3}, "'state_dict_ema' is taken, not"),
    "averages under another name": (lambda w: {"model": other(), "model_ema": w}, "its 'model_ema' is taken, not"),
    "a teacher and a student": (
        lambda w: {"student": under("module.backbone.", other()), "teacher": under("backbone.", w)},
        "its 'teacher' is taken, not its 'student'; 'backbone.' is taken off",
    ),
    "one in the other": (lambda w: {"model": {"state_dict": w}}, "its 'model' is taken; its 'state_dict' is taken"),
    "a name of its own": (lambda w: {"net_g": w, "optimizer": {"state": {}}}, "its 'net_g' is taken"),
    "a number among its tensors": (lambda w: {**w, "epoch": 3}, "1 (such as epoch) that are not tensors left out"),
    "several GPUs": (lambda w: under("module.", w), "'module.' is taken off"),
    "Lightning": (
        lambda w: {"state_dict": under("model.", w) | {"criterion.weight": torch.ones(4)}},
        "1 (such as criterion.weight) beside them left out",
    ),
    "torch.compile": (lambda w: under("_orig_mod.module.", w), "'_orig_mod.module.' is taken off"),
    "a pretraining with a head": (
        lambda w: under("encoder.", w) | {"projector.0.weight": torch.ones(4, 4)},
        "'encoder.' is taken off the names of its tensors; 1 (such as projector.0.weight) beside them left out",
    ),
    "two networks by prefix": (
        lambda w: under("student.backbone.", other()) | under("teacher.backbone.", w),
        "'teacher.backbone.' is taken off",
    ),
    "two networks by prefix, on several GPUs": (
        lambda w: under("module.student.backbone.", other()) | under("module.teacher.backbone.", w),
        "'module.teacher.backbone.' is taken off",
    ),
    "a prefix nobody knows": (lambda w: under("my_own.trunk.", w), "'my_own.trunk.' is taken off"),
    "double precision": (lambda w: OrderedDict((name, tensor.double()) for name, tensor in w.items()), ""),
    "half precision": (lambda w: OrderedDict((n, t.half() if t.is_floating_point() else t) for n, t in w.items()), ""),
}


@pytest.mark.parametrize("how", WRAPPED)
def test_what_weights_are_wrapped_in_is_taken_off_and_said(how, tmp_path, caplog):
    wrap, said = WRAPPED[how]
    torch.save(wrap(written()), tmp_path / "w.pth")
    with caplog.at_level(logging.INFO, "landsift"):
        network = loaded(tmp_path / "w.pth")
    if how == "half precision":
        assert torch.allclose(network.conv_stem.weight, written()["conv_stem.weight"], atol=1e-3)
    else:
        assert is_written(network)
    assert said in caplog.text
    assert "the classifier (classifier.weight, classifier.bias) left out" in caplog.text


def test_weights_without_a_classifier_need_no_word(tmp_path, caplog):
    save_file({n: t for n, t in written().items() if "classifier" not in n}, tmp_path / "w.safetensors")
    with caplog.at_level(logging.INFO, "landsift"):
        assert is_written(loaded(tmp_path / "w.safetensors"))
    assert caplog.text == ""


DINO = {"depth": 2, "embed_dim": 48, "num_heads": 3}
SWIN = {"embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}

MAXVIT = {"depths": [1, 1, 1, 1], "embed_dim": [32, 32, 64, 64]}


def dinov2(tensors):
    """The names of DINOv2's authors, and their class token without its position."""
    tokens, positions = tensors.pop("reg_token"), tensors.pop("pos_embed")
    first = torch.full_like(positions[:, :1], 0.5)
    tensors["cls_token"] = tensors["cls_token"] - first
    return tensors | {
        "register_tokens": tokens,
        "pos_embed": torch.cat([first, positions], dim=1),
        "mask_token": torch.zeros(1, 48),
    }


def renamed(*pairs):
    def rename(tensors):
        for old, new in pairs:
            tensors = {re.sub(old, new, name): tensor for name, tensor in tensors.items()}
        return tensors

    return rename


LAYOUTS = [
    ("deit3_small_patch16_224", DINO, 224, 224, renamed((r"ls([12])\.gamma", r"gamma_\1"))),
    ("deit3_small_patch16_224", DINO, 224, 64, renamed((r"ls([12])\.gamma", r"gamma_\1"))),
    ("vit_small_patch14_reg4_dinov2", DINO, 70, 70, dinov2),
    ("vit_small_patch14_reg4_dinov2", DINO, 70, 56, dinov2),
    ("vit_small_patch14_reg4_dinov2", DINO, 70, 98, renamed()),
    ("flexivit_small", DINO | {"patch_size": 8}, 64, 64, lambda t: t),
    ("levit_128s", {}, 224, 224, lambda t: t | {"stages.0.blocks.0.attn.attention_bias_idxs": torch.zeros(2, 2)}),
    ("repvit_m0_9", {}, 32, 32, renamed()),
    ("pit_ti_224", {}, 64, 64, renamed((r"transformers\.1\.pool", "pools.0"), (r"transformers\.2\.pool", "pools.1"))),
    ("swin_tiny_patch4_window7_224", SWIN, 224, 128, renamed()),
    ("swinv2_tiny_window8_256", SWIN, 256, 128, renamed()),
    ("maxvit_pico_rw_256", MAXVIT, 256, 64, renamed()),
    ("densenet121", {"block_config": [1, 1, 1, 1]}, 64, 64, renamed((r"(norm|conv)([12])\.", r"\1.\2."))),
    ("eva02_tiny_patch14_336", {"depth": 2}, 336, 56, renamed()),
    ("fbnetc_100", {}, 32, 32, renamed()),
]


@pytest.mark.parametrize(
    ("name", "arguments", "then", "now", "layout"), LAYOUTS, ids=lambda v: v if isinstance(v, str | int) else ""
)
def test_what_timm_loads_is_loaded_to_the_bit(name, arguments, then, now, layout, tmp_path):
    """In its authors' names, with what they saved beside it, and at another input size than it was trained at."""
    torch.manual_seed(1)
    sized = {"img_size": then} if timm.get_pretrained_cfg(name).fixed_input_size else {}
    tensors = timm.create_model(name, **sized, **{k: v for k, v in arguments.items() if k != "patch_size"}).state_dict()
    tensors = layout({key: tensor.clone() for key, tensor in tensors.items()})
    torch.save({"model": tensors}, tmp_path / "w.pth")
    timms = timm.create_model(
        name, pretrained=True, num_classes=0, **(sized and {"img_size": now}), **arguments,
        pretrained_cfg_overlay={"state_dict": {key: tensor.clone() for key, tensor in tensors.items()}},
    ).eval()  # fmt: skip
    ours = loaded(tmp_path / "w.pth", name, now, **arguments).eval()
    wanted = timms.state_dict()
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in ours.state_dict().items())
    image = torch.rand(1, 3, now, now)
    assert torch.equal(ours(image), timms(image))


def test_a_network_is_the_one_that_timm_makes_for_pretrained_weights():
    """Its batch norms have another epsilon there: a model that was saved and rebuilt answered otherwise."""
    network = create_backbone(ModelConfig(backbone="fbnetc_100", weights="none"), 32).network
    assert {m.eps for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {1e-3}


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"epoch": 3}, "holds no tensors by name"),
        ([torch.ones(1)], "holds no tensors by name"),
        (torch.ones(1), "holds no tensors by name"),
        ({"a": {"w": torch.ones(1)}, "b": {"w": torch.ones(1)}}, "holds several networks (a, b)"),
        ({"landsift": {}, "state_dict": {"w": torch.ones(1)}}, "give its run directory"),
    ],
)
def test_files_without_one_network_are_refused(held, said, tmp_path):
    torch.save(held, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=re.escape(said)):
        loaded(tmp_path / "w.pth")


@pytest.mark.parametrize("names", [("encoder_k.", "encoder_q."), ("target_encoder.", "online_encoder."), ("a.", "b.")])
def test_of_two_networks_of_like_names_none_is_guessed(names, tmp_path):
    file = tmp_path / "w.pth"
    torch.save(under(f"module.{names[0]}", other()) | under(f"module.{names[1]}", written()), file)
    with pytest.raises(ModelError, match=r"holds several networks .*save the one that is meant"):
        loaded(file)


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "it is a pointer of Git LFS"),
        (b"<!DOCTYPE html>", "it is a web page"),
    ],
)
def test_what_a_download_left_in_place_of_weights_is_named(ending, content, said, tmp_path):
    (tmp_path / f"w{ending}").write_bytes(content)
    with pytest.raises(ModelError, match=said):
        loaded(tmp_path / f"w{ending}")


def test_a_torchscript_archive_is_refused_with_what_to_save(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "w.pt"))
    with pytest.raises(ModelError, match="it is a TorchScript archive"):
        loaded(tmp_path / "w.pt")


def test_a_network_saved_whole_is_refused_with_what_to_save(tmp_path):
    torch.save(timm.create_model(TINY), tmp_path / "w.pth")
    with pytest.raises(ModelError, match="which weights do not need: save the state dict alone"):
        loaded(tmp_path / "w.pth")


def test_whole_numbers_in_place_of_weights_are_refused(tmp_path):
    """They load without an error, as a network of zeros and ones."""
    quantized = {name: tensor.to(torch.int8) for name, tensor in written().items()}
    torch.save(quantized, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"of another type \(such as conv_stem\.weight\)"):
        loaded(tmp_path / "w.pth")


@pytest.mark.parametrize("prefix", ["", "module.", "module.encoder."])
def test_wrapped_weights_that_do_not_fit_are_named_without_their_prefix(prefix, tmp_path):
    tensors = under(prefix, written())
    del tensors[f"{prefix}conv_stem.weight"]
    tensors[f"{prefix}odd.weight"] = torch.ones(1)
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(ModelError) as error:
        loaded(tmp_path / "w.pth")
    assert "tensors 1 missing (such as conv_stem.weight), 1 unknown (such as odd.weight)" in str(error.value)


def test_positions_that_timm_does_not_resample_are_refused(tmp_path):
    """The first of them was taken for that of a class token, and the others resampled around the hole."""
    torch.save(timm.create_model("convit_tiny", img_size=224, depth=1).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"1 of another shape \(such as pos_embed\)\n.*training\.image_size"):
        loaded(tmp_path / "w.pth", "convit_tiny", 64, depth=1)


def test_asking_timm_leaves_its_loader_as_it_was(tmp_path):
    from timm.models import _builder

    before = _builder.load_pretrained
    torch.save({"x": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(ModelError):
        loaded(tmp_path / "w.pth")
    assert _builder.load_pretrained is before


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("statistics", [True, False])
def test_weights_of_a_single_value_are_refused(value, statistics, tmp_path):
    """They load without an error, as a network that knows nothing; its batch norms may look trained."""
    keeps = ("running_mean", "running_var") if statistics else ()
    filled = {n: t if n.endswith(keeps) else torch.full_like(t, value) for n, t in written().items()}
    torch.save(filled, tmp_path / "w.pth")
    with pytest.raises(
        ModelError, match=f"contain no information: .* a single value .such as conv_stem.weight: {value:g}"
    ):
        loaded(tmp_path / "w.pth")


def test_a_layer_of_zeros_is_said(tmp_path, caplog):
    tensors = written() | {"conv_stem.weight": torch.zeros_like(written()["conv_stem.weight"])}
    torch.save(tensors, tmp_path / "w.pth")
    loaded(tmp_path / "w.pth")
    assert re.search(r"w\.pth: 1 of \d+ layers hold a single value each \(such as conv_stem.weight: 0\)", caplog.text)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_weights_that_are_no_numbers_are_refused_with_the_first_of_them(value, ending, tmp_path):
    tensors = written() | {"conv_stem.weight": written()["conv_stem.weight"].clone()}
    tensors["conv_stem.weight"][0, 0, 0, 0] = value
    save_file(tensors, tmp_path / "w.safetensors") if ending == ".safetensors" else torch.save(
        tensors, tmp_path / "w.pth"
    )
    with pytest.raises(ModelError, match=r"conv_stem\.weight holds values that are no finite numbers"):
        loaded(tmp_path / f"w{ending}")
