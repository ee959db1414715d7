"""`landsift data check`, as a person types it."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from landsift.cli.main import main
from landsift.config import SyntheticConfig
from landsift.data.sources import synthetic


@pytest.fixture
def landsift(monkeypatch, capsys, tmp_path):
    """Run the command line in this process: exit status, standard output, standard error."""
    monkeypatch.setenv("LANDSIFT_HOME", str(tmp_path / "home"))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["landsift", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def patches(tmp_path):
    """Two classes of 60 generated patches."""
    config = SyntheticConfig(patches=720, size=16)
    for k, name in enumerate(("barren", "cropland")):
        (tmp_path / "p" / name).mkdir(parents=True)
        for i in range(60):
            Image.fromarray(synthetic.patch(config, 6 * i + k)).save(tmp_path / "p" / name / f"{i}.png")
    return tmp_path / "p"


def test_sound_patches_leave_with_0_and_nothing_in_the_cache(landsift, patches, tmp_path):
    status, out, _ = landsift("data", "check", patches)
    assert status == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["ok"] * 8
    assert "120 patches of 16 × 16 × 3" in lines[0]
    assert lines[-1] == "0 errors, 0 warnings in 8 sections"
    files = {p.relative_to(tmp_path / "home").parts[0] for p in (tmp_path / "home").rglob("*") if p.is_file()}
    assert files <= {"code.json", "locks", "scans"}  # what was scanned and which code, and no patches


def test_a_store_of_ones_own_is_read_in_place(landsift, patches, tmp_path):
    landsift("data", "build", patches, "--out", tmp_path / "s")
    before = sorted((f, f.stat().st_mtime_ns) for f in (tmp_path / "s").iterdir())
    status, out, _ = landsift("data", "check", tmp_path / "s", "--json")
    assert status == 0
    assert json.loads(out)["sections"][0]["counts"]["patches"] == 120
    assert sorted((f, f.stat().st_mtime_ns) for f in (tmp_path / "s").iterdir()) == before
    assert not (tmp_path / "home" / "stores").exists()


def test_what_is_wrong_leaves_with_1_and_names_the_files(landsift, patches):
    Image.open(patches / "barren" / "0.png").save(patches / "cropland" / "again.png")
    status, out, _ = landsift("data", "check", patches)
    assert status == 1
    (line,) = (line for line in out.splitlines() if line.startswith("error"))
    assert line.split()[:6] == ["error", "labels", "1", "image", "has", "conflicting"]
    assert f"{patches}/barren/0.png (barren)  {patches}/cropland/again.png (cropland)" in out

    status, out, _ = landsift("data", "check", patches, "--json")
    result = json.loads(out)
    assert (status, result["verdict"], result["source"]) == (1, "wrong", str(patches))


def test_what_is_to_be_looked_at_leaves_with_1_where_asked(landsift, patches):
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(patches / "barren" / "black.png")
    status, out, _ = landsift("data", "check", patches)
    assert (status, out.splitlines()[-1]) == (0, "0 errors, 1 warning in 8 sections")
    assert landsift("data", "check", patches, "--strict")[0] == 1


def test_settings_reach_the_split(landsift, patches):
    _, out, _ = landsift("data", "check", patches, "--set", "data.split.fractions=[0.8, 0.1, 0.1]", "--json")
    sections = {section["name"]: section for section in json.loads(out)["sections"]}
    assert sections["split"]["counts"] == {"kind": "stratified", "train": 96, "val": 12, "test": 12}


def test_a_source_that_is_not_there_is_an_error(landsift, tmp_path):
    status, out, err = landsift("data", "check", tmp_path / "nowhere")
    assert (status, out) == (1, "")
    assert err.splitlines()[0] == f"error: data source {tmp_path}/nowhere does not exist"
    assert not (tmp_path / "home" / "stores").exists()


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        ("check", ["training.epochs_of_nothing=3"]),
        ("check", ["model.backbone=resnet50"]),
        ("check", ["seed=3"]),
        ("check", ["data.source=elsewhere"]),
        ("check", ["data.patch_size=16", "data.synthetic.size=8"]),
        ("check", ["data={split: {seed: 3}, eurosat: {root: x}}"]),
        ("build", ["training.batch_size=3"]),
        ("build", ["data.split.seed=3"]),
        ("build", ["data.budget=10"]),
    ],
)
def test_settings_without_an_effect_are_refused(landsift, patches, tmp_path, command, settings):
    options = [part for setting in settings for part in ("--set", setting)]
    out = ["--out", tmp_path / "s"] if command == "build" else []
    status, said, error = landsift("data", command, patches, *options, *out)
    assert (status, said) == (1, "")
    assert "unknown" in error or "changes nothing in a" in error
    assert not (tmp_path / "s").exists()


def test_of_a_store_nothing_is_decoded_any_more(landsift, patches, tmp_path):
    assert landsift("data", "build", patches, "--out", tmp_path / "s", "--set", "data.patch_size=8")[0] == 0
    assert landsift("data", "check", tmp_path / "s", "--set", "data.split.seed=3")[0] == 0
    status, _, error = landsift("data", "check", tmp_path / "s", "--set", "data.patch_size=16")
    assert status == 1
    assert "'data.patch_size' changes nothing in a check of this source" in error
    assert "keys that do: data.split, data.budget, data.budget_seed" in error


def test_a_store_among_its_patches_is_refused_and_elsewhere_it_is_a_source(landsift, patches, tmp_path):
    status, _, error = landsift("data", "build", patches, "--out", patches / "store")
    assert (status, sorted(p.name for p in patches.iterdir())) == (1, ["barren", "cropland"])
    assert "which is read" in error
    landsift("data", "build", patches, "--out", tmp_path / "s")
    status, _, error = landsift("data", "build", tmp_path / "s", "--out", tmp_path / "again")
    assert (status, error) == (0, "")
    assert (tmp_path / "again" / "images.npy").read_bytes() == (tmp_path / "s" / "images.npy").read_bytes()


def test_places_and_a_split_by_place_are_checked(landsift, patches, tmp_path):
    lines = [f"{name}/{i}.png,{5 + i % 10},{50 + i // 10}" for name in ("barren", "cropland") for i in range(60)]
    (tmp_path / "l.csv").write_text("path,lon,lat\n" + "\n".join(lines))
    given = ["--set", f"data.locations={tmp_path / 'l.csv'}", "--set", "data.gsd=10"]
    status, out, _ = landsift("data", "check", patches, *given)
    assert status == 0
    assert "warning  places           test patches are" in out
    assert "nearer than the side of a patch, 160 m (data.gsd)" in out
    by_place = ["--set", "data.split.kind=spatial", "--set", "data.split.block_km=50"]
    status, out, err = landsift("data", "check", patches, *given, *by_place)
    assert status == 0
    assert "by place." in out
    assert "ok       places           test patches are" in out
    assert "spatial split: of" in err
    status, out, _ = landsift("data", "check", patches, *given, *by_place[:2], "--set", "data.split.block_km=5000")
    assert status == 1
    assert "error    split            no split can be made: class 'barren' would vanish" in out
