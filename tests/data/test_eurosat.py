"""EuroSAT: found where it lies, else downloaded whole, checked, resumed and unpacked safely."""

import hashlib
import io
import shutil
import threading
import zipfile

import pytest
from small_sources import config_for, data_config, eurosat_zip, refused

from landsift.config import EuroSATConfig
from landsift.data.sources import download, eurosat
from landsift.data.sources.base import content_fingerprint, open_source
from landsift.data.store.patch_store import build_store

ARCHIVE = eurosat_zip()


def as_data(config: EuroSATConfig):
    return data_config("data.source=eurosat").model_copy(update={"eurosat": config})


def unpack(folder):
    zipfile.ZipFile(io.BytesIO(ARCHIVE)).extractall(folder)
    return folder


class TestFind:
    @pytest.mark.parametrize("layout", ["", "eurosat"])
    def test_both_layouts_are_found_without_a_network(self, tmp_path, layout):
        unpack(tmp_path / layout)
        config = EuroSATConfig(root=tmp_path, base_url="http://127.0.0.1:9")
        assert eurosat.ensure(config) == tmp_path / layout / "2750"

    def test_the_folder_of_class_folders_itself_will_do(self, tmp_path):
        unpack(tmp_path)
        assert eurosat.ensure(EuroSATConfig(root=tmp_path / "2750")) == tmp_path / "2750"

    def test_the_classes_that_are_there_are_taken(self, tmp_path):
        shutil.rmtree(unpack(tmp_path) / "2750/Forest")
        source = open_source(as_data(EuroSATConfig(root=tmp_path)))
        assert {r.label for r in source.records} == {"AnnualCrop", "SeaLake"}

    @pytest.mark.parametrize("layout", ["EuroSAT", "archive/EuroSAT", "EuroSAT_RGB", "downloads/eurosat-rgb"])
    def test_other_nestings_are_found_without_a_download(self, tmp_path, layout):
        unpack(tmp_path / "zip")
        (tmp_path / "root" / layout).parent.mkdir(parents=True)
        (tmp_path / "zip/2750").rename(tmp_path / "root" / layout)
        (tmp_path / "root" / layout / "train.csv").touch()
        config = EuroSATConfig(root=tmp_path / "root", base_url="http://127.0.0.1:9")
        assert eurosat.ensure(config) == tmp_path / "root" / layout
        assert not list((tmp_path / "root").rglob("*.lock"))

    def test_class_folders_in_lower_case_are_found(self, tmp_path):
        for name in ("Forest", "SeaLake"):
            (unpack(tmp_path) / f"2750/{name}").rename(tmp_path / f"2750/{name.lower()}")
        assert eurosat.find(EuroSATConfig(root=tmp_path)) == tmp_path / "2750"

    def test_of_several_the_one_with_most_classes_and_in_rgb_is_taken(self, tmp_path):
        for name in eurosat.CLASSES:
            for folder, file in (("EuroSATallBands", "1.tif"), ("RGB", "1.jpg")):
                (tmp_path / folder / name).mkdir(parents=True)
                (tmp_path / folder / name / file).touch()
        (tmp_path / "Forest").mkdir()
        assert eurosat.find(EuroSATConfig(root=tmp_path)) == tmp_path / "RGB"
        shutil.rmtree(tmp_path / "RGB")
        assert eurosat.find(EuroSATConfig(root=tmp_path)) == tmp_path / "EuroSATallBands"

    def test_parts_of_a_split_are_not_taken_for_all_of_it(self, tmp_path):
        for part in ("train", "test"):
            (unpack(tmp_path) / "2750").rename(tmp_path / part)
        refused(
            lambda: eurosat.find(EuroSATConfig(root=tmp_path)),
            "in several folders",
            tmp_path / "train",
            f"--data {tmp_path}",
        )

    def test_what_is_not_all_of_it_is_said(self, tmp_path, caplog):
        unpack(tmp_path)
        open_source(as_data(EuroSATConfig(root=tmp_path)))
        assert f"{tmp_path}/2750 is not EuroSAT: 7 of its 10 classes are missing (HerbaceousVegetation," in caplog.text
        for name in eurosat.CLASSES:
            (tmp_path / "2750" / name).mkdir(exist_ok=True)
            shutil.copy(tmp_path / "2750/Forest/Forest_1.jpg", tmp_path / f"2750/{name}/more.jpg")
        open_source(as_data(EuroSATConfig(root=tmp_path)))
        assert f"{tmp_path}/2750 has 19 patches, EuroSAT 27,000" in caplog.text

    def test_what_was_unpacked_from_the_archive_asked_for_is_all_of_it(self, archive_server, tmp_path, caplog):
        open_source(as_data(config_for(archive_server(ARCHIVE), tmp_path)))
        assert "EuroSAT" not in caplog.text

    def test_the_default_root_is_the_cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LANDSIFT_HOME", str(tmp_path))
        unpack(tmp_path / "downloads")
        assert eurosat.ensure(EuroSATConfig()) == tmp_path / "downloads/2750"

    def test_a_root_in_no_folder_is_refused(self, tmp_path):
        config = EuroSATConfig(root=tmp_path / "no/such", base_url="http://127.0.0.1:9")
        refused(lambda: eurosat.ensure(config), "data.eurosat.root", tmp_path / "no")

    def test_a_root_that_is_a_file_is_refused(self, tmp_path):
        (tmp_path / "file").touch()
        refused(lambda: eurosat.ensure(EuroSATConfig(root=tmp_path / "file")), tmp_path / "file", "data.eurosat.root")


