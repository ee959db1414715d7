"""Miniature sources and a server on loopback that can misbehave."""

import hashlib
import io
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from landsift.config import DataConfig, EuroSATConfig, RunConfig
from landsift.errors import LandsiftError


def random_pixels(seed: int, size: tuple[int, int] = (16, 16)) -> np.ndarray:
    """uint8 [H, W, 3]"""
    return np.random.default_rng(seed).integers(0, 256, size=(*size, 3), dtype=np.uint8)


def data_config(*overrides: str) -> DataConfig:
    return RunConfig().replace(*overrides).data


def refused(call, *words) -> str:
    """Check that `call` raises a LandsiftError of one or two lines that holds all words; returns its text."""
    with pytest.raises(LandsiftError) as error:
        call()
    text = str(error.value)
    assert 1 <= len(text.splitlines()) <= 2, text
    for word in words:
        assert str(word) in text
    return text


def eurosat_zip(per_class: int = 3, top: str = "2750") -> bytes:
    """A small archive in the layout of the original, about 4 kB per patch."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for c, cls in enumerate(("AnnualCrop", "Forest", "SeaLake")):
            for i in range(1, per_class + 1):
                jpeg = io.BytesIO()
                Image.fromarray(random_pixels(100 * c + i, (64, 64))).save(jpeg, "JPEG", quality=90)
                archive.writestr(f"{top}/{cls}/{cls}_{i}.jpg", jpeg.getvalue())
    return buffer.getvalue()


def config_for(server, root, **changes) -> EuroSATConfig:
    """EuroSAT as `server` has it, below `root`."""
    sha256 = hashlib.sha256(server.content).hexdigest()
    return EuroSATConfig(**{"base_url": server.url, "sha256": sha256, "root": root} | changes)


class ArchiveServer(ThreadingHTTPServer):
    """Serves one file at any path."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.ranges = True
        """Whether Range is honoured."""
        self.failures: list[int | str] = []
        """What the next answers do instead: a number ≥ 400 is a status; "cut:N" sends N bytes, then hangs up."""
        self.requests: list[str | None] = []
        """The Range header of each request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/sentinel"


class _Handler(BaseHTTPRequestHandler):
    server: ArchiveServer
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append(wanted)
        failure = server.failures.pop(0) if server.failures else None
        if isinstance(failure, int):
            self.send_response(failure)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        body = server.content[start:]
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if failure:
            self.wfile.write(body[: int(failure.removeprefix("cut:"))])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, *args):
        pass
