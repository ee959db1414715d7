"""Read back what W&B wrote offline."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER, BLOCK = 7, 32768
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def read_offline_run(path: Path) -> list[dict[str, Any]]:
    """The history of an offline run, one dict per logged step.

    `path` is the run's folder (`offline-run-...`) or its `.wandb` file.
    """
    return [_items(r.history.item) for r in read_records(path) if r.WhichOneof("record_type") == "history"]


def read_offline_settings(path: Path) -> dict[str, Any]:
    """The project, the entity, the name and the whole configuration of an offline run."""
    found: dict[str, Any] = {"config": {}}
    for record in read_records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            found |= {"project": run.project, "entity": run.entity, "name": run.display_name, "id": run.run_id}
            found |= {"notes": run.notes, "tags": list(run.tags)}
            found["config"] |= _items(run.config.update)
        elif kind == "config":
            found["config"] |= _items(record.config.update)
    return found


def read_offline_summary(path: Path) -> dict[str, Any]:
    """The summary of an offline run."""
    found: dict[str, Any] = {}
    for record in read_records(path):
        if record.WhichOneof("record_type") == "summary":
            found |= _items(record.summary.update)
    return found


def read_records(path: Path) -> Iterator[Any]:
    """Every record of an offline run that has ended, as W&B's protocol buffers.

    A process of W&B's writes them: on a busy machine the last one may follow a little later.
    """
    from wandb.proto import wandb_internal_pb2

    file = path if path.is_file() else next(path.glob("*.wandb"))
    for _ in range(100):
        records = [wandb_internal_pb2.Record.FromString(data) for data in _chunks(file.read_bytes())]
        if records and records[-1].WhichOneof("record_type") == "exit":
            break
        time.sleep(0.1)
    yield from records


def _items(items: Any) -> dict[str, Any]:
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def _chunks(data: bytes) -> Iterator[bytes]:
    """The records of LevelDB's log format: blocks of 32 KiB, records cut where a block ends, a header before each."""
    assert data[:4] == b":W&B", "not a W&B file"
    at, record = HEADER, b""
    while at + 7 <= len(data):
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        piece = data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind not in (FULL, FIRST, MIDDLE, LAST):
            break
        record = piece if kind in (FULL, FIRST) else record + piece
        if kind in (FULL, LAST):
            yield record