class TestDownload:
    def test_it_is_downloaded_checked_and_unpacked_once(self, archive_server, tmp_path):
        server = archive_server(ARCHIVE)
        config = config_for(server, tmp_path / "root")
        folder = eurosat.ensure(config)
        assert folder == tmp_path / "root/eurosat/2750"
        assert sum(1 for _ in folder.glob("*/*.jpg")) == 9
        assert eurosat.ensure(config) == folder
        assert len(server.requests) == 1
        assert sorted(p.name for p in (tmp_path / "root").iterdir()) == ["EuroSAT.zip", "eurosat"]

    def test_the_original_is_known_by_its_published_md5(self, archive_server, tmp_path, monkeypatch):
        assert eurosat.MD5 == "c8fa014336c82ac7804f0398fcb19387"
        server = archive_server(ARCHIVE)
        refused(lambda: eurosat.ensure(config_for(server, tmp_path, sha256=None)), "MD5 does not match the published")
        monkeypatch.setattr(eurosat, "MD5", hashlib.md5(ARCHIVE).hexdigest())
        assert eurosat.ensure(config_for(server, tmp_path, sha256=None)).is_dir()

    def test_a_wrong_checksum_is_refused_and_nothing_stays(self, archive_server, tmp_path):
        server = archive_server(ARCHIVE)
        config = config_for(server, tmp_path / "root", sha256="0" * 64)
        refused(lambda: eurosat.ensure(config), server.url, "SHA-256 does not match data.eurosat.sha256", "mirror")
        assert not (tmp_path / "root").exists()

    def test_a_root_that_was_there_holds_nothing_new_after_a_failure(self, tmp_path):
        (tmp_path / "thesis.doc").touch()
        refused(lambda: eurosat.ensure(EuroSATConfig(root=tmp_path, base_url="http://127.0.0.1:9")), "no connection")
        assert [p.name for p in tmp_path.iterdir()] == ["thesis.doc"]

    def test_an_archive_that_is_there_is_used(self, archive_server, tmp_path):
        server = archive_server(ARCHIVE)
        (tmp_path / "EuroSAT.zip").write_bytes(ARCHIVE)
        eurosat.ensure(config_for(server, tmp_path))
        assert server.requests == []

    def test_a_cut_connection_is_resumed_where_it_stopped(self, archive_server, tmp_path):
        server = archive_server(ARCHIVE)
        server.failures = ["cut:20000", "cut:5000"]
        assert eurosat.ensure(config_for(server, tmp_path)).is_dir()
        assert server.requests[0] is None
        starts = [int(r.removeprefix("bytes=").rstrip("-")) for r in server.requests[1:]]
        assert len(starts) == 2
        assert 0 < starts[0] <= 20_000
        assert starts[0] <= starts[1] <= 25_000

    def test_a_later_call_resumes_what_an_earlier_one_left(self, archive_server, tmp_path, monkeypatch):
        server = archive_server(ARCHIVE)
        monkeypatch.setattr(download, "ATTEMPTS", 1)
        monkeypatch.setattr(server, "failures", [503])
        refused(lambda: eurosat.ensure(config_for(server, tmp_path)), "503", "resumes")
        (tmp_path / "EuroSAT.zip.part").write_bytes(ARCHIVE[:10_000])
        assert eurosat.ensure(config_for(server, tmp_path)).is_dir()
        assert server.requests[-1] == "bytes=10000-"

    def test_a_server_without_ranges_starts_over(self, archive_server, tmp_path):
        server = archive_server(ARCHIVE)
        server.ranges = False
        server.failures = ["cut:20000"]
        assert eurosat.ensure(config_for(server, tmp_path)).is_dir()
        assert len(server.requests) == 2

    def test_a_part_of_the_full_length_or_longer_starts_over(self, archive_server, tmp_path):
        server = archive_server(ARCHIVE)
        (tmp_path / "EuroSAT.zip.part").write_bytes(ARCHIVE + b"more")
        assert eurosat.ensure(config_for(server, tmp_path)).is_dir()
        assert server.requests[-1] is None

    def test_a_part_of_another_file_is_dropped_by_the_checksum(self, archive_server, tmp_path):
        server = archive_server(ARCHIVE)
        (tmp_path / "EuroSAT.zip.part").write_bytes(bytes(10_000))
        refused(lambda: eurosat.ensure(config_for(server, tmp_path)), "does not match")
        assert eurosat.ensure(config_for(server, tmp_path)).is_dir()

    def test_a_slow_line_that_keeps_moving_is_no_failure(self, archive_server, tmp_path):
        server = archive_server(eurosat_zip(12))
        server.failures = ["cut:18000"] * (download.ATTEMPTS + 2)  # more cuts than tries in a row
        assert eurosat.ensure(config_for(server, tmp_path)).is_dir()

    def test_server_errors_are_tried_again_then_reported(self, archive_server, tmp_path):
        server = archive_server(ARCHIVE)
        server.failures = [500, 503, 429]
        assert eurosat.ensure(config_for(server, tmp_path / "a")).is_dir()
        server.failures = [500] * 50
        refused(lambda: eurosat.ensure(config_for(server, tmp_path / "b")), server.url, "500")
        assert 50 - len(server.failures) == download.ATTEMPTS

    def test_a_missing_file_is_reported_at_once(self, archive_server, tmp_path):
        server = archive_server(ARCHIVE)
        server.failures = [404] * 5
        refused(lambda: eurosat.ensure(config_for(server, tmp_path)), f"{server.url}/EuroSAT.zip", "404", "base_url")
        assert len(server.requests) == 1

    def test_no_server_is_an_error_that_names_the_address(self, archive_server, tmp_path):
        server = archive_server(ARCHIVE)
        config = config_for(server, tmp_path, base_url="http://127.0.0.1:9/sentinel")
        refused(lambda: eurosat.ensure(config), "http://127.0.0.1:9/sentinel/EuroSAT.zip", "no connection")

    @pytest.mark.parametrize("address", ["no address", "ftp://127.0.0.1/x"])
    def test_an_address_that_is_none_is_an_error(self, tmp_path, address):
        refused(lambda: eurosat.ensure(EuroSATConfig(base_url=address, root=tmp_path)), "data.eurosat.base_url")

    def test_two_at_once_download_once(self, archive_server, tmp_path):
        server = archive_server(ARCHIVE)
        config, folders = config_for(server, tmp_path), []
        workers = [threading.Thread(target=lambda: folders.append(eurosat.ensure(config))) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert folders == [tmp_path / "eurosat/2750"] * 3
        assert len(server.requests) == 1


class TestUnpack:
    @pytest.mark.parametrize(
        "name", ["../evil.jpg", "/tmp/evil.jpg", "2750/../../evil.jpg", "C:\\evil.jpg", "..\\evil"]
    )
    def test_members_that_point_outside_are_refused(self, archive_server, tmp_path, name):
        buffer = io.BytesIO(ARCHIVE)
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.writestr(name, b"x")
        server = archive_server(buffer.getvalue())
        refused(lambda: eurosat.ensure(config_for(server, tmp_path / "root")), "points outside", "evil")
        assert not list(tmp_path.rglob("*.jpg"))

    def test_links_are_refused(self, archive_server, tmp_path):
        buffer = io.BytesIO(ARCHIVE)
        with zipfile.ZipFile(buffer, "a") as archive:
            link = zipfile.ZipInfo("2750/Forest/link")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc")
        server = archive_server(buffer.getvalue())
        refused(lambda: eurosat.ensure(config_for(server, tmp_path / "root")), "points outside")

    @pytest.mark.parametrize("damage", ["no zip", "cut", "flipped", "other top"])
    def test_a_damaged_archive_leaves_no_patches(self, archive_server, tmp_path, damage):
        content = {
            "no zip": b"<html>not found</html>",
            "cut": ARCHIVE[: len(ARCHIVE) // 2],
            "flipped": ARCHIVE[:2000] + bytes([ARCHIVE[2000] ^ 255]) + ARCHIVE[2001:],
            "other top": eurosat_zip(top="patches"),
        }[damage]
        server = archive_server(content)
        refused(lambda: eurosat.ensure(config_for(server, tmp_path / "root")), "EuroSAT.zip")
        assert not list(tmp_path.rglob("*.jpg"))


class TestFingerprint:
    def test_it_is_the_same_before_and_after_the_download(self, archive_server, tmp_path):
        server = archive_server(ARCHIVE)
        data = as_data(config_for(server, tmp_path / "root"))
        before = content_fingerprint(data)
        assert server.requests == []
        store = build_store(data, tmp_path / "store")
        assert store.fingerprint == before == content_fingerprint(data)
        assert len(store) == 9
        assert store.info["source"] == "eurosat"
        assert content_fingerprint(data.model_copy(update={"patch_size": 32})) != before

    def test_it_notices_a_file_changed_after_the_download(self, archive_server, tmp_path):
        data = as_data(config_for(archive_server(ARCHIVE), tmp_path))
        folder = eurosat.ensure(data.eurosat)
        before = content_fingerprint(data)
        (folder / "Forest/Forest_1.jpg").unlink()
        assert content_fingerprint(data) != before

    def test_of_patches_unpacked_by_others_it_is_that_of_the_files(self, tmp_path):
        data = as_data(EuroSATConfig(root=unpack(tmp_path)))
        before = content_fingerprint(data)
        (tmp_path / "2750/Forest/Forest_1.jpg").write_bytes((tmp_path / "2750/Forest/Forest_2.jpg").read_bytes())
        assert content_fingerprint(data) != before


@pytest.mark.shared
class TestCases:
    def test_two_of_ten_classes_are_told_and_kaggles_nesting_is_found(self, shared, tmp_path, caplog):
        cases = shared / "cases/eurosat-root-incomplete"
        for name, folder in (("root", "root"), ("kaggle", "kaggle/EuroSAT")):
            data = as_data(EuroSATConfig(root=cases / name, base_url="http://127.0.0.1:9"))
            assert build_store(data, tmp_path / name).classes == ("Forest", "Highway")
            assert f"{cases / folder} is not EuroSAT: 8 of its 10 classes are missing" in caplog.text
        assert not list(cases.rglob("*.lock"))
