"""On a cluster the next attempt at a training has another machine, and finds what this one left in Flyte's store."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from pipeline_helpers import PACKAGE

from landsift.config import RunConfig
from landsift.data.store.patch_store import build_store
from landsift.pipeline import tracking
from landsift.pipeline.cache import keys
from landsift.training.start import train

TRAINED = ("strategy=[{epochs: 40, lr_head: 0.002}]", "training.augment.color_jitter=[0, 0, 0, 0]")


class Cluster:
    """Runs `train_model` as a container does, each attempt with folders of its own."""

    def __init__(self, config: RunConfig, folder: Path) -> None:
        self.folder = folder
        self.config = config
        self.store = build_store(config.data, folder / "store")
        self.attempts: list[Path] = []

    def start(self) -> "subprocess.Popen[str]":
        from flyte._internal.runtime.convert import convert_from_native_to_inputs
        from flyte.io import Dir

        from landsift.pipeline.tasks import train_model

        place = self.folder / f"attempt-{len(self.attempts)}"
        place.mkdir()
        inputs = asyncio.run(
            convert_from_native_to_inputs(
                train_model.native_interface,
                custom_context=tracking.context(self.config, local=False),
                key=keys.training_key(self.config, "store"),
                store=Dir(path=str(self.folder / "store")),
                config_json=self.config.model_dump_json(),
                repeats_json="null",
                embeddings_key="embeddings",
                test_key="test",
                command_json="null",
                run="cluster-run",
                afresh="no",
            )
        )
        (place / "inputs.pb").write_bytes(inputs.proto_inputs.SerializeToString())
        names = "--run-name cluster-run --name a1 --project fields --domain development --org university --version 1"
        where = f"--inputs {place}/inputs.pb --outputs-path {place} --raw-data-path {place}/raw --run-base-dir {place}"
        where += f" --checkpoint-path {place}/checkpoint"
        where += f" --prev-checkpoint {self.attempts[-1]}/checkpoint" if self.attempts else ""
        task = "--resolver flyte._internal.resolvers.default.DefaultTaskResolver mod landsift.pipeline.tasks"
        line = f"{sys.executable} -m flyte._bin.runtime a0 {names} {where} {task} instance train_model"
        env = {"PYTHONPATH": str(PACKAGE.parent), "HOME": str(place), "DO_NOT_TRACK": "1", "TMPDIR": str(place)}
        env |= {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
        self.attempts.append(place)
        output = (place / "log").open("w")
        return subprocess.Popen(line.split(), env=env, stdout=output, stderr=output, text=True, cwd=place)

    def said(self) -> str:
        return (self.attempts[-1] / "log").read_text()


@pytest.fixture
def cluster(tiny, tmp_path) -> Cluster:
    return Cluster(tiny.replace(*TRAINED), tmp_path)


def test_the_next_attempt_goes_on_from_what_sigterm_has_left(cluster, tmp_path):
    first = cluster.start()
    began = time.monotonic()
    while not list(tmp_path.glob("attempt-0/landsift-*/unfinished/*/checkpoints/last.ckpt")):
        assert first.poll() is None, cluster.said()
        assert time.monotonic() - began < 60
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGTERM)
    assert first.wait(60) == 143, cluster.said()
    assert (tmp_path / "attempt-0" / "checkpoint").stat().st_size > 0
    assert not (tmp_path / "attempt-0" / "outputs.pb").exists()

    assert cluster.start().wait(60) == 0, cluster.said()
    from flyteidl2.task import common_pb2

    outputs = common_pb2.Outputs.FromString((tmp_path / "attempt-1" / "outputs.pb").read_bytes())
    ours = Path(outputs.literals[0].value.scalar.blob.uri)
    whole = train(cluster.config, cluster.store, tmp_path / "whole")
    assert json.loads((ours / "manifest.json").read_text())["interruptions"] == 1
    assert (ours / "weights.safetensors").read_bytes() == (whole.path / "weights.safetensors").read_bytes()
    assert torch.load(ours / "checkpoints" / "last.ckpt", weights_only=True)["landsift"]["resumed"] == 1
