"""What nobody foresaw is told in two lines, and the traceback is kept in a file."""

import subprocess
import sys
from pathlib import Path

import pytest

from landsift.cli import main as cli
from landsift.config import cache_folder


@pytest.fixture
def failed(monkeypatch, capsys):
    """Run the command line with a command that raises; status, standard output, lines of standard error."""

    def call(error):
        def command():
            try:
                raise ZeroDivisionError("deep inside")
            except ZeroDivisionError:
                raise error from None

        monkeypatch.setattr(cli, "app", command)
        monkeypatch.setattr(sys, "argv", ["landsift", "run", "--out", "x\ny"])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err.splitlines()

    return call


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("the first line\n" + 300 * "another\n"), "error: ValueError: the first line"),
        (KeyError("name"), "error: KeyError: 'name'"),
        (RuntimeError("\n\n  late \x1b[31m red"), "error: RuntimeError: late \\x1b[31m red"),
        (AssertionError(), "error: AssertionError"),
        (ImportError("y" * 10_000), f"error: ImportError: {'y' * 300} ..."),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), "error: UnicodeDecodeError: 'utf-8' codec"),
        (MemoryError(), "error: MemoryError"),
        (RecursionError("too deep"), "error: RecursionError: too deep"),
        (OSError(24, "Too many open files", "/x"), "error: OSError: [Errno 24] Too many open files: '/x'"),
    ],
)
def test_a_foreign_error_is_two_lines_and_a_file_with_its_traceback(failed, error, line):
    status, stdout, lines = failed(error)
    assert (status, stdout, len(lines)) == (1, "", 2)
    assert lines[0].startswith(line)
    (file,) = (cache_folder() / "errors").iterdir()
    assert str(file) in lines[1]
    assert "Traceback" in file.read_text()
    assert "run --out x\\ny" in file.read_text()


def test_where_the_cache_cannot_be_written_the_traceback_goes_to_a_temporary_file(failed, monkeypatch, tmp_path):
    monkeypatch.setenv("LANDSIFT_HOME", "/proc/nowhere")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert failed(ValueError("odd"))[2][1].endswith(str(next(tmp_path.glob("landsift-*.txt"))))
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    assert "LANDSIFT_DEBUG=1" in failed(ValueError("odd"))[2][1]


def test_the_whole_traceback_is_printed_where_it_is_asked_for(failed, monkeypatch):
    monkeypatch.setenv("LANDSIFT_DEBUG", "1")
    lines = failed(ValueError("odd"))[2]
    assert lines[0].startswith("Traceback")
    assert lines[-2] == "error: ValueError: odd"


@pytest.mark.parametrize("error", ["EOFError('no more')", "BrokenPipeError(32, 'Broken pipe')"])
def test_errors_that_the_parser_takes_for_its_own_are_told_as_well(error, tmp_path):
    """Typer ends with status 1 and without a word where a library raises one of these."""
    code = f"""if True:
        import sys
        from landsift.cli import main
        import landsift.config
        def load(*_, **__): raise {error}
        landsift.config.RunConfig.load = load
        sys.argv[1:] = ["run", "--out", "x"]
        main.main()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 2
    assert done.stderr.startswith(f"error: {error.split('(')[0]}: ")


def test_started_as_a_module_it_runs_nothing_of_the_working_folder(tmp_path):
    for name in ("random", "json", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('of the working folder')\n")
    done = subprocess.run(
        [sys.executable, "-m", "landsift", "data", "synthesize", "-o", "new", "--patches", "6", "--size", "8"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(tmp_path, "new").is_dir()
