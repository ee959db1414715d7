"""`landsift map --remote`: what is sent to a cluster, what is refused before, and schedules."""

import asyncio
import json
import sys

import pytest
from map_models import save_random_model

from landsift.cli.main import main
from landsift.errors import ConfigError, RunError
from landsift.mapping.map_options import MapOptions
from landsift.pipeline.flyte import local
from landsift.pipeline.flyte.submit import connect
from landsift.pipeline.maps import cron
from landsift.pipeline.maps.plan import Plan
from landsift.pipeline.maps.submit import Schedule, plan_of, send, trigger

CLUSTER = "admin:\n  endpoint: dns:///127.0.0.1:9\n  insecure: true\ntask:\n  project: fields\n  domain: development\n"
PLAN = Plan(("s3://bucket/scenes",), "s3://bucket/Maps of 2026", "runs/7", MapOptions())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_random_model(tmp_path_factory.mktemp("run"))


@pytest.fixture
def remote(tmp_path):
    """Flyte's configuration of a cluster that does not answer."""
    file = tmp_path / "flyte.yaml"
    file.write_text(CLUSTER)
    return file


@pytest.fixture
def command(run, remote, monkeypatch, capsys):
    """`landsift map RUN SCENES --out OUT --remote ...`: exit status, what it prints, standard error."""

    def call(*arguments, scenes="s3://bucket/scenes", out="s3://bucket/maps"):
        words = ["landsift", "map", str(run), scenes, "--out", out, "--remote", str(remote), *arguments]
        monkeypatch.setattr(sys, "argv", words)
        status = 0
        try:
            main()
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        said = capsys.readouterr()
        return status, said.out, " ".join(said.err.replace("│", " ").split())

    return call


def test_a_dry_run_says_what_would_be_sent(run, command):
    status, said, err = command("--dry-run")
    assert (status, said.splitlines()[-1]) == (0, "nothing was sent"), err
    assert "landsift-maps.landsift_maps (2 CPUs, 4Gi)" in said
    assert "landsift-map.map_scene (4 CPUs, 8Gi), 8 at once" in said
    assert "trigger" not in said
    more = ["--schedule", "30 3 * * MON-FRI", "--workers", "3", "--set", "cluster.gpu=T4:1", "--json"]
    status, said, _ = command("--dry-run", *more)
    planned = json.loads(said)
    assert planned["per scene"] == "landsift-map.map_scene (4 CPUs, 32Gi, GPU T4:1), 3 at once"
    assert planned["scenes"] == ["s3://bucket/scenes"]
    assert planned["model"] == [str(run / "model" / name) for name in ("model.json", "model.safetensors")]
    assert planned["schedule"] == "30 3 * * MON-FRI (UTC), not active"
    assert planned["trigger"].startswith("landsift-maps-")
    status, said, _ = command("--dry-run", "--schedule", "CRON_TZ=Europe/Berlin 0 3 * * *", "--activate")
    assert "0 3 * * * (Europe/Berlin), active" in said


def test_flyte_takes_the_tasks_with_landsifts_code(remote, tmp_path):
    import flyte
    from flyte.io import Dir

    from landsift.pipeline.flyte import environments
    from landsift.pipeline.maps import tasks

    async def start():
        await connect(environments.MAPS, remote)
        runner = flyte.with_runcontext(
            mode="remote", copy_style="none", version="1", dry_run=True, copy_bundle_to=tmp_path
        )
        model = Dir.from_existing_remote("s3://bucket/model")
        return await runner.run.aio(tasks.landsift_maps, model=model, plan_json=PLAN.to_json())

    sent = local.in_loop(start())
    assert sent.task_spec.task_template.id.name == "landsift-maps.landsift_maps"
    assert sent.code_bundle.tgz
    assert environments.MAPS.depends_on == [environments.MAP]
    inputs = set(tasks.map_scene.native_interface.inputs)
    assert inputs - set(tasks.map_scene.cache.get_ignored_inputs()) == {"key", "name"}
    assert tasks.map_scene.retries.count == 2


@pytest.mark.parametrize("active", [False, True])
def test_flyte_takes_the_trigger_and_it_is_off_unless_activated(active):
    from flyte._internal.runtime.trigger_serde import to_task_trigger
    from flyte._internal.runtime.types_serde import transform_native_to_typed_interface
    from flyte.io import Dir

    from landsift.pipeline.maps import tasks

    made = trigger(PLAN, Schedule.of("0 3 * * *", active=active), Dir.from_existing_remote("s3://bucket/model"))
    inputs = transform_native_to_typed_interface(tasks.landsift_maps.interface).inputs
    sent = asyncio.run(to_task_trigger(made, tasks.landsift_maps.name, inputs, []))
    assert sent.spec.active is active
    when = sent.automation_spec.schedule.cron
    assert (sent.name[:-8], when.expression, when.timezone) == ("landsift-maps-of-2026-", "0 3 * * *", "UTC")
    given = {each.name: each.value.scalar for each in sent.spec.inputs.literals}
    assert given["model"].blob.uri == "s3://bucket/model"
    assert Plan.from_json(given["plan_json"].primitive.string_value) == PLAN


