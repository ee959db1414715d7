"""Archives are read one member after another; names in them are names and no more."""

import io
import logging
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from landsift.data.decoding.unreadable import UnreadableError
from landsift.data.unlabelled.archives import Archives
from landsift.data.unlabelled.listing import list_sources
from landsift.errors import DataError

ENDINGS = {".png", ".jpg", ".tif"}


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def tar(file: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(file, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file


def zipped(file: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


KINDS = {
    "t.tar": tar,
    "t.tar.gz": lambda file, members: tar(file, members, "w:gz"),
    "t.tar.bz2": lambda file, members: tar(file, members, "w:bz2"),
    "t.tar.xz": lambda file, members: tar(file, members, "w:xz"),
    "t.zip": zipped,
    "stored.zip": lambda file, members: zipped(file, members, zipfile.ZIP_STORED),
    "lzma.zip": lambda file, members: zipped(file, members, zipfile.ZIP_LZMA),
}
MEMBERS = {"deep/er/1.png": png(1), "./0.png": png(0), "deep/2.png": png(2)}


@pytest.fixture(params=KINDS)
def kind(request, tmp_path):
    return lambda members: KINDS[request.param](tmp_path / request.param, members)


def listed(*sources):
    found = list_sources(list(sources), ENDINGS)
    return list(found.entries), found.passed_over


def test_members_are_listed_in_their_order_and_read_in_any(kind):
    archive = kind(MEMBERS)
    entries, passed = listed(archive)
    assert [entry.path for entry in entries] == [f"{archive}/{name.removeprefix('./')}" for name in MEMBERS]
    assert passed == []
    reads = Archives()
    for order in (entries, entries[::-1]):
        assert [reads.read(entry) for entry in order] == [MEMBERS[name] for name in MEMBERS][
            :: 1 if order is entries else -1
        ]
    reads.close()


def test_junk_of_systems_is_passed_over_and_counted_and_other_files_are_told(kind, caplog):
    caplog.set_level(logging.INFO, "landsift")
    junk = {"__MACOSX/._0.png": b"x", "._0.png": b"x", ".DS_Store": b"x", "readme.txt": b"x", "__MACOSX/0.png": b"x"}
    archive = kind(MEMBERS | junk | {"more.zip": b"PK", "a.tar.gz": b"x", "clip.mp4": b"x"})
    entries, passed = listed(archive)
    assert len(entries) == 3
    assert {each.path.rpartition("/")[2]: each.reason for each in passed} == {
        "more.zip": "an archive within an archive, which is not read",
        "a.tar.gz": "an archive within an archive, which is not read",
        "clip.mp4": "files that end in .mp4 are not read",
    }
    assert "5 members are passed over: hidden ones, of macOS, notes and tables" in caplog.text
    assert f"3 members of {archive} are not read; the first: " in caplog.text


def test_paths_in_an_archive_lead_nowhere(kind, tmp_path):
    (tmp_path / "secret.png").write_bytes(png(9))
    names = ["../secret.png", "/etc/secret.png", str(tmp_path / "secret.png")]
    archive = kind({name: png(i) for i, name in enumerate(names)})
    entries, _ = listed(archive)
    reads = Archives()
    assert [reads.read(entry) for entry in entries] == [png(i) for i in range(3)]
    assert all(entry.path.startswith(f"{archive}/") for entry in entries)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["t.tar", "t.zip", "t.tar.gz"])
def test_of_members_of_one_name_the_last_counts_as_where_it_is_unpacked(tmp_path, name):
    pairs = [("a.png", png(1)), ("b.png", png(2)), ("./a.png", png(3)), ("a.png", png(4))]
    archive = tmp_path / name
    if name.endswith("zip"):
        with zipfile.ZipFile(archive, "w") as stream:
            for member, content in pairs:
                stream.writestr(member, content)
    else:
        with tarfile.open(archive, "w:gz" if name.endswith("gz") else "w") as stream:
            for member, content in pairs:
                info = tarfile.TarInfo(member)
                info.size = len(content)
                stream.addfile(info, io.BytesIO(content))
    entries, passed = listed(archive)
    assert [Archives().read(entry) for entry in entries] == [png(2), png(4)]
    assert [each.reason for each in passed] == ["a later member of the archive has the same name, and is read"] * 2


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_an_archive_that_is_cut_off_is_refused(tmp_path, name, share):
    archive = KINDS[name](tmp_path / name, {f"{i}.png": png(i) * 20 for i in range(20)})
    os.truncate(archive, int(archive.stat().st_size * share))
    with pytest.raises(DataError, match="is damaged or cut off, after") as refused:
        listed(archive)
    assert refused.value.hint == "copy or download it again"


def test_an_archive_without_its_end_or_with_something_behind_it_is_told(tmp_path, caplog):
    archive = tar(tmp_path / "t.tar", MEMBERS)
    whole = archive.read_bytes()
    end = len(whole.rstrip(b"\0"))
    archive.write_bytes(whole[: -(-end // 512) * 512])
    assert len(listed(archive)[0]) == 3
    assert "ends without the mark of an archive's end" in caplog.text
    archive.write_bytes(whole + tar(tmp_path / "u.tar", {"z.png": png(5)}).read_bytes())
    assert len(listed(archive)[0]) == 3
    assert "something follows after the archive's end" in caplog.text
    damaged = bytearray(whole)
    damaged[1024 + 148 : 1024 + 156] = b"abcdefgh"  # the second member's checksum
    archive.write_bytes(damaged)
    with pytest.raises(DataError, match="damaged or cut off, after 1 members"):
        listed(archive)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.zip", b"", "t.zip is empty"),
        ("t.tar", b"", "t.tar is empty"),
        ("t.tar", bytes(10240), "t.tar is an empty archive"),
        ("t.zip", b"PK\x05\x06" + bytes(18), "t.zip is an empty archive"),
        ("t.zip", b"no archive at all", "File is not a zip file"),
        ("t.tar", b"no archive at all", "truncated header"),
        ("t.tar.gz", b"\x1f\x8bno gzip", "is damaged or cut off"),
        ("t.tar.zst", b"\x28\xb5\x2f\xfd..", "compressed with zstd, which is not read"),
    ],
)
def test_what_is_no_archive_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        listed(tmp_path / name)


def test_an_archive_without_images_is_refused_with_what_it_holds(kind):
    with pytest.raises(DataError, match=r"no images in .*inner\.zip: an archive within an archive"):
        listed(kind({"inner.zip": b"PK", "notes.txt": b"x"}))


def test_encrypted_members_are_left_out(tmp_path):
    archive = zipped(tmp_path / "t.zip", {"a.png": png(1), "b.png": png(2)})
    raw = bytearray(archive.read_bytes())
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(raw)
    entries, passed = listed(archive)
    assert [entry.path for entry in entries] == [f"{archive}/a.png"]
    assert [each.reason for each in passed] == ["encrypted"]


def test_links_in_a_tar_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        info = tarfile.TarInfo("a.png")
        info.size = len(png(1))
        archive.addfile(info, io.BytesIO(png(1)))
        for name, kind in (("soft.png", tarfile.SYMTYPE), ("hard.png", tarfile.LNKTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "/etc/passwd"
            archive.addfile(link)
    entries, passed = listed(tmp_path / "t.tar")
    assert len(entries) == 1
    assert [each.reason for each in passed] == ["a link to /etc/passwd, not followed"] * 2


def test_a_damaged_member_is_unreadable_and_the_others_are_not(tmp_path):
    archive = zipped(tmp_path / "t.zip", {"a.png": png(1), "b.png": png(2)}, zipfile.ZIP_STORED)
    raw = bytearray(archive.read_bytes())
    raw[raw.index(b"IDAT") + 10] ^= 255
    archive.write_bytes(raw)
    entries, _ = listed(archive)
    with pytest.raises(UnreadableError, match="Bad CRC-32"):
        Archives().read(entries[0])
    assert Archives().read(entries[1]) == png(2)


def test_an_archive_that_changes_is_refused(tmp_path):
    archive = tar(tmp_path / "t.tar", MEMBERS)
    entries, _ = listed(archive)
    tar(archive, MEMBERS | {"more.png": png(7)})
    with pytest.raises(DataError, match="was changed while it was read"):
        Archives().read(entries[0])


def test_shards_are_named_by_a_pattern_and_none_is_read_twice(tmp_path, caplog):
    for i in range(3):
        tar(tmp_path / f"{i}.tar", {"a.png": png(i)})
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "x.png").write_bytes(png(8))
    (tmp_path / "l.txt").write_text("new/x.png\n\n")
    entries, _ = listed(tmp_path / "*.tar", tmp_path / "1.tar", tmp_path / "new", tmp_path / "l.txt")
    expected = ["0.tar/a.png", "1.tar/a.png", "2.tar/a.png", "new/x.png"]
    assert [entry.path for entry in entries] == [str(tmp_path / name) for name in expected]
    assert "1.tar is named more than once and read once" in caplog.text
    with pytest.raises(DataError, match="no file fits the pattern"):
        listed(tmp_path / "*.zip")
    (tmp_path / "shards").mkdir()
    tar(tmp_path / "shards" / "0.tar", {"a.png": png(0)})
    with pytest.raises(DataError, match="no images in") as refused:
        listed(tmp_path / "shards")
    assert refused.value.hint == f"archives are read where they are named: '{tmp_path}/shards/*.tar'"


@pytest.mark.parametrize("content", ["", "\n\n", "gone.png\n", "a.png\na.png\n", "\xff.png"])
def test_a_list_that_names_nothing_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(png(0))
    (tmp_path / "l.txt").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError):
        listed(tmp_path / "l.txt")
