"""Archives that attack: unpacked whole inside the folder, or not at all."""

import io
import struct
import warnings
import zipfile

import pytest
from small_sources import config_for, eurosat_zip, refused

from landsift.data.sources import eurosat


def with_members(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO(eurosat_zip())
    with zipfile.ZipFile(buffer, "a", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def unpacked(archive_server, tmp_path):
    """Check that an archive is refused with some words and leaves nothing of it behind."""

    def check(content: bytes, *words: str) -> None:
        root = tmp_path / "root"
        refused(lambda: eurosat.ensure(config_for(archive_server(content), root)), "EuroSAT.zip", *words)
        assert {p.name for p in root.iterdir()} <= {"EuroSAT.zip", "eurosat"}
        assert not list(tmp_path.rglob("*.jpg"))
        assert not list(tmp_path.rglob("*evil*"))

    return check


def claiming(content: bytes, size: int) -> bytes:
    """The archive with its last member's size overwritten in the directory and before its data."""
    raw = bytearray(content)
    directory, local = raw.rfind(b"PK\x01\x02"), raw.rfind(b"PK\x03\x04")
    raw[directory + 24 : directory + 28] = raw[local + 22 : local + 26] = struct.pack("<I", size)
    return bytes(raw)


def test_a_bomb_is_refused_by_what_it_claims(unpacked):
    unpacked(claiming(with_members(("2750/Forest/evil.jpg", b"x")), 2**31), "claims 10 files of 2.0 GiB")


def test_a_bomb_that_claims_little_is_not_unpacked_beyond_it(unpacked):
    unpacked(claiming(with_members(("2750/Forest/evil.jpg", bytes(2**24))), 100), "no zip file that can be unpacked")


def test_too_many_members_are_refused(unpacked, monkeypatch):
    monkeypatch.setattr(eurosat, "_MAX_MEMBERS", 8)
    unpacked(eurosat_zip(), "claims 9 files")


def test_an_archive_in_the_archive_is_left_packed(archive_server, tmp_path):
    config = config_for(archive_server(with_members(("2750/Forest/inner.zip", eurosat_zip()))), tmp_path)
    folder = eurosat.ensure(config)
    assert len(list(folder.rglob("*.jpg"))) == 9
    assert (folder / "Forest/inner.zip").is_file()


@pytest.mark.parametrize("name", ["2750/Forest/Forest_1.jpg", "2750/Forest/FOREST_1.jpg"])
def test_names_that_stand_twice_are_refused(unpacked, name):
    """The last one won in silence; on some disks also where only the case differs."""
    unpacked(with_members((name, b"evil")), "twice")


def test_a_file_where_a_folder_must_be_is_an_error(unpacked):
    unpacked(with_members(("2750/Forest/Forest_1.jpg/evil.jpg", b"x")))


@pytest.mark.parametrize("name", [".", "./."])
def test_a_member_without_a_name_is_refused(unpacked, name):
    """It ended in a traceback."""
    unpacked(with_members((name, b"evil")), "points outside")


def test_encrypted_members_are_refused(unpacked):
    raw = bytearray(with_members(("2750/Forest/evil.jpg", b"x")))
    directory, local = raw.rfind(b"PK\x01\x02"), raw.rfind(b"PK\x03\x04")
    raw[directory + 8] |= 1
    raw[local + 6] |= 1
    unpacked(bytes(raw), "encrypted")


@pytest.mark.parametrize("kind", [0o010000, 0o020000, 0o060000, 0o140000])
def test_pipes_and_devices_become_plain_files(archive_server, tmp_path, kind):
    member = zipfile.ZipInfo("2750/Forest/odd.jpg")
    member.external_attr = (kind | 0o666) << 16
    folder = eurosat.ensure(config_for(archive_server(with_members((member, b"x"))), tmp_path))
    assert (folder / "Forest/odd.jpg").is_file()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_data_of_any_method_is_the_archives_fault(unpacked, method):
    raw = bytearray(with_members(("2750/Forest/evil.jpg", bytes(range(256)) * 40), method=method))
    start = raw.rfind(b"PK\x03\x04") + 30 + len("2750/Forest/evil.jpg")
    raw[start + 9 : start + 40] = b"\xff" * 31
    unpacked(bytes(raw), "no zip file that can be unpacked", "delete it and run again")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_cut_archive_is_refused(unpacked, part):
    content = eurosat_zip()
    unpacked(content[: int(len(content) * part)], "no zip file that can be unpacked")


def test_what_is_no_archive_is_refused_whatever_it_begins_with(unpacked):
    unpacked(b"PK\x05\x06" + bytes(18), "holds no folder 2750")
    unpacked(b"PK\x05\x06" + b"\xff" * 18, "no zip file that can be unpacked")
