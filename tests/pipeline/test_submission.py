"""What a cluster is sent: the same tasks, the same code, the same libraries."""

import asyncio
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from pipeline_helpers import PACKAGE

from landsift.config import ClusterConfig, RunConfig
from landsift.data.sources.base import content_fingerprint
from landsift.data.store.patch_store import PatchStore
from landsift.errors import ConfigError, ModelError, RunError
from landsift.pipeline.comparison.compare import submit_comparison
from landsift.pipeline.comparison.grid import Grid
from landsift.pipeline.flyte.submit import submit
from landsift.pipeline.preflight import check_training

CLUSTER = "admin:\n  endpoint: dns:///127.0.0.1:9\n  insecure: true\ntask:\n  project: fields\n  domain: development\n"


@pytest.fixture
def remote(tmp_path) -> Path:
    """Flyte's configuration of a cluster that does not answer."""
    file = tmp_path / "flyte.yaml"
    file.write_text(CLUSTER)
    return file


def test_a_task_runs_from_the_bundle_alone_as_a_container_runs_it(remote, tiny, tmp_path, capfd):
    (tmp_path / "bundle").mkdir()
    bundle = submit(RunConfig(), remote, bundle_to=tmp_path / "bundle")
    assert capfd.readouterr().out == ""
    with tarfile.open(bundle) as archive:
        archive.extractall(tmp_path / "code", filter="data")
    sent = {p.relative_to(tmp_path / "code"): p.read_bytes() for p in (tmp_path / "code").rglob("*") if p.is_file()}
    here = {p.relative_to(PACKAGE.parent): p.read_bytes() for p in PACKAGE.rglob("*.*") if p.suffix != ".pyc"}
    assert sent == here

    # What follows is what a container does; its landsift is the bundle's, because nothing else is on its path.
    from flyte._internal.runtime.convert import convert_from_native_to_inputs
    from flyteidl2.task import common_pb2

    from landsift.pipeline.tasks import load_dataset

    inputs = asyncio.run(
        convert_from_native_to_inputs(
            load_dataset.native_interface,
            key="key",
            data_json=tiny.data.model_dump_json(),
            fingerprint=content_fingerprint(tiny.data),
            run="cluster-run",
        )
    )
    (tmp_path / "inputs.pb").write_bytes(inputs.proto_inputs.SerializeToString())
    names = "--run-name cluster-run --name a1 --project fields --domain development --org university --version 1"
    where = (
        f"--inputs {tmp_path}/inputs.pb --outputs-path {tmp_path} --raw-data-path {tmp_path} --run-base-dir {tmp_path}"
    )
    task = "--resolver flyte._internal.resolvers.default.DefaultTaskResolver mod landsift.pipeline.tasks"
    command = f"{sys.executable} -m flyte._bin.runtime a0 {names} {where} {task} instance load_dataset"
    env = {"PYTHONPATH": str(tmp_path / "code"), "HOME": str(tmp_path), "DO_NOT_TRACK": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run(command.split(), env=env, capture_output=True, text=True, timeout=60, cwd=tmp_path / "code")
    assert (tmp_path / "outputs.pb").is_file(), done.stderr + done.stdout
    outputs = common_pb2.Outputs.FromString((tmp_path / "outputs.pb").read_bytes())
    store = PatchStore.open(outputs.literals[0].value.scalar.blob.uri)
    assert len(store) == 60
    assert not (tmp_path / ".cache" / "landsift").exists()


def test_the_images_registry_is_that_of_the_given_file_not_of_one_lying_around(remote, tmp_path):
    import flyte

    from landsift.pipeline.flyte import environments

    # What the module would have made at its import beside a configuration with a registry of its own.
    environments.use_image(flyte.Image.from_debian_base(name="landsift", registry="ambient.example/x"))
    remote.write_text(CLUSTER + "image:\n  registry: wanted.example/y\n")
    submit(RunConfig(), remote, bundle_to=tmp_path)
    for environment in (environments.DATA, environments.TRAINING, environments.REPORT, environments.PIPELINE):
        assert environment.image.registry == "wanted.example/y"


def test_what_cannot_train_is_refused_before_it_is_sent(remote, tmp_path):
    with pytest.raises(ConfigError, match="no_such_strategy"):
        submit(RunConfig().replace("strategy=no_such_strategy"), remote, bundle_to=tmp_path)


def test_a_cluster_that_does_not_answer_is_an_error(remote):
    with pytest.raises(RunError, match=str(remote)):
        submit(RunConfig(), remote)


@pytest.mark.parametrize("text", [None, "{", "local: {}", "- 1", "admin: none", b"\xff\xfe\x00"])
def test_a_configuration_that_names_no_cluster_is_an_error(tmp_path, text):
    file = tmp_path / "flyte.yaml"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=str(file)):
        submit(RunConfig(), file)


