"""Notices go to standard error, whatever it is, and end nothing where they cannot."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import landsift
from landsift.runtime.notices import steady, watched


class Failing:
    """A stream that fails at everything, as a terminal that is gone."""

    def write(self, text):
        raise OSError(5, "Input/output error")

    flush = isatty = fileno = write


class Tee:
    """What scripts put in place of standard error: a `write`, and nothing else."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, Failing(), Tee(), closed(), object()])
def test_any_stream_can_be_written_to(monkeypatch, stream):
    safe = steady(stream)
    print("a notice", file=safe, flush=True)
    assert safe.isatty() is False
    with pytest.raises(io.UnsupportedOperation):
        safe.fileno()
    assert steady(safe) is safe
    monkeypatch.setattr(sys, "stderr", stream)
    assert watched() is False
    if isinstance(stream, Tee):
        assert stream.text == "a notice\n"


def test_letters_that_a_stream_does_not_have_are_escaped():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii", write_through=True)
    print("Höhe", file=steady(stream))
    assert raw.getvalue() == b"H\\xf6he\n"


PROGRAM = f"""
import logging, sys
sys.path.insert(0, {str(Path(landsift.__file__).parents[1])!r})
from landsift.cli import main as cli
def command():
    logging.getLogger("landsift").info("a notice")
    logging.getLogger("landsift").warning("another")
    from landsift.runtime.progress_bar import progress_bar
    with progress_bar("working", 3) as advance:
        advance(1)
    from landsift.cli.printing import print_result
    print_result({{}}, ["the result"], as_json=False)
cli.app = command
cli.main()
"""


def command(stdout, stderr):
    """Start a command that gives notices and a result; the ends of its output that are to be read, if there are any."""
    return subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=stdout, stderr=stderr)


def unread():
    """The end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def gone_terminal():
    """The end of a terminal that was closed."""
    master, slave = os.openpty()
    os.close(master)
    return slave


@pytest.mark.parametrize("stderr", [unread, gone_terminal, None])
def test_a_standard_error_that_is_gone_ends_no_command(stderr):
    if stderr is None:
        shell = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, PROGRAM]
        done = subprocess.run(shell, capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (0, b"the result\n")
        return
    end = stderr()
    process = command(subprocess.PIPE, end)
    os.close(end)
    stdout, _ = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (0, b"the result\n")


@pytest.mark.parametrize("stdout", [unread, gone_terminal])
def test_a_result_that_nobody_reads_is_no_failure(stdout):
    end = stdout()
    process = command(end, subprocess.PIPE)
    os.close(end)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, b"a notice\nwarning: another\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_result_that_cannot_be_written_is_told():
    with open("/dev/full", "w") as full:
        process = command(full, subprocess.PIPE)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr.decode().splitlines()[-2:] == [
        "error: standard output cannot be written: no space left on device",
        "the work itself is done",
    ]


def test_numbers_of_closed_streams_are_not_given_to_files(tmp_path):
    """Else what libraries write to standard error would go into the first file that is opened."""
    program = (
        "from landsift.runtime.notices import open_missing_streams; open_missing_streams(); import os; "
        f"f = open({str(tmp_path / 'file')!r}, 'w'); os.write(2, b'of a library'); f.write(str(f.fileno() > 2))"
    )
    subprocess.run(["sh", "-c", 'exec "$0" -c "$1" 0<&- 1>&- 2>&-', sys.executable, program], check=True)
    assert (tmp_path / "file").read_text() == "True"
