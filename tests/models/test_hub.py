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

NAME = "test_efficientnet"

CODE = f"""
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s")
from landsift.config import ModelConfig
from landsift.errors import ModelError
from landsift.models.backbone import create_backbone
from safetensors.torch import save_file
try:
    made = create_backbone(ModelConfig(backbone="{NAME}", weights="imagenet"), 32)
except ModelError as error:
    print(f"refused: {{error}}")
else:
    save_file(made.network.state_dict(), sys.argv[1])
"""


@pytest.fixture
def hub(tmp_path):
    """A hub that holds one file; yields its address, what it was asked for, and the weights."""
    torch.manual_seed(3)
    repository = timm.get_pretrained_cfg(NAME).hf_hub_id
    weights = timm.create_model(NAME).state_dict()
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
        yield f"http://127.0.0.1:{server.server_port}", asked, weights
        server.shutdown()


def create(tmp_path, **environment):
    return subprocess.run(
        [sys.executable, "-c", CODE, tmp_path / "got.safetensors"],
        env=os.environ | {"HF_HOME": str(tmp_path / "hf")} | environment,
        capture_output=True,
        text=True,
        check=True,
    )


def test_weights_are_downloaded_once_and_loaded(tmp_path, hub):
    address, asked, weights = hub
    done = create(tmp_path, HF_ENDPOINT=address)
    assert "refused" not in done.stdout
    got = load_file(tmp_path / "got.safetensors")
    assert all(torch.equal(value, weights[name]) for name, value in got.items())
    assert asked
    create(tmp_path, HF_HUB_OFFLINE="1")  # from the cache, with no hub at all


def test_a_hub_that_cannot_be_reached_is_an_error_that_names_the_alternatives(tmp_path):
    done = create(tmp_path, HF_HUB_OFFLINE="1")
    assert f"refused: the pretrained weights of {NAME} cannot be fetched: the hub cannot be reached" in done.stdout
    assert "model.weights" in done.stdout
    assert not (tmp_path / "got.safetensors").exists()
