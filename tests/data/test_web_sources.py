"""What web servers and stores answer when they do not answer: said as it is, and never taken for missing files."""

import contextlib
import http.server
import threading

import pytest
from test_archives import ENDINGS, png, tar

from landsift.data.decoding.unreadable import UnreadableError
from landsift.data.unlabelled import stores
from landsift.data.unlabelled.archives import Archives
from landsift.data.unlabelled.entries import Entry
from landsift.data.unlabelled.listing import list_sources
from landsift.data.unlabelled.reading import read_entry
from landsift.errors import DataError

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")
BIG = {f"{i}.png": png(i) + bytes(5 * 2**20) for i in range(4)}


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Answers with the status that a path names, with no answer at all, or with a file."""

    ended = threading.Event()

    def do_HEAD(self):
        self._status() or super().do_HEAD()

    def do_GET(self):
        self._status() or super().do_GET()

    def _status(self):
        first = self.path.split("/")[1]
        if first == "stall":
            self.ended.wait(20)
            return True
        if first.isdigit():
            self.send_error(int(first))
        return first.isdigit()

    def log_message(self, *_):
        pass

    def handle(self):
        with contextlib.suppress(OSError):  # the client has gone
            super().handle()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Its address; it serves a few patches and archives, and knows no parts of files."""
    root = tmp_path_factory.mktemp("web")
    (root / "new").mkdir()
    for name in ("0.png", "a b.png", "notes.txt"):
        (root / "new" / name).write_bytes(png(0))
    tar(root / "small.tar", {"0.png": png(0)})
    tar(root / "big.tar", BIG)
    serve = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: _Handler(*a, directory=str(root)))
    serve.daemon_threads = True
    threading.Thread(target=serve.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serve.server_port}"
    _Handler.ended.set()
    serve.shutdown()
    serve.server_close()


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(stores, "WAIT", 0)


def listed(*urls):
    return list(list_sources(list(urls), ENDINGS).entries)


@pytest.mark.parametrize("query", ["", "?token=a/b.c"])
def test_a_file_and_an_archive_are_read_whatever_query_stands_behind_them(server, query):
    (entry,) = listed(f"{server}/new/0.png{query}")
    assert read_entry(entry) == png(0)
    (entry,) = listed(f"{server}/small.tar{query}")
    assert Archives().read(entry) == png(0)


def test_a_folder_of_a_web_server_is_what_its_page_names(server):
    for url in (f"{server}/new", f"{server}/new/", f"{server}/new/*.png"):
        assert [entry.path for entry in listed(url)] == [f"{server}/new/0.png", f"{server}/new/a%20b.png"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("404/0.png", "no such file or folder"),
        ("410/0.png", "no such file or folder"),
        ("403/0.png", "may not be read: 403"),
        ("500/0.png", "cannot reach .*500"),
        ("503/0.png", "cannot reach .*503"),
    ],
)
def test_what_a_server_answers_is_said(server, path, said):
    """All of it was called a file that does not exist."""
    with pytest.raises(DataError, match=said):
        listed(f"{server}/{path}")


def test_a_server_that_is_not_there_is_out_of_reach(caplog):
    caplog.set_level("INFO", "landsift")
    for url in ("http://127.0.0.1:9/0.png", "ftp://127.0.0.1:9/0.png"):
        with pytest.raises(DataError, match=f"cannot reach {url}"):
            listed(url)


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(server, monkeypatch):
    monkeypatch.setattr(stores, "SILENCE", 0.1)
    monkeypatch.setattr(stores, "TRIES", 1)
    with pytest.raises(DataError, match=r"cannot reach .*Timeout"):
        listed(f"{server}/stall/0.png")


def test_of_a_table_what_is_missing_is_left_out_and_an_outage_ends_the_work(server):
    with pytest.raises(UnreadableError, match="the file does not exist"):
        read_entry(Entry(f"{server}/404/0.png", -1))
    for status in (403, 500):
        with pytest.raises(DataError, match=str(status)):
            read_entry(Entry(f"{server}/{status}/0.png", -1))


def test_an_archive_that_cannot_be_read_in_place_is_to_be_downloaded(server):
    with pytest.raises(DataError, match=r"cannot read .*big\.tar: .*range requests") as refused:
        listed(f"{server}/big.tar")
    assert refused.value.hint == "download it first"


@pytest.mark.parametrize(
    ("code", "ends"),
    [("AccessDenied", False), ("InvalidObjectState", False), ("ExpiredToken", True), ("SignatureDoesNotMatch", True)],
)
def test_credentials_that_expire_end_the_work_and_a_forbidden_object_does_not(monkeypatch, code, ends):
    """Thousands of files were left out, and the table counted as complete."""
    fsspec = pytest.importorskip("fsspec")
    error, answer = PermissionError("no"), Exception()
    answer.response = {"Error": {"Code": code}}
    error.__cause__ = answer

    def refused(*_args, **_options):
        raise error

    memory = fsspec.filesystem("memory")
    monkeypatch.setattr(type(memory), "cat_file", refused)
    with pytest.raises(DataError if ends else UnreadableError, match="may not be read: no"):
        read_entry(Entry("memory://x/0.png", -1))
