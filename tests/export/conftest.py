"""A run with thresholds, the file that was exported from it, and pictures: made once for the tests of both."""

import pytest
from exported_models import save_model_of, save_pictures, with_thresholds

from landsift.export.write import export_onnx


@pytest.fixture(scope="session")
def there(tmp_path_factory):
    """A folder with `run`, `model.onnx` and `pictures`; thresholds were chosen with test-time augmentation."""
    folder = tmp_path_factory.mktemp("there")
    with_thresholds(save_model_of(folder / "run", tta="flips", temperature=0.7))
    save_pictures(folder / "pictures")
    export_onnx(folder / "run", folder / "model.onnx", check=folder / "pictures")
    return folder
