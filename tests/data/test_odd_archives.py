"""Archives as other systems write them, and as nobody should: names are what they were, and reading ends."""

import contextlib
import io
import struct
import tarfile
import tempfile
import zipfile
import zlib

import pytest
from test_archives import ENDINGS, listed, png, tar, zipped

from landsift.data.unlabelled.archives import members
from landsift.errors import DataError, RunError


def renamed(archive, name: bytes):
    """A zip whose member `x...png` has these bytes for a name, without a word of their encoding."""
    raw = archive.read_bytes()
    assert raw.count(b"x" * len(name)) == 2
    archive.write_bytes(raw.replace(b"x" * len(name), name))
    return archive


def test_utf_8_in_a_zip_that_does_not_say_so_is_read_as_utf_8(tmp_path):
    """As macOS writes it; the table named files that nobody has."""
    name = "Forêt_ü.png".encode()
    archive = renamed(zipped(tmp_path / "t.zip", {"x" * len(name): png(1)}), name)
    assert [entry.path for entry in listed(archive)[0]] == [f"{archive}/Forêt_ü.png"]


def test_a_name_that_stands_in_utf_8_beside_the_other_is_taken(tmp_path):
    old, name = "Forêt.png".encode("latin-1"), "Forêt.png".encode()
    info = zipfile.ZipInfo("x" * len(old))
    said = struct.pack("<BL", 1, zlib.crc32(old)) + name
    info.extra = struct.pack("<HH", 0x7075, len(said)) + said
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as stream:
        stream.writestr(info, png(1))
    archive = renamed(tmp_path / "t.zip", old)
    assert [entry.path for entry in listed(archive)[0]] == [f"{archive}/Forêt.png"]


def test_names_in_an_encoding_that_nobody_says_are_counted(tmp_path, caplog):
    name = "森林.png".encode("gbk")
    archive = renamed(zipped(tmp_path / "t.zip", {"x" * len(name): png(1), "0.png": png(2)}), name)
    assert len(listed(archive)[0]) == 2
    assert "names of 1 members are in an encoding that it does not say" in caplog.text


def test_links_in_a_zip_are_not_followed(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as stream:
        stream.writestr("0.png", png(0))
        link = zipfile.ZipInfo("1.png")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        stream.writestr(link, "0.png")
    entries, passed = listed(tmp_path / "t.zip")
    assert len(entries) == 1
    assert [each.reason for each in passed] == ["a link, not followed"]


@pytest.mark.parametrize("at", [None, "path"])
def test_a_member_of_negative_size_ends_the_reading(tmp_path, at):
    """Python's own reading went back to it for ever."""
    info = tarfile.TarInfo("bad.png")
    if at is None:
        raw = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        raw[124:136] = tarfile.itn(-512, 12, tarfile.GNU_FORMAT)
        raw[148:156] = b" " * 8
        raw[148:156] = b"%06o\0 " % sum(raw[:512])
    else:
        info.pax_headers = {"size": "-512"}
        raw = info.tobuf(tarfile.PAX_FORMAT)
    whole = tar(tmp_path / "t.tar", {"0.png": png(0)}).read_bytes().rstrip(b"\0")
    (tmp_path / "t.tar").write_bytes(whole + bytes(-len(whole) % 512) + bytes(raw) + bytes(1024))
    with pytest.raises(DataError, match=r"damaged or cut off, after 1 members: a member's size is negative"):
        listed(tmp_path / "t.tar")


@pytest.mark.parametrize(("at", "value"), [(6, b"\x63\x00"), (8, b"\x00\x08")])
def test_a_zip_of_another_version_or_with_broken_names_is_refused(tmp_path, at, value):
    archive = renamed(zipped(tmp_path / "t.zip", {"xxxxx": png(0)}), b"\xff.png")
    raw = bytearray(archive.read_bytes())
    start = raw.rindex(b"PK\x01\x02")
    raw[start + at : start + at + 2] = value
    archive.write_bytes(raw)
    with pytest.raises(DataError, match="is damaged or cut off") as refused:
        listed(archive)
    assert refused.value.hint == "copy or download it again"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_with_any_byte_changed_are_read_or_refused(tmp_path, kind):
    archive = tmp_path / f"t.{kind}"
    (zipped if kind == "zip" else tar)(archive, {f"ö{i}.png": png(i)[:40] for i in range(3)})
    whole = archive.read_bytes()
    for at in range(len(whole.rstrip(b"\0"))):
        for value in (0, 0x7F, 0x80, 0xFF):
            archive.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            with contextlib.suppress(DataError):
                list(members(str(archive), ENDINGS))


def test_a_carriage_return_in_a_name_does_not_break_the_table(tmp_path):
    """Readers took it for the end of a row."""
    import csv

    from landsift.evaluation.predictions import write_rows

    rows = [["a\rb.png", "1"], ["c\r\n", "2"], ["d\n", "3"], ["e,f", "4"]]
    write_rows(tmp_path / "t.csv", ["path", "n"], rows)
    raw = (tmp_path / "t.csv").read_bytes()
    assert list(csv.reader(io.StringIO(raw.decode(), newline=""))) == [["path", "n"], *rows]
    assert raw.startswith(b'path,n\n"a\rb.png",1\n')


def test_a_list_for_which_there_is_no_room_is_refused(tmp_path, monkeypatch):
    (tmp_path / "0.png").write_bytes(png(0))
    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", lambda *_args, **_options: open("/dev/full", "r+b"))  # noqa: SIM115
    with pytest.raises(RunError, match=r"the list of files cannot be written to .*: the disk is full"):
        listed(tmp_path)
