"""Likely slips of the command line are answered with the right line, and nothing is begun."""

import os
import shlex
import subprocess
import sys

import pytest
import yaml

from landsift.cli.main import main
from landsift.config import RunConfig


@pytest.fixture
def landsift(monkeypatch, capsys, tmp_path):
    """Run the command line in this process, in an empty folder: exit status, standard output, lines of its error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["landsift", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err.strip().splitlines()

    return call


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("run patches", "landsift run --data patches --out RUN"),
        ("run patches --out r", "landsift run --data patches --out r"),
        ("run --out r 'my patches'", "landsift run --out r --data 'my patches'"),
        ("run --data patches r", "landsift run --data patches --out r"),
        ("run --data patches --out r my.yaml", "landsift run --data patches --out r --config my.yaml"),
        ("run --data p --out r seed=1", "landsift run --data p --out r --set seed=1"),
        ("run --data p --out r --set seed 1", "landsift run --data p --out r --set seed=1"),
        ("run --data p --set seed 1 --out r", "landsift run --data p --set seed=1 --out r"),
        ("run --dataset p --out r", "landsift run --data p --out r"),
        ("run --data-dir=p --out r", "landsift run --data p --out r"),
        ("run --data p --output-dir r", "landsift run --data p --out r"),
        ("run --data p --out r --batch-size 8", "landsift run --data p --out r --set training.batch_size=8"),
        ("run --data p --out r --image_size=64", "landsift run --data p --out r --set training.image_size=64"),
        ("run --data p --out r --model resnet18", "landsift run --data p --out r --set model.backbone=resnet18"),
        ("run --data p --out r --seed 3", "landsift run --data p --out r --set seed=3"),
        ("run --data p --out r --label-smoothing 0", "landsift run --data p --out r --set training.label_smoothing=0"),
        ("run --data p --out r --no_cache", "landsift run --data p --out r --no-cache"),
        ("run --data p --out r --set=seed 1", "landsift run --data p --out r --set seed=1"),
        ("run -data p --out r", "landsift run --data p --out r"),
        ("compare --data p --out c --strategy full", "landsift compare --data p --out c --strategies full"),
        ("compare --data p --out c --budget 100", "landsift compare --data p --out c --budgets 100"),
        ("export --run r --out m.onnx", "landsift export r --out m.onnx"),
        ("evaluate r --data p", "landsift evaluate r p"),
        ("predict --model r p --out t.csv", "landsift predict r p --out t.csv"),
        ("RUN --data p --out r", "landsift run --data p --out r"),
        ("compare patches --out c", "landsift compare --data patches --out c"),
        ("train --data p --out r", "landsift run --data p --out r"),
        ("evalute r p", "landsift evaluate r p"),
        ("classify r p --out t.csv", "landsift predict r p --out t.csv"),
        ("download", "landsift data download"),
        ("data chek p", "landsift data check p"),
        ("version", "landsift --version"),
    ],
)
def test_the_right_line_is_named(landsift, tmp_path, typed, meant):
    status, out, lines = landsift(*shlex.split(typed))
    assert (status, out) == (2, "")
    assert lines[0].startswith("error: ")
    assert lines[1:] == [f"try: {meant}"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["run", "compare", "pretrain"])
@pytest.mark.parametrize("settings", [[], ["--set", "data.eurosat.root=x"], ["--set", "seed=1"]])
def test_a_command_without_patches_says_how_to_name_them(landsift, command, settings):
    """It trained on generated patches."""
    status, _, lines = landsift(command, "--out", "r", *settings)
    assert status == 2
    assert lines[0] == "error: no patches are named"
    assert lines[1].startswith(
        f"landsift {command} --data SOURCE --out r: SOURCE is a folder with one folder per class"
    )


@pytest.mark.parametrize("option", ["--epochs", "--lr", "--learning-rate", "--num-epochs"])
def test_epochs_and_rates_are_answered_with_the_phases_of_the_strategy(landsift, option):
    _, _, lines = landsift("run", "--data", "p", "--out", "r", option, "0.5")
    text = lines[1].split("--set '")[1].rstrip("'")
    key = "epochs" if "epochs" in option else "lr_head"
    if key == "epochs":
        text = text.replace("0.5", "5")
    phases = RunConfig.load(None, [text]).strategy
    assert [phase["name"] for phase in phases] == ["everything"]
    assert phases[0][key] == (5 if key == "epochs" else 0.5)
    assert phases[0]["layer_decay"] == 0.7


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("strategy.0.epochs=2", "`landsift config strategy` prints those of a name"),
        ("strategy.epochs=2", "`landsift config strategy` prints those of a name"),
        ("training.lr=0.1", "belong to the phases of the strategy"),
        ("epochs=5", "belong to the phases of the strategy"),
        ("data.split.train=0.7", "data.split.fractions=[0.6, 0.2, 0.2]"),
        ("data.split.fractions=[0.8, 0.2]", "three shares above 0 that sum to 1 are needed, such as [0.6, 0.2, 0.2]"),
        ("data.split.fractions=[0.8, 0.2, 0.2]", "these sum to 1.2"),
    ],
)
def test_settings_that_lie_elsewhere_are_named(landsift, setting, said):
    status, _, lines = landsift("run", "--data", "p", "--out", "r", "--set", setting)
    assert status == 1
    assert len(lines) <= 2
    assert said in "\n".join(lines)


@pytest.mark.parametrize("command", ["predict", "evaluate", "map"])
def test_patches_before_the_run_are_answered_with_the_run_first(landsift, tmp_path, command):
    (tmp_path / "r" / "model").mkdir(parents=True)
    (tmp_path / "r" / "model" / "model.json").write_text("{}")
    (tmp_path / "patches").mkdir()
    out = "m.tif" if command == "map" else "t.csv"
    status, _, lines = landsift(command, "patches", "r", "--out", out)
    assert status == 2
    assert lines == ["error: patches is no run; the run comes first", f"try: landsift {command} r patches --out {out}"]


def test_what_is_no_slip_is_told_as_before(landsift):
    status, _, lines = landsift("run", "--data", "p", "--frobnicate")
    assert status == 2
    assert "frobnicate" in "\n".join(lines)
    for line in (["run", "--data"], ["tune", "--data", "p"], ["predict", "r"]):  # of which none is another command's
        status, _, lines = landsift(*line)
        assert status == 2
        assert not any("try: landsift" in line for line in lines)
    status, _, lines = landsift("frobnicate")
    assert status == 2
    assert "frobnicate" in "\n".join(lines)


def test_config_prints_the_defaults_a_part_and_the_phases_of_a_strategy(landsift, tmp_path):
    status, out, _ = landsift("config")
    assert status == 0
    assert RunConfig.from_dict(yaml.safe_load(out)) == RunConfig()
    _, out, _ = landsift("config", "training.augment", "--set", "training.augment.cutmix=1.0")
    assert yaml.safe_load(out)["training"]["augment"]["cutmix"] == 1.0
    (tmp_path / "c.yaml").write_text("strategy: layer_decay\n")
    _, out, _ = landsift("config", "strategy", "--config", "c.yaml")
    (phase,) = yaml.safe_load(out)["strategy"]
    assert phase["layer_decay"] == 0.7
    (tmp_path / "s.yaml").write_text(out)
    assert RunConfig.load(tmp_path / "s.yaml", ["strategy.0.epochs=2"]).strategy[0]["epochs"] == 2
    status, _, lines = landsift("config", "training.imagesize")
    assert status == 1
    assert lines[1] == "did you mean 'training.image_size'?"
    _, _, lines = landsift("config", "nothing.there")
    assert lines[1].startswith("known here: data, model, strategy")


@pytest.mark.parametrize(
    ("typed", "offered"), [("landsift ru", "run"), ("landsift run --no", "--note"), ("landsift data che", "check")]
)
def test_the_shell_completes_commands_and_options(typed, offered):
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1), "_LANDSIFT_COMPLETE": "complete_bash"}
    program = [sys.executable, "-c", "import sys; sys.argv[0] = 'landsift'; from landsift.__main__ import main; main()"]
    done = subprocess.run(program, env=os.environ | words, capture_output=True, text=True, check=False)
    assert offered in done.stdout.split()
