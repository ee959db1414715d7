"""What a predictor takes as patches, and what it says of anything else."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from landsift.bands import BandSpec
from landsift.errors import ModelError
from landsift.models.input_checks import groups_of

ARRAY = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)


RGB, GREY = BandSpec.pictures(), BandSpec.pictures(("grey",))


def only(given, bands=RGB):
    (group,) = groups_of(given, bands)
    return np.array(group.patches)


@pytest.mark.parametrize(
    "given",
    [
        ARRAY,
        torch.from_numpy(ARRAY),
        list(ARRAY),
        tuple(ARRAY),
        [torch.from_numpy(image) for image in ARRAY],
        [Image.fromarray(image) for image in ARRAY],
        [ARRAY[0], torch.from_numpy(ARRAY[1]), Image.fromarray(ARRAY[2]), ARRAY[3]],
        np.asfortranarray(ARRAY),
        np.ma.MaskedArray(ARRAY, mask=False),
    ],
    ids=lambda given: type(given).__name__,
)
def test_arrays_tensors_and_lists_of_images_are_the_same_patches(given):
    np.testing.assert_array_equal(only(given), ARRAY)


def test_images_of_one_band_may_come_from_pil():
    grey = [Image.fromarray(image[..., 0]) for image in ARRAY]
    np.testing.assert_array_equal(only(grey, bands=GREY), ARRAY[..., :1])


def test_none_are_none():
    assert groups_of([], RGB) == []
    assert len(only(ARRAY[:0])) == 0


def test_a_list_of_several_sizes_is_one_group_for_each():
    groups = groups_of([ARRAY[0], ARRAY[1, :3], ARRAY[2], ARRAY[3, :3]], RGB)
    assert [(group.size, group.rows.tolist()) for group in groups] == [((6, 8), [0, 2]), ((3, 8), [1, 3])]


def cut_image():
    buffer = BytesIO()
    Image.fromarray(ARRAY[0]).save(buffer, "PNG")
    return Image.open(BytesIO(buffer.getvalue()[:-80]))


MASKED = np.ma.MaskedArray(ARRAY, mask=ARRAY > 200)
REFUSED = {
    "floats": (ARRAY / 255, "not float64 [4, 6, 8, 3]", "(255 * images).round().astype('uint8')"),
    "float tensors": (torch.from_numpy(ARRAY).float(), "not float32 [4, 6, 8, 3]", "(255 * images)"),
    "bfloat16": (torch.from_numpy(ARRAY).to(torch.bfloat16), "not bfloat16", "(255 * images)"),
    "16 bits": (ARRAY.astype(np.uint16), "not uint16", "scale the values to 8 bits first"),
    "wider numbers": (ARRAY.astype(np.int64), "not int64", "images.astype('uint8')"),
    "booleans": (ARRAY > 9, "not bool", "scale the values"),
    "objects": (np.array([*ARRAY, None], dtype=object)[:4], "not object [4]", "list(images)"),
    "one patch": (ARRAY[0], "not uint8 [6, 8, 3]", "patch[None]"),
    "one image": (Image.fromarray(ARRAY[0]), "not one image", "[image]"),
    "too few bands": (ARRAY[..., :1], "not uint8 [4, 6, 8, 1]", "patches of 3 bands"),
    "too many bands": (np.concatenate([ARRAY, ARRAY], axis=-1), "not uint8 [4, 6, 8, 6]", "patches of 3 bands"),
    "bands first": (ARRAY.transpose(0, 3, 1, 2), "not uint8 [4, 3, 6, 8]", "images.transpose(0, 2, 3, 1)"),
    "no pixels": (ARRAY[:, :0], "not uint8 [4, 0, 8, 3]", ""),
    "five dimensions": (ARRAY[None], "not uint8 [1, 4, 6, 8, 3]", ""),
    "masked pixels": (MASKED, "masked", "images.filled(0)"),
    "a file": ("a.png", "not str", "landsift predict"),
    "None": (None, "not NoneType", "an array or a list"),
    "a generator": ((image for image in ARRAY), "not generator", "a list of it"),
    "a list of files": (["a.png"], "number 0 is of type str", "landsift predict"),
    "a list of lists": ([ARRAY[0].tolist()], "number 0 is of type list", "an array"),
    "a list of batches": ([ARRAY, ARRAY], "number 0 is uint8 [4, 6, 8, 3]", "numpy.concatenate"),
    "a list with floats": ([ARRAY[0], ARRAY[1] / 255], "number 1 is float64 [6, 8, 3]", "(255 * images)"),
    "a list with grey": ([ARRAY[0], ARRAY[1, ..., 0]], "number 1 is uint8 [6, 8]", "3 bands"),
    "a list, bands first": ([ARRAY[0].transpose(2, 0, 1)], "number 0 is uint8 [3, 6, 8]", "transpose(1, 2, 0)"),
    "a list with None": ([ARRAY[0], None], "number 1 is of type NoneType", "an array"),
    "a list with masks": ([MASKED[0]], "masked", "filled"),
    "PIL, grey": ([Image.new("L", (8, 6))], "number 0 is a PIL image of mode L", "image.convert('RGB')"),
    "PIL, alpha": ([Image.new("RGBA", (8, 6))], "mode RGBA", "image.convert('RGB')"),
    "PIL, three bands that are no RGB": ([Image.new("HSV", (8, 6))], "mode HSV", "image.convert('RGB')"),
    "PIL, cut": ([cut_image()], "the image of number 0 cannot be decoded", "leave it out"),
    "a sparse tensor": (torch.from_numpy(ARRAY).to_sparse(), "sparse", "dense"),
    "PIL, 16 bits": ([Image.new("I;16", (8, 6))], "mode I;16", "scale the values to 8 bits first"),
}


@pytest.mark.parametrize(("given", "said", "way"), REFUSED.values(), ids=REFUSED)
def test_anything_else_is_refused_with_what_it_is_and_a_way_out(given, said, way):
    with pytest.raises(ModelError) as error:
        groups_of(given, RGB)
    assert said in error.value.message
    assert way in error.value.hint
    assert len(str(error.value).splitlines()) == 2
