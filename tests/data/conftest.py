"""Miniature sources: folders and tables of small random images, and a server on loopback that can misbehave."""

import threading
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from small_sources import ArchiveServer, random_pixels

from landsift.data.sources import download


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder with one folder per class: `image_folder({"A": 3, "B": 4})`."""

    def write(counts: dict[str, int], name: str = "patches", suffix: str = ".png", size: tuple[int, int] = (16, 16)):
        root, seed = tmp_path / name, 0
        root.mkdir()
        for cls, count in counts.items():
            (root / cls).mkdir()
            for i in range(count):
                Image.fromarray(random_pixels(seed, size)).save(root / cls / f"{cls}_{i:03d}{suffix}")
                seed += 1
        return root

    return write


@pytest.fixture
def image_table(tmp_path: Path) -> Callable[..., Path]:
    """Write a CSV table of random images with the given columns; rows with an equal `image` get equal pixels."""

    def write(columns: dict[str, list], images: list[int] | None = None, name: str = "table.csv") -> Path:
        rows = len(columns["label"])
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        paths = []
        for row in range(rows):
            path = folder / f"{row:04d}.png"
            Image.fromarray(random_pixels(images[row] if images else row, (8, 8))).save(path)
            paths.append(f"images/{path.name}")
        table = tmp_path / name
        frame = pd.DataFrame({"path": paths, **columns})
        frame.to_csv(table, index=False) if table.suffix == ".csv" else frame.to_parquet(table, index=False)
        return table

    return write


@pytest.fixture
def archive_server(monkeypatch):
    """Start servers: `archive_server(content)`; tries follow each other without much of a pause."""
    monkeypatch.setattr(download, "BACKOFF", 0.001)
    servers = []

    def start(content: bytes) -> ArchiveServer:
        server = ArchiveServer(content)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
