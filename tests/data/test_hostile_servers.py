"""Servers that lie, stall, loop or change their mind: resumed, tried again, or refused in words; never half-used."""

import hashlib
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from small_sources import eurosat_zip, refused

from landsift.config import EuroSATConfig
from landsift.data.sources import download, eurosat

ARCHIVE = eurosat_zip()
OTHER = eurosat_zip(2)

Answer = Callable[[socket.socket, dict[str, str]], None]


class Server:
    """Answers each request with the next of `answers`, the last of them for ever after."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, str]] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            text = b""
            while b"\r\n\r\n" not in text:
                if not (more := connection.recv(4096)):
                    return
                text += more
            lines = text.decode("latin-1").split("\r\n")[1:]
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines if line)}
            self.requests.append(headers)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            with suppress(OSError):  # the client may have gone
                answer(connection, headers)


def says(status: str, body: bytes = b"", **headers: str | int) -> Answer:
    """An answer, true or not: `content_length=3` sets Content-Length."""

    def answer(connection: socket.socket, _: dict[str, str]) -> None:
        named = {"content_length": len(body), "connection": "close"} | headers
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
        connection.sendall(f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + body)

    return answer


def rest(content: bytes, **headers: str | int) -> Answer:
    """What a good server answers to a Range, If-Range left aside."""

    def answer(connection: socket.socket, asked: dict[str, str]) -> None:
        if "range" not in asked:
            return says("200 OK", content, **headers)(connection, asked)
        start = int(asked["range"].removeprefix("bytes=").rstrip("-"))
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return says("206 Partial Content", content[start:], content_range=span, **headers)(connection, asked)

    return answer


def then_stalls(answer: Answer, pause: float = 5.0) -> Answer:
    def stalled(connection: socket.socket, asked: dict[str, str]) -> None:
        answer(connection, asked)
        time.sleep(pause)

    return stalled


def cut(content: bytes, length: int, **headers: str | int) -> Answer:
    return says("200 OK", content[:length], content_length=len(content), **headers)


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """Start a server and try to fetch EuroSAT from it: `ensure, server = serve(answer, ...)`."""
    monkeypatch.setattr(download, "BACKOFF", 0.001)
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    servers = []

    def start(*answers: Answer):
        server = Server(*answers)
        servers.append(server)
        sha256 = hashlib.sha256(ARCHIVE).hexdigest()
        config = EuroSATConfig(base_url=server.url, sha256=sha256, root=tmp_path / "root")
        return (lambda: eurosat.ensure(config)), server

    yield start
    for server in servers:
        server.socket.close()


def nothing_used(tmp_path) -> bool:
    """At most the beginning to resume from is there."""
    names = {p.name for p in (tmp_path / "root").glob("*")}
    return names <= {"EuroSAT.zip.part", "EuroSAT.zip.part.version"}


def whole(folder) -> bool:
    left = {p.name for p in folder.parents[1].iterdir()}
    return len(list(folder.rglob("*.jpg"))) == 9 and left == {"EuroSAT.zip", "eurosat"}


@pytest.mark.parametrize("length", [1, 16384, len(ARCHIVE) - 1])
def test_a_cut_or_stalled_transfer_goes_on_where_it_stopped(serve, length):
    ensure, server = serve(then_stalls(cut(ARCHIVE, length)), rest(ARCHIVE))
    assert whole(ensure())
    assert server.requests[1]["range"] == f"bytes={length}-"


def test_a_server_that_never_answers_is_given_up(serve, tmp_path):
    ensure, server = serve(lambda connection, asked: time.sleep(5))
    refused(ensure, "the server does not answer", "run again")
    assert len(server.requests) == download.ATTEMPTS
    assert nothing_used(tmp_path)


def test_a_trickle_does_not_go_on_for_ever(serve, tmp_path):
    """A byte now and then kept the connection, and each counted as progress."""

    def trickle(connection, asked):
        cut(ARCHIVE, 0)(connection, asked)
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(0.02)

    ensure, server = serve(trickle)
    refused(ensure, "fewer than 16,384 bytes came in 0.5 seconds")
    assert len(server.requests) == download.ATTEMPTS
    assert nothing_used(tmp_path)


def test_a_length_that_is_too_short_is_found_by_the_checksum(serve, tmp_path):
    ensure, _ = serve(says("200 OK", ARCHIVE, content_length=len(ARCHIVE) - 100))
    refused(ensure, "SHA-256 does not match")
    assert nothing_used(tmp_path)


def test_a_length_that_is_too_long_is_given_up_after_some_tries(serve, tmp_path):
    ensure, _ = serve(says("200 OK", ARCHIVE, content_length=len(ARCHIVE) + 100))
    refused(ensure, "the connection was cut")
    assert nothing_used(tmp_path)


@pytest.mark.parametrize("length", ["many", "-5", "0x10", "", "1, 2"])
def test_a_length_that_is_no_number_is_no_traceback(serve, tmp_path, length):
    ensure, _ = serve(says("200 OK", ARCHIVE, content_length=length))
    try:
        assert whole(ensure())
    except Exception:  # noqa: BLE001 (the next lines check which)
        refused(ensure)
        assert nothing_used(tmp_path)


def test_more_than_the_file_can_be_is_refused_before_the_disk_is_full(serve, tmp_path, monkeypatch):
    ensure, server = serve(says("200 OK", b"x" * 100, content_length=2**40))
    refused(ensure, "larger than 1024 MiB")
    assert len(server.requests) == 1

    monkeypatch.setitem(eurosat._MAX_BYTES, "rgb", 2**20)

    def endless(connection, asked):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(bytes(2**16))

    ensure, _ = serve(endless)
    refused(ensure, "larger than 1 MiB")
    assert nothing_used(tmp_path)
    assert not (tmp_path / "root/EuroSAT.zip.part").exists()


@pytest.mark.parametrize("status", ["500 No", "503 No", "429 No"])
def test_a_server_in_trouble_is_asked_again_and_then_named(serve, tmp_path, status):
    ensure, server = serve(says(status))
    refused(ensure, server.url, status)
    assert len(server.requests) == download.ATTEMPTS
    assert nothing_used(tmp_path)


def test_the_pauses_between_tries_double(serve, monkeypatch):
    pauses = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    ensure, _ = serve(says("503 No"))
    refused(ensure)
    assert pauses == [download.BACKOFF * 2**i for i in range(download.ATTEMPTS - 1)]


def test_a_416_to_everything_ends(serve, tmp_path):
    """Without a part there was nothing to delete, and the error blamed the disk."""
    ensure, server = serve(says("416 No"))
    assert "cannot write" not in refused(ensure, "no such range")
    assert len(server.requests) == download.ATTEMPTS
    assert nothing_used(tmp_path)


@pytest.mark.parametrize("location", ["/again", "http://[", "ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_redirections_that_lead_nowhere_end(serve, tmp_path, location):
    ensure, _ = serve(says("302 Found", location=location))
    refused(ensure, "cannot download", "data.eurosat.base_url")
    assert nothing_used(tmp_path)


@pytest.mark.parametrize("body", [b"", b"<html>log in</html>", OTHER, ARCHIVE[:-1] + b"x"])
def test_wrong_bytes_are_dropped(serve, tmp_path, body):
    ensure, _ = serve(says("200 OK", body))
    refused(ensure, "SHA-256 does not match", "dropped")
    assert nothing_used(tmp_path)


def test_compressed_bytes_are_not_unpacked(serve, tmp_path):
    import gzip

    ensure, _ = serve(says("200 OK", gzip.compress(bytes(2**24)), content_encoding="gzip"))
    refused(ensure, "SHA-256 does not match")
    assert nothing_used(tmp_path)


def test_an_answer_that_is_no_http_is_tried_again(serve):
    ensure, _ = serve(lambda connection, asked: connection.sendall(b"220 ftp ready\r\n"), rest(ARCHIVE))
    assert whole(ensure())


def test_a_server_that_ignores_ranges_sends_all_again(serve):
    ensure, _ = serve(cut(ARCHIVE, 20_000), says("200 OK", ARCHIVE))
    assert whole(ensure())


@pytest.mark.parametrize("span", ["bytes 0-99/100", "bytes 19999-30000/*", "nonsense", ""])
def test_another_range_than_asked_for_is_not_appended(serve, span):
    wrong = says("206 Partial Content", b"x" * 100, content_range=span)
    ensure, server = serve(cut(ARCHIVE, 20_000), wrong, rest(ARCHIVE))
    assert whole(ensure())
    assert "range" not in server.requests[2]


@pytest.mark.parametrize("header", ["etag", "last_modified"])
def test_a_file_that_changes_between_tries_is_begun_again(serve, header):
    """The new end was put to the old beginning, and only the checksum noticed."""
    old = {"etag": '"1"', "last_modified": "Mon, 01 Jan 2024 00:00:00 GMT"}[header]
    new = {"etag": '"2"', "last_modified": "Tue, 02 Jan 2024 00:00:00 GMT"}[header]
    ensure, server = serve(cut(OTHER, 20_000, **{header: old}), rest(ARCHIVE, **{header: new}))
    assert whole(ensure())
    assert server.requests[1]["if-range"] == old
    assert "range" not in server.requests[2]


def test_a_later_process_also_notices_that_the_file_has_changed(serve, monkeypatch, tmp_path):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    ensure, _ = serve(cut(OTHER, 20_000, etag='"1"'))
    refused(ensure, "cut")
    assert (tmp_path / "root/EuroSAT.zip.part").stat().st_size == 20_000
    monkeypatch.setattr(download, "ATTEMPTS", 5)
    ensure, server = serve(says("200 OK", ARCHIVE, etag='"2"'))
    assert whole(ensure())
    assert server.requests[0]["if-range"] == '"1"'


def test_a_weak_tag_is_not_trusted_with_a_range(serve):
    ensure, server = serve(cut(ARCHIVE, 20_000, etag='W/"1"'), rest(ARCHIVE))
    assert whole(ensure())
    assert "if-range" not in server.requests[1]