@pytest.mark.parametrize(
    ("arguments", "given", "status", "said"),
    [
        ([], {"scenes": "scenes"}, 1, "scenes: a cluster cannot read files of this machine"),
        ([], {"scenes": "https://example.org/a.tif"}, 1, "does not read such an address"),
        ([], {"out": "maps"}, 1, "--out maps: a cluster cannot write to this machine"),
        ([], {"out": "s3://bucket/map.tif"}, 1, "is the name of a map"),
        ([], {"out": "file://maps"}, 1, "a cluster cannot write to this machine"),
        ([], {"out": "s3://bucket/scenes/maps"}, 1, "would be taken for scenes"),
        ([], {"out": "s3://bucket//scenes/x/../maps"}, 1, "would be taken for scenes"),
        ([], {"scenes": "s3:///scenes"}, 1, "does not read such an address"),
        ([], {"scenes": "s3://me:secret@bucket/scenes"}, 1, "Flyte would store the password and show it"),
        (
            [],
            {"scenes": "s3://bucket/a.tif?X-Amz-Signature=s3cret"},
            1,
            "s3://bucket/a.tif: a cluster reads no address with ?",
        ),
        (["--mask", "SCL.tif"], {}, 1, "--mask SCL.tif: a cluster cannot read files of this machine"),
        (["--schedule", "every night"], {}, 1, "--schedule 'every night': five fields are needed, not 2"),
        (["--activate"], {}, 2, "changes nothing without --schedule"),
        (["--device", "cuda"], {}, 2, "with --remote, --set cluster.gpu=T4:1 asks for a GPU"),
        (["--engine", "tcp://one:8786"], {}, 2, "changes nothing with --remote, where each scene is a task"),
        (["--workers", "2", "--threads", "2"], {}, 2, "changes nothing with --remote"),
        (["--gpus", "1"], {}, 2, "changes nothing with --remote"),
        (["--set", "cluster.gpu=abacus"], {}, 1, "Flyte knows no GPU 'abacus'"),
        (["--set", "seed=1"], {}, 1, "configuration key 'seed' changes nothing in a map"),
        (["--stride", "40"], {}, 1, "--stride 40 is not between 1 and the 32 pixels"),
    ],
)
def test_what_a_cluster_cannot_do_is_refused_before_anything_is_sent(arguments, given, status, said, command):
    found, out, err = command(*arguments, **given)
    assert (found, out) == (status, "")
    assert said in err


def test_a_cluster_that_does_not_answer_is_an_error(run, remote):
    plan = plan_of(run, ["s3://bucket/scenes"], "s3://bucket/maps/", MapOptions())
    with pytest.raises(RunError, match="the schedule could not be made"):
        send(plan, run, remote, Schedule.of("0 3 * * *", active=False))


@pytest.mark.parametrize(
    "text",
    ["0 3 * * *", "*/5 * * * *", "0,30 8-18/2 1 JAN-mar,12 ?", " 0  0 29 2 * ", "15 5 * * 0-6",
     "TZ=Asia/Tokyo 0 3 * * *", "0 0 31 * *", "0 0 31 2 MON", "5/10 * * * *"],
)  # fmt: skip
def test_schedules(text):
    expression, zone = cron.parsed(text)
    assert expression == " ".join(text.split()).removeprefix("TZ=Asia/Tokyo ")
    assert zone == ("Asia/Tokyo" if "Tokyo" in text else "UTC")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "needed, not 0"), ("0 3 * *", "needed, not 4"), ("0 0 3 * * *", "needed, not 6"),
        ("@daily", "needed, not 1"),
        ("60 * * * *", "'60' is no minute, 0 to 59"), ("0 24 * * *", "no hour"), ("0 3 0 * *", "no day of the month"),
        ("0 3 * 13 *", "no month, 1 to 12 or JAN to DEC"), ("0 3 * * 7", "no day of the week, 0 to 6 or SUN to SAT"),
        *((f"{minute} * * * *", "no minute") for minute in ("a", "5-1", "*/0", "1,", "*/x", "-1", "1.5", "²", "/5")),
        ("0 3 31 2,4 *", "never comes: no such month has a day 31"), ("CRON_TZ=Mars 0 3 * * *", "no time zone Mars"),
    ],
)  # fmt: skip
def test_what_is_no_schedule(text, said):
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        cron.parsed(text)


def test_an_exported_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="a cluster maps with a run, not with an exported model"):
        plan_of(tmp_path / "model.onnx", ["s3://bucket/scenes"], "s3://bucket/maps", MapOptions())
