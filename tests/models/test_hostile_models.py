"""Models from strangers: nothing in them is executed, and no value in them takes memory beyond the files' own."""

import json
import os
import pickle
import re
import resource
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import landsift
from landsift.config import HeadConfig, ModelConfig
from landsift.data.sources.base import STORE_FORMAT
from landsift.data.store.patch_store import PatchStore
from landsift.data.unlabelled.listing import image_files
from landsift.errors import LandsiftError, ModelError
from landsift.evaluation.predict import predict_files
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.models.model_json import ModelDescription
from landsift.models.predictor import load_model, save_model

SOURCE = Path(landsift.__file__).parent


@pytest.fixture
def model(tmp_path):
    """A `model/` folder that loads."""
    torch.manual_seed(0)
    backbone = create_backbone(ModelConfig(backbone="test_efficientnet", weights="none"), 32)
    classifier = PatchClassifier(backbone.network, backbone.features, 3, HeadConfig(hidden=256, dropout=0.3))
    values = {"backbone": "test_efficientnet", "backbone_args": {}, "head": {"hidden": 256, "dropout": 0.3}}
    values |= {"classes": ("a", "b", "c"), "patch_size": (16, 16), "image_size": 32}
    values |= {"mean": (0.5,) * 3, "std": (0.5,) * 3, "landsift": "0"}
    save_model(classifier, ModelDescription(**values), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def payload(tmp_path):
    """A pickle that, when it is loaded, makes a file; the test fails if the file is there at its end."""

    class Payload:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    raw = pickle.dumps(Payload())
    pickle.loads(raw)
    assert (tmp_path / "executed").exists()  # it would work
    (tmp_path / "executed").unlink()
    yield Payload()
    assert not (tmp_path / "executed").exists()


def changed(model, **values):
    file = model / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def refusal(call) -> str:
    with pytest.raises(LandsiftError) as error:
        call()
    text = str(error.value)
    assert len(text.splitlines()) <= 2
    assert len(text) < 600
    return text


def refused_weights(file, backbone="test_resnet", size=32, **arguments) -> str:
    config = ModelConfig(backbone=backbone, weights=str(file), backbone_args=arguments)
    return refusal(lambda: create_backbone(config, size))


@pytest.mark.parametrize("name", ["w.ckpt", "w.pth", "w.pt", "w.bin", "w.pth.tar", "w.safetensors", "w.npz"])
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_that_carry_code_are_not_executed(payload, tmp_path, name, zipped):
    torch.save({"state_dict": payload}, tmp_path / name, _use_new_zipfile_serialization=zipped)
    said = "is not a file of weights" if name == "w.npz" else "cannot read weights"
    assert said in refused_weights(tmp_path / name)


def test_a_plain_pickle_called_weights_is_not_executed(payload, tmp_path):
    (tmp_path / "w.pth").write_bytes(pickle.dumps(payload))
    assert "cannot read weights" in refused_weights(tmp_path / "w.pth")


class Asks:
    """What, in a file of weights, asks for something to be made."""

    def __init__(self, made, *arguments):
        self.asked = made, arguments

    def __reduce__(self):
        return self.asked


def memory() -> int:
    """The most bytes that this process has had."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("held", "said"),
    [
        (Asks(bytearray, 2**32), "asks for __builtin__.bytearray"),  # torch's own loader makes it
        (Asks(torch.Tensor, 2**16, 2**16), "asks for torch.Tensor"),
        (Asks(torch.UntypedStorage, 2**32), "asks for torch.storage.UntypedStorage"),
        (torch.empty(2**33, device="meta"), "which weights do not need"),
        (torch.zeros(1).expand(2**31), "is larger than what is stored of it"),
        ({str(i): torch.zeros(1).expand(9) for i in range(9)}, "is larger than what is stored of it"),
        (torch.ones(3, dtype=torch.complex64), "no finite numbers"),
        (torch.tensor([1.0, float("nan")]), "no finite numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_weights_that_ask_for_more_than_they_hold_are_refused(tmp_path, held, said, zipped):
    before = memory()
    held = held if isinstance(held, dict) else {"a": held}
    torch.save(held, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert said in refused_weights(tmp_path / "w.pth")
    assert memory() - before < 2**29


def test_tensors_that_share_their_memory_many_times_are_refused(tmp_path):
    torch.save(dict.fromkeys(map(str, range(1000)), torch.zeros(100_000)), tmp_path / "w.pth")
    assert "its tensors are larger than the file" in refused_weights(tmp_path / "w.pth")


def test_compressed_weights_are_refused_before_they_are_unpacked(tmp_path):
    torch.save({"a": torch.zeros(2**20)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member))
    assert "it is compressed" in refused_weights(tmp_path / "w.pth")


def test_tensors_that_claim_more_than_is_stored_are_refused(tmp_path):
    torch.save({"a": torch.arange(100.0)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "w.pth", "w") as claiming:
        for member in plain.infolist():
            content = plain.read(member)
            if member.filename.endswith("data.pkl"):
                assert content.count(b"Kd") == 2  # the number 100: of the storage, and of the tensor
                content = content.replace(b"Kd", b"J" + struct.pack("<i", 2**28))
            claiming.writestr(member.filename, content)
    assert "cannot read weights" in refused_weights(tmp_path / "w.pth")


def test_positions_that_would_be_resampled_to_a_thousand_times_their_size_are_refused(tmp_path):
    """40 MB of them would have become 10 GB."""
    network = timm.create_model("test_vit", img_size=800)
    tensors = dict(network.state_dict()) | {"pos_embed": torch.zeros(1, 5, 2_000_000)}
    torch.save(tensors, tmp_path / "w.pth")
    before = memory()
    assert "1 of another shape (such as pos_embed)" in refused_weights(tmp_path / "w.pth", "test_vit", 800)
    assert memory() - before < 2**29


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_a_model_whose_weights_carry_code_is_not_executed(payload, model, kind):
    file = model / "model.safetensors"
    torch.save(payload, file) if kind == "torch" else file.write_bytes(pickle.dumps(payload))
    assert "does not fit" in refusal(lambda: load_model(model))
    assert "cannot read weights" in refusal(
        lambda: create_backbone(ModelConfig(backbone="test_efficientnet", weights=str(model)), 32)
    )


@pytest.mark.parametrize(
    "key", ["checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "pretrained"]
)
def test_a_description_cannot_lead_timm_to_other_files(payload, model, tmp_path, key):
    """`backbone_args: {checkpoint_path: ...}` was handed to timm, which loaded the file."""
    torch.save(payload, tmp_path / "evil.pth")
    value = {"file": str(tmp_path / "evil.pth")} if "cfg" in key else str(tmp_path / "evil.pth")
    changed(model, backbone_args={key: value})
    assert f"'{key}' says nothing about the network" in refusal(lambda: load_model(model))


def test_a_store_whose_arrays_carry_code_is_not_opened(payload, tmp_path):
    meta = {"format": STORE_FORMAT, "shape": [1], "index_bytes": 0, "classes": [], "info": {"root": None}}
    (tmp_path / "store.json").write_text(json.dumps(meta))
    (tmp_path / "index.parquet").touch()
    np.save(tmp_path / "images.npy", np.array([payload], dtype=object), allow_pickle=True)
    assert "damaged" in refusal(lambda: PatchStore.open(tmp_path))
    (tmp_path / "images.npy").write_bytes(pickle.dumps(payload))
    assert "no array of numbers" in refusal(lambda: PatchStore.open(tmp_path))  # numpy advises to trust it
    with zipfile.ZipFile(tmp_path / "images.npy", "w") as archive:  # numpy opens it as an archive of arrays
        archive.writestr("images.npy", pickle.dumps(payload))
    assert "damaged" in refusal(lambda: PatchStore.open(tmp_path))


def test_nothing_in_the_source_unpickles():
    for file in SOURCE.rglob("*.py"):
        text = file.read_text()
        if file != SOURCE / "engine" / "worker.py":  # a worker is there to run its client's code
            assert not re.search(r"\bimport (pickle|dill|cloudpickle|joblib)\b|pickle\.loads?\(", text), file
        for call in re.findall(r"torch\.load\(.*", text):
            assert "weights_only=True" in call, f"{file}: {call}"
        for call in re.findall(r"\bnp\.load\(.*", text):
            assert "allow_pickle=False" in call, f"{file}: {call}"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"classes": "abc"}, "classes"),
        ({"classes": []}, "classes"),
        ({"classes": ["a", "a", "b"]}, "twice"),
        ({"classes": [1, None, {}]}, "classes"),
        ({"patch_size": [10**6, 10**6]}, "patch_size"),
        ({"patch_size": [0, 16]}, "patch_size"),
        ({"patch_size": [16]}, "patch_size"),
        ({"image_size": 10**9}, "image_size"),
        ({"image_size": -1}, "image_size"),
        ({"mean": [0.5, float("nan"), 0.5]}, "mean"),
        ({"std": [0.5, 0.0, 0.5]}, "std"),
        ({"std": [0.5]}, "different lengths"),
        ({"tta": "all"}, "tta"),
        ({"head": {"hidden": -1}}, "hidden"),
        ({"head": {"hidden": 10**12, "dropout": 0.3}}, "have 256,000,000,101,737 values"),
        ({"head": []}, "head"),
        ({"backbone": "../../evil"}, "backbone"),
        ({"backbone": "hf-hub:evil/model"}, "unknown backbone"),
        ({"backbone": "local-dir:/tmp/evil"}, "unknown backbone"),
        ({"backbone": "vit_giant_patch14_dinov2"}, "does not fit"),
        ({"backbone": 7}, "backbone"),
        ({"backbone_args": {"depth": 10**9}}, "too large"),
        ({"backbone_args": {"in_chans": float("inf")}}, "too large"),
        ({"backbone_args": {"in_chans": 0}}, "test_efficientnet"),
        ({"backbone_args": {"in_chans": 8000}}, "does not fit"),
        ({"backbone_args": {"act_layer": "evil"}}, "test_efficientnet"),
        ({"backbone_args": {"global_pool": []}}, "test_efficientnet"),
        ({"backbone_args": {"features_only": True}}, "features_only"),
        ({"backbone_args": [1]}, "backbone_args"),
        ({"format": {"a": 1}}, "format"),
    ],
    ids=str,
)
def test_absurd_values_of_a_description_are_refused(model, values, said):
    changed(model, **values)
    assert said in refusal(lambda: load_model(model))


@pytest.mark.parametrize(
    "text", ["[]", "null", "1", "", "{", '"' + "x" * 10, "[" * 100_000, '{"format": ' + "9" * 5000]
)
def test_a_description_that_is_no_object_is_damaged(model, text):
    (model / "model.json").write_text(text)
    assert "damaged" in refusal(lambda: load_model(model))
    assert "damaged" in refusal(
        lambda: create_backbone(ModelConfig(backbone="test_efficientnet", weights=str(model)), 32)
    )


@pytest.mark.parametrize("size", [2**24, 2**33, 2**63, 2**64 - 1])
def test_a_header_that_claims_gigabytes_is_refused(model, size):
    (model / "model.safetensors").write_bytes(struct.pack("<Q", size) + b"{}" + bytes(100))
    assert "does not fit" in refusal(lambda: load_model(model))


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]},
        {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2**63, 2**63], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]},
        {"dtype": "F33", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
    ],
    ids=str,
)
def test_tensors_that_are_not_in_the_file_are_refused(model, tensor):
    header = json.dumps({"a": tensor}).encode()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    assert "does not fit" in refusal(lambda: load_model(model))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(model, value):
    """Every patch was given the first class, in silence."""
    tensors = load_file(model / "model.safetensors")
    tensors["head.1.bias"][3] = value
    save_file(tensors, model / "model.safetensors")
    assert "head.1.bias holds values that are no finite numbers" in refusal(lambda: load_model(model))


@pytest.mark.parametrize("part", ["backbone", "head"])
def test_a_model_of_zeros_is_refused(model, part):
    tensors = load_file(model / "model.safetensors")
    save_file({n: t * 0 if n.startswith(part) else t for n, t in tensors.items()}, model / "model.safetensors")
    assert f"contains no information: each layer of its {part} holds a single value" in refusal(
        lambda: load_model(model)
    )


@pytest.mark.parametrize("part", [0, 4, 8, 100, -1, -1000])
def test_cut_weights_are_refused(model, part):
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:part])
    assert "does not fit" in refusal(lambda: load_model(model))


def test_large_inputs_are_classified_in_smaller_batches(model):
    """The memory of 64 of them is more than the machine's."""
    patches = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    changed(model, image_size=544)
    predictor = load_model(model)
    sizes = []
    predictor._network.register_forward_hook(lambda module, images, out: sizes.append(len(out)))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        predictor(np.repeat(patches, 20, axis=0))
    finally:
        torch.set_num_threads(threads)
    assert sizes == [2] * 30


def test_names_that_a_table_cannot_hold_are_refused_before_the_work(tmp_path):
    """The table's writer ended in a traceback after all patches were classified."""
    (tmp_path / os.fsdecode(b"\xff.png")).touch()
    assert "not valid UTF-8" in refusal(lambda: image_files([tmp_path]))


def test_the_model_itself_still_loads(model):
    assert load_model(model).classes == ("a", "b", "c")
    with pytest.raises(ModelError):
        load_model(model / "gone")


@pytest.mark.filterwarnings("error")
def test_hostile_files_are_left_out_of_a_prediction_with_a_reason(model, tmp_path):
    """Pillow's warning about a bomb went to the terminal, and the bomb was decoded."""
    folder = tmp_path / "files"
    folder.mkdir()
    Image.new("RGB", (30, 20)).save(folder / "good.png")
    Image.new("1", (10_000, 10_000)).save(folder / "bomb.png")
    (folder / "text.png").write_text("no image")
    (folder / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.tif")
    predictions = predict_files(model, [folder])
    assert [Path(p).name for p in predictions.paths] == ["good.png"]
    reasons = {Path(s["path"]).name: s["reason"] for s in predictions.skipped}
    assert reasons == {
        "bomb.png": "more than 67,108,864 pixels",
        "gone.jpg": "the file does not exist",
        "pipe.tif": "not a regular file",
        "text.png": "not a JPEG, PNG, TIFF, BMP or WebP image",
    }
