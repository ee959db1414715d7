"""Networks that a user's own module registers with timm: known by their code, imported in every process."""

import json
import logging
import sys
from pathlib import Path

import pytest
import torch
from timm.models import register_model

from landsift.config import HeadConfig, ModelConfig, RunConfig
from landsift.errors import ModelError
from landsift.models import own_networks
from landsift.models.backbone import check_backbone, create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.models.model_json import ModelDescription
from landsift.models.predictor import load_model, save_model

NETWORK = '''"""A network of somebody's own."""
from timm.models import register_model
from torch import nn
import {beside} as parts

class Small(nn.Module):
    """Two numbers and a few."""
    num_features = 4

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, parts.STRIDE)

    def forward(self, images):
        return self.layer(images).mean((2, 3)) * {factor}

@register_model
def {name}(pretrained=False, **others):
    return Small()
'''


def written(folder: Path, name: str, factor: int = 1, beside: str = "") -> Path:
    """A file of the network's name that registers it, and one beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = beside or f"{name}_parts"
    (folder / f"{beside.rpartition('.')[2]}.py").write_text("STRIDE = 2\n")
    file = folder / f"{name}.py"
    file.write_text(NETWORK.format(name=name, factor=factor, beside=beside))
    return file


def config(name: str, module: object) -> ModelConfig:
    return ModelConfig(backbone=name, weights="none", module=None if module is None else str(module))


def output(name: str, module: object) -> torch.Tensor:
    torch.manual_seed(0)
    with torch.inference_mode():
        return create_backbone(config(name, module), 32).network.eval()(torch.ones(1, 3, 32, 32))


def test_a_network_is_made_from_its_file(tmp_path):
    file = written(tmp_path, "net_of_a_file")
    assert output("net_of_a_file", file).shape == (1, 4)
    assert create_backbone(config("net_of_a_file", file), 32).features == 4


def test_a_network_is_made_from_a_module_by_name(tmp_path, monkeypatch):
    written(tmp_path, "net_by_name")
    monkeypatch.syspath_prepend(tmp_path)
    assert output("net_by_name", "net_by_name").shape == (1, 4)


@pytest.mark.parametrize("by_file", [True, False])
def test_a_package_imports_its_own_modules(tmp_path, monkeypatch, by_file):
    name = f"net_in_a_package_{by_file}".lower()
    package = tmp_path / f"package_{name}"
    file = written(package, name, beside=f"package_{name}.{name}_parts")
    (package / "__init__.py").write_text("")
    (package / "more.py").write_text("VALUE = 1\n")
    file.write_text("from .more import VALUE\n" + file.read_text())
    if not by_file:
        monkeypatch.syspath_prepend(tmp_path)
    module = file if by_file else f"package_{name}.{name}"
    assert output(name, module).shape == (1, 4)
    assert {n.rpartition(".")[2] for n in own_networks.files(str(module))} >= {name, f"{name}_parts", "more"}


def test_changed_code_is_what_the_same_process_makes(tmp_path):
    file = written(tmp_path, "net_that_changes")
    before = output("net_that_changes", file)
    written(tmp_path, "net_that_changes", factor=3)
    assert torch.allclose(output("net_that_changes", file), 3 * before)


def test_changed_code_beside_it_is_what_the_same_process_makes(tmp_path):
    file = written(tmp_path, "net_beside")
    create_backbone(config("net_beside", file), 32)
    (tmp_path / "net_beside_parts.py").write_text("STRIDE = 4\n")
    assert create_backbone(config("net_beside", file), 32).network.layer.stride == (4, 4)


def test_two_modules_that_register_one_name_do_not_take_turns_in_silence(tmp_path):
    one, two = written(tmp_path / "one", "net_twice"), written(tmp_path / "two", "net_twice", factor=5)
    first = output("net_twice", one)
    assert torch.allclose(output("net_twice", two), 5 * first)
    assert torch.allclose(output("net_twice", one), first)


def test_code_counts_and_comments_do_not(tmp_path):
    file = written(tmp_path, "net_counted")
    before = own_networks.fingerprint(str(file))
    file.write_text("# a remark\n" + file.read_text().replace('"""Two numbers and a few."""', '"""Others."""'))
    assert own_networks.fingerprint(str(file)) == before
    (tmp_path / "unrelated.py").write_text("X = 1\n")
    assert own_networks.fingerprint(str(file)) == before
    (tmp_path / "net_counted_parts.py").write_text("STRIDE = 4\n")
    beside = own_networks.fingerprint(str(file))
    assert beside != before
    file.write_text(file.read_text().replace("* 1", "* 2"))
    assert own_networks.fingerprint(str(file)) not in {before, beside}


def test_the_same_code_is_the_same_wherever_it_lies(tmp_path):
    one, two = written(tmp_path / "a", "net_moved"), written(tmp_path / "b", "net_moved")
    assert own_networks.fingerprint(str(one)) == own_networks.fingerprint(str(two))


def test_a_file_beside_it_of_a_librarys_name_is_no_part_of_it(tmp_path):
    file = written(tmp_path, "net_beside_torch")
    (tmp_path / "torch.py").write_text("raise SystemExit\n")
    (tmp_path / "random.py").write_text("raise SystemExit\n")
    file.write_text("import random\n" + file.read_text())
    assert set(own_networks.files(str(file))) == {"net_beside_torch", "net_beside_torch_parts"}
    assert output("net_beside_torch", file).shape == (1, 4)


def test_a_network_that_nobody_named_a_module_for_is_refused():
    @register_model
    def net_of_nobody(pretrained=False, **others):
        return torch.nn.Identity()

    with pytest.raises(ModelError, match="'net_of_nobody' is registered with timm by ") as error:
        check_backbone(config("net_of_nobody", None))
    assert "set model.module" in error.value.hint


def test_a_network_of_timms_that_somebody_replaced_is_refused(monkeypatch):
    from timm.models import _registry

    def test_byobnet(pretrained=False, **others):
        return torch.nn.Identity()

    test_byobnet.__module__ = "timm.models.byobnet"
    monkeypatch.setitem(_registry._model_entrypoints, "test_byobnet", test_byobnet)
    with pytest.raises(ModelError, match="whose code landsift does not know"):
        check_backbone(config("test_byobnet", None))


@pytest.mark.parametrize(
    ("module", "content", "message"),
    [
        ("missing.py", None, "no file"),
        ("no_such_module_anywhere", None, "no module 'no_such_module_anywhere' is found"),
        ("a b", None, "no module 'a b' is found"),
        ("timm.models.resnet", None, "'timm' is no module of your own"),
        ("math", None, "'math' is no module of your own"),
        ("broken.py", "def (", "cannot be read"),
        ("raising.py", "raise RuntimeError('not today')", "cannot be imported: RuntimeError: not today"),
        ("ending.py", "import sys; sys.exit(3)", "cannot be imported: SystemExit: 3"),
        ("yaml.py", "X = 1", "has the name of a library"),
        ("x" * 300 + ".py", None, "File name too long"),
        ("leaving.py", "import nothing_of_this_name", "cannot be imported: ModuleNotFoundError"),
        ("other.py", "X = 1", "unknown backbone 'net_of_no_module'"),
    ],
)
def test_a_module_that_cannot_be_used_is_an_error(tmp_path, monkeypatch, module, content, message):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / module).write_text(content)
    before = set(sys.modules)
    with pytest.raises(ModelError, match=message.replace("(", r"\(")) as error:
        check_backbone(config("net_of_no_module", module))
    assert error.value.hint
    assert "\n" not in error.value.message
    assert not {"raising", "leaving"} & (set(sys.modules) - before)


def test_a_file_in_the_working_folder_is_suggested(tmp_path, monkeypatch):
    written(tmp_path, "net_in_folder")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in {"", str(tmp_path)}])
    with pytest.raises(ModelError) as error:
        check_backbone(config("net_in_folder", "net_in_folder"))
    assert "did you mean net_in_folder.py?" in error.value.hint


def test_another_process_is_given_the_file(tmp_path, monkeypatch):
    file = written(tmp_path, "net_for_another")
    monkeypatch.syspath_prepend(tmp_path)
    run = RunConfig().replace("model.module=net_for_another")
    assert own_networks.by_file(run).model.module == str(file)
    assert own_networks.by_file(RunConfig()) == RunConfig()


@pytest.fixture
def saved(tmp_path) -> tuple[Path, Path]:
    """A model of an own network, and the network's file."""
    file = written(tmp_path / "code", "net_of_a_model")
    backbone = create_backbone(config("net_of_a_model", file), 32)
    head = HeadConfig(hidden=None)
    description = ModelDescription(
        backbone="net_of_a_model",
        backbone_args={},
        head=head.model_dump(),
        classes=("field", "water"),
        patch_size=(32, 32),
        image_size=32,
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        landsift="0.1.0",
        module=str(file),
        code=own_networks.fingerprint(str(file)),
    )
    save_model(PatchClassifier(backbone.network, backbone.features, 2, head), description, tmp_path / "model")
    return tmp_path / "model", file