def test_what_only_this_machine_can_read_is_refused(remote, tmp_path):
    (tmp_path / "patches").mkdir()
    with pytest.raises(ConfigError, match=r"data\.source"):
        submit(RunConfig().replace(f"data.source={tmp_path}/patches"), remote)
    with pytest.raises(ConfigError, match=r"model\.weights"):
        submit(RunConfig().replace(f"model.weights={tmp_path}/some.safetensors"), remote)
    lists = f"{{train: {tmp_path}/a.csv, test: {tmp_path}/b.csv}}"
    for key, value in (
        ("data.split.rows", f"{tmp_path}/a.csv"),
        ("data.split.lists", lists),
        ("data.locations", f"{tmp_path}/a.csv"),
    ):
        named = RunConfig().replace("data.source=eurosat", f"{key}={value}")
        with pytest.raises(ConfigError, match=rf"{key} .*a\.csv: a cluster cannot read files"):
            submit(named, remote)
        with pytest.raises(ConfigError, match=key):
            submit_comparison(Grid.of(named, ["linear_probe"]), remote)


def test_weights_that_training_from_scratch_leaves_aside_are_no_hindrance(remote, tmp_path):
    submit(RunConfig().replace("model.weights=some.safetensors", "strategy=scratch"), remote, bundle_to=tmp_path)
    without = RunConfig().replace("model.backbone=efficientnet_l2", "strategy=full")
    with pytest.raises(ModelError, match="no pretrained weights"):
        check_training(without)
    check_training(without.replace("strategy=scratch"))


def test_each_stage_asks_for_its_own_machine():
    from landsift.pipeline import tasks
    from landsift.pipeline.flyte import environments as env

    asked = {
        task.parent_env_name: (task.resources.cpu, task.resources.memory, task.resources.gpu)
        for task in (
            tasks.load_dataset,
            tasks.train_model,
            tasks.test_model,
            tasks.create_embeddings,
            tasks.create_report,
            tasks.landsift_pipeline,
        )
    }
    assert asked == {
        "landsift-data": (2, "2Gi", None),
        "landsift-training": (4, "32Gi", "T4:1"),
        "landsift-report": (2, "4Gi", None),
        "landsift-pipeline": (2, "4Gi", None),
    }
    assert env.PIPELINE.depends_on == [env.DATA, env.TRAINING, env.REPORT]
    assert tasks.load_dataset.retries.count == 2
    assert tasks.create_report.report
    assert not tasks.create_report.cache.is_enabled()
    for task in (tasks.load_dataset, tasks.train_model, tasks.test_model, tasks.create_embeddings, tasks.train_cell):
        assert task.cache.is_enabled()
        inputs = set(task.native_interface.inputs)
        assert inputs - set(task.cache.get_ignored_inputs()) == {"key"}, "Flyte knows a result by our key alone"


def test_the_gpu_is_a_setting():
    from landsift.pipeline import tasks
    from landsift.pipeline.flyte import environments

    assert environments.training_resources(ClusterConfig(gpu="A100:2")).gpu == "A100:2"
    assert environments.training_resources(ClusterConfig(gpu="none")).gpu is None
    with pytest.raises(ConfigError, match=r"cluster\.gpu"):
        environments.training_resources(ClusterConfig(gpu="abacus"))
    online = RunConfig().replace("cluster.gpu=L4:1", "tracking.wandb=online")
    training = environments.on_cluster(tasks.train_model, online)
    assert training.resources.gpu == "L4:1"
    assert [secret.key for secret in training.secrets] == ["WANDB_API_KEY"]
    assert [link.name for link in training.links] == ["Weights & Biases"]


def test_the_image_holds_the_locked_libraries():
    from landsift.pipeline.flyte import environments

    environments.write_requirements()
    if environments.LOCK.is_file():
        assert environments.REQUIREMENTS.read_text() == environments.LOCK.read_text()
        assert environments.image().uri
    pinned = environments.installed()
    assert {name.split("==")[0] for name in pinned} >= {"torch", "timm", "lightning", "flyte"}
    assert all(name.count("==") == 1 for name in pinned)


def test_devices_are_held_against_the_clusters_node_and_not_against_this_machine():
    config = RunConfig().replace("training.devices=8", "model.weights=none", "training.accelerator=gpu")
    check_training(config.replace("cluster.gpu=A100:8"), local=False)
    with pytest.raises(ConfigError, match=r"training.devices is 8, but cluster.gpu=T4:1 asks for a node with 1"):
        check_training(config, local=False)
