"""timm's pretrained weights come from the hub, through its real client; the hub here is a server on loopback."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

NAMES = ["test_efficientnet", "vit_tiny_patch16_224"]  # the second's weights were once read by code of its own

CODE = """
import json, logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s")
from landsift.config import ModelConfig
from landsift.errors import ModelError
from landsift.models.backbone import create_backbone
from safetensors.torch import save_file
try:
    config = ModelConfig(backbone=sys.argv[2], weights="imagenet", backbone_args=json.loads(sys.argv[3]))
    made = create_backbone(config, 32)
except ModelError as error:
    print(f"refused: {error}")
else:
    save_file(made.network.state_dict(), sys.argv[1])
"""


KEY = """
import json, sys
from landsift.config import ModelConfig
from landsift.errors import LandsiftError
from landsift.models.fingerprint import weights_fingerprint
try:
    found = weights_fingerprint(ModelConfig(backbone=sys.argv[1], weights="imagenet"))
except LandsiftError as error:
    found = f"refused: {error}"
print(json.dumps([found, "timm" in sys.modules, "torch" in sys.modules]))
"""


@pytest.fixture(params=NAMES)
def hub(tmp_path, request):
    """A hub that holds one file; yields its address, the network's name, what it was asked for, and the weights."""
    torch.manual_seed(3)
    name = request.param
    repository = timm.get_pretrained_cfg(name).hf_hub_id
    weights = timm.create_model(name).state_dict()
    save_file(weights, tmp_path / "hub.safetensors")
    content = (tmp_path / "hub.safetensors").read_bytes()
    asked = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.do_GET(body=False)

        def do_GET(self, body=True):
            asked.append(self.path)
            if self.path != f"/{repository}/resolve/main/model.safetensors":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("ETag", json.dumps(hashlib.sha256(content).hexdigest()))
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", name, asked, weights
        server.shutdown()


def create(tmp_path, name, arguments="{}", **environment):
    return subprocess.run(
        [sys.executable, "-c", CODE, tmp_path / "got.safetensors", name, arguments],
        env=os.environ | {"HF_HOME": str(tmp_path / "hf")} | environment,
        capture_output=True,
        text=True,
        check=True,
    )


def test_weights_are_downloaded_once_and_loaded(tmp_path, hub):
    address, name, asked, weights = hub
    done = create(tmp_path, name, HF_ENDPOINT=address)
    assert "refused" not in done.stdout
    got = load_file(tmp_path / "got.safetensors")
    compared = [key for key in got if got[key].shape == weights[key].shape]  # a ViT's positions fit the input size
    assert len(compared) >= len(got) - 1
    assert all(torch.equal(got[key], weights[key]) for key in compared)
    assert sum(path.endswith("model.safetensors") for path in asked) <= 2  # one question, one download
    (tmp_path / "got.safetensors").unlink()
    done = create(tmp_path, name, HF_HUB_OFFLINE="1")  # from the cache, with no hub at all
    assert "refused" not in done.stdout
    assert (tmp_path / "got.safetensors").is_file()


def test_weights_of_rgb_begin_a_network_of_other_bands(tmp_path, hub):
    address, name, _, weights = hub
    done = create(tmp_path, name, '{"in_chans": 13}', HF_ENDPOINT=address)
    assert "the first layer takes 13 bands and begins with the mean of their kernels" in done.stderr
    got = load_file(tmp_path / "got.safetensors")
    (first,) = (key for key in got if got[key].ndim == 4 and got[key].shape[1] == 13)
    mean = weights[first].mean(1, keepdim=True) * 3 / 13
    torch.testing.assert_close(got[first], mean.expand_as(got[first]))
    same = [key for key in got if got[key].shape == weights[key].shape]
    assert len(same) >= len(got) - 2
    assert all(torch.equal(got[key], weights[key]) for key in same)


@pytest.mark.parametrize("hub", NAMES[1:], indirect=True)
def test_what_the_weights_do_not_hold_begins_at_random_and_is_said(tmp_path, hub):
    """A block more than was pretrained was random in silence."""
    address, name, _, _ = hub
    done = create(tmp_path, name, '{"depth": 13}', HF_ENDPOINT=address)
    said = f"12 tensors of {name} are not in timm's pretrained weights and start from random values"
    assert f"{said} (such as blocks.12.norm1.weight)" in done.stderr
    assert "start from random values" not in create(tmp_path, name, HF_HUB_OFFLINE="1").stderr


def test_a_hub_that_cannot_be_reached_is_an_error_that_names_the_alternatives(tmp_path):
    done = create(tmp_path, NAMES[0], HF_HUB_OFFLINE="1")
    assert f"refused: the pretrained weights of {NAMES[0]} cannot be fetched: the hub cannot be reached" in done.stdout
    assert "model.weights" in done.stdout
    assert not (tmp_path / "got.safetensors").exists()


def fingerprint(tmp_path, name, **environment):
    """What a key says of the hub's weights, and whether timm and torch were loaded for it."""
    done = subprocess.run(
        [sys.executable, "-c", KEY, name],
        env=os.environ | {"HF_HOME": str(tmp_path / "hf")} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("hub", NAMES[:1], indirect=True)
def test_weights_are_known_by_commit_and_content(tmp_path, hub):
    """They were known by their name: other weights under it came out of the cache as the old ones."""
    address, name, asked, _ = hub
    first, *_ = fingerprint(tmp_path, name, HF_ENDPOINT=address)
    content = (tmp_path / "hub.safetensors").read_bytes()
    repository = timm.get_pretrained_cfg(name).hf_hub_id
    assert first == {
        "source": repository,
        "commit": "0" * 40,
        "file": "model.safetensors",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    count = len(asked)
    again, with_timm, with_torch = fingerprint(tmp_path, name, HF_ENDPOINT=address)
    assert again == first
    assert len(asked) == count  # what the hub's cache holds, it is not asked for
    assert (with_timm, with_torch) == (False, False)  # which take seconds to load
    (file,) = (tmp_path / "hf").rglob(f"snapshots/{'0' * 40}/model.safetensors")
    other = file.with_name("other")
    other.write_bytes(content[:-4] + b"0000")
    other.replace(file)
    changed, *_ = fingerprint(tmp_path, name, HF_HUB_OFFLINE="1")
    assert changed["sha256"] != first["sha256"]
    moved = file.parent.with_name("1" * 40)
    file.parent.rename(moved)
    (moved.parents[1] / "refs" / "main").write_text("1" * 40)
    assert fingerprint(tmp_path, name, HF_HUB_OFFLINE="1")[0] == changed | {"commit": "1" * 40}


@pytest.mark.parametrize("memo", ["{", "[]", '{"timm 0": {}}', "null"])
@pytest.mark.parametrize("hub", NAMES[:1], indirect=True)
def test_a_damaged_note_of_where_weights_lie_is_passed_over(tmp_path, hub, memo, monkeypatch):
    address, name, _, _ = hub
    monkeypatch.setenv("LANDSIFT_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "hub.json").write_text(memo)
    assert fingerprint(tmp_path, name, HF_ENDPOINT=address)[0]["commit"] == "0" * 40
    assert timm.__version__ in (tmp_path / "home" / "hub.json").read_text()


def test_a_backbones_wrong_name_is_told_before_the_hub(tmp_path):
    assert "did you mean 'efficientnet_b0'" in fingerprint(tmp_path, "efficientnetb0", HF_HUB_OFFLINE="1")[0]