def test_a_model_runs_no_code_that_no_training_here_has_used(saved):
    """Else whoever sends a model sends a program."""
    model, file = saved
    marker = file.parent / "was-run"
    file.write_text(f"open({str(marker)!r}, 'w')\n" + file.read_text())
    with pytest.raises(ModelError, match="which no training on this machine has used") as error:
        load_model(model)
    assert f"--module {file}" in error.value.hint
    assert not marker.exists()
    load_model(model, module=str(file))
    assert marker.exists()


def test_a_model_is_loaded_with_the_code_of_its_training(saved, caplog):
    model, file = saved
    own_networks.trust(str(file))
    with caplog.at_level(logging.WARNING, "landsift"):
        load_model(model)
    assert not caplog.records
    file.write_text(file.read_text().replace("* 1", "* 2"))
    load_model(model)
    assert f"{file} has changed since the model was trained" in caplog.text


def test_a_model_whose_code_is_gone_names_it(saved):
    model, file = saved
    own_networks.trust(str(file))
    file.unlink()
    with pytest.raises(ModelError, match=f"no file {file}"):
        load_model(model)


def test_a_model_of_timms_names_no_module(tmp_path, saved):
    description = json.loads((saved[0] / "model.json").read_text())
    assert description["module"] == str(saved[1])
    assert ModelDescription.__dataclass_fields__["module"].default is None
