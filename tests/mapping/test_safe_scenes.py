"""Products of Sentinel-2 as ESA delivers them: their metadata say what the numbers are."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from scene_models import COARSE, MODEL, NAMED, SIZE, VALUES, described, raster, read, whole

from landsift.bands import BandSpec
from landsift.errors import DataError
from landsift.mapping.scenes import open_scene


class TestProducts:
    def product(self, folder: Path, baseline: str = "05.09", offset: int = -1000) -> Path:
        root = folder / "S2B_MSIL2A_20230810T094549_N0509_R079_T31UDQ_20230810T130104.SAFE"
        images = root / "GRANULE" / "L2A_T31UDQ_A033567_20230810T095651" / "IMG_DATA"
        start = "T31UDQ_20230810T094549"
        for i, band in enumerate(NAMED):
            values = VALUES[..., i : i + 1] + np.uint16(-offset)
            raster(
                images / "R10m" / f"{start}_{band}_10m.jp2",
                values,
                driver="JP2OpenJPEG",
                QUALITY="100",
                REVERSIBLE="YES",
            )
            if band != "B08":
                half = np.ascontiguousarray(values[::2, ::2])
                raster(images / "R20m" / f"{start}_{band}_20m.jp2", half, driver="JP2OpenJPEG", QUALITY="100",
                       REVERSIBLE="YES", transform=COARSE)  # fmt: skip
        scl = np.full((SIZE[0] // 2, SIZE[1] // 2, 1), 4, np.uint8)
        scl[:5] = 8
        raster(images / "R20m" / f"{start}_SCL_20m.jp2", scl, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES",
               transform=COARSE)  # fmt: skip
        listed = (
            "".join(f'<BOA_ADD_OFFSET band_id="{i}">{offset}</BOA_ADD_OFFSET>' for i in range(13)) if offset else ""
        )
        (root / "MTD_MSIL2A.xml").write_text(
            '<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">'
            f"<PRODUCT_START_TIME>2023-08-10T09:45:49.024Z</PRODUCT_START_TIME><PROCESSING_BASELINE>{baseline}"
            '</PROCESSING_BASELINE><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>'
            f"<BOA_ADD_OFFSET_VALUES_LIST>{listed}</BOA_ADD_OFFSET_VALUES_LIST></n1:Level-2A_User_Product>"
        )
        return root

    @pytest.mark.parametrize(("baseline", "offset"), [("05.09", -1000), ("02.14", 0)])
    def test_its_metadata_say_what_the_numbers_are(self, baseline, offset, tmp_path):
        root = self.product(tmp_path, baseline, offset)
        with open_scene(root, MODEL) as scene:
            found, valid = whole(scene)
        np.testing.assert_array_equal(found[10:], VALUES[10:])
        np.testing.assert_array_equal(valid.any(axis=1), np.arange(SIZE[0]) >= 10)
        assert scene.when == datetime(2023, 8, 10, 9, 45, 49, tzinfo=UTC)
        assert scene.grid.resolution.x == 10

    def test_by_names_that_are_no_sensors(self, tmp_path):
        spec = BandSpec(("nir", "red"), "uint16", (1e-4,) * 2, (0.0,) * 2, None, "reflectance", 10.0)
        np.testing.assert_array_equal(read(self.product(tmp_path), described(spec), mask="none"), VALUES[..., [3, 2]])

    def test_files_of_a_product_are_read_with_them(self, tmp_path):
        files = sorted(self.product(tmp_path).rglob("*_10m.jp2"))
        np.testing.assert_array_equal(read(files), VALUES)

    def test_without_them_it_is_refused(self, tmp_path):
        root = self.product(tmp_path)
        (root / "MTD_MSIL2A.xml").unlink()
        with pytest.raises(DataError, match=r"no MTD_MSIL1C\.xml or MTD_MSIL2A\.xml"):
            open_scene(root, MODEL)

    def test_another_folder_is_refused(self, tmp_path):
        with pytest.raises(DataError, match="a folder, where the files of one scene are read"):
            open_scene(tmp_path, MODEL)
