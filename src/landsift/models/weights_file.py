"""Tensors in files: ours are written, and those of strangers read without running anything in them.

`torch.load(weights_only=True)` runs no code of a file, but what it does build costs what the file asks for: a hundred
bytes may ask for a gigabyte of zeros, a compressed archive for more. So the file is looked over before it is read.
"""

from __future__ import annotations

import argparse
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from landsift.runs import write_bytes

if TYPE_CHECKING:
    from torch import Tensor, nn

ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
"""Of weights files; `.tar` as in `.pth.tar`. How a file is read goes by its content."""

_PLAIN = re.compile(
    r"collections OrderedDict|argparse Namespace|torch Size|torch\._utils _rebuild_(tensor|tensor_v2|parameter)|"
    r"torch [A-Z][a-zA-Z0-9]*Storage|torch (float|bfloat|int|uint|bool|complex)\w*"
)
"""What checkpoints of weights ask for. The rest of what torch allows makes things of any size (`bytearray`), or none of
a network's weights."""
_NO_WEIGHTS = {
    b"version https://git-lfs": "it is a pointer of Git LFS; `git lfs pull` gets the file itself",
    b"<": "it is a web page; download the file itself",
}
"""What lies where weights should, by how it begins."""
_PICKLES = 5
"""In a file of torch before 1.6: a number, a version, the machine, the object, its storages."""
_MAX_PICKLE = 2**23
"""Bytes of a checkpoint without its tensors; those of large networks with their optimizers have a tenth."""
_ALIASES = 4
"""Tensors may share memory (tied weights), but all of them together may not be more than so many times the file."""


def write_state(module: nn.Module, file: Path, says: dict[str, str] | None = None) -> None:
    """Write the parameters and buffers of a module to a .safetensors file, whole or not at all.

    Args:
        module: whose.
        file: where.
        says: texts that the file's header holds besides, which `said_in` reads.

    Raises:
        RunError: the folder cannot be written or the disk is full.
    """
    from safetensors.torch import save

    # Not `save_file`: it writes to a file under a name of its own, which stays where the process is killed.
    tensors = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    write_bytes(file, save(tensors, says))


def said_in(file: Path) -> dict[str, str]:
    """The texts in the header of a .safetensors file; none where there are none, or where it is no such file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as opened:
            return dict(opened.metadata() or {})
    except (SafetensorError, OSError):
        return {}


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, which holds nothing that could be executed.

    Raises:
        ValueError: it cannot be read, or holds values that are no finite numbers.
    """
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(file)
        check_values(tensors)
    except Exception as error:  # SafetensorError, OSError, and KeyError for a type that torch does not have
        raise ValueError(one_line(error)) from error
    return tensors


def read_checkpoint(file: Path) -> Any:
    """What a weights file holds, whatever its ending: the tensors of a .safetensors file, or what was given torch.save.

    Nothing in it is executed, and it takes no more memory than a few times the file's size. `check_values` is for the
    tensors that are used of it.

    Raises:
        ValueError: it cannot be read, or asks for more than weights need.
    """
    import torch

    try:
        with file.open("rb") as opened:
            head = opened.read(64)
            if not head:
                raise ValueError("it is empty")
            if what := next((what for start, what in _NO_WEIGHTS.items() if head.startswith(start)), None):
                raise ValueError(what)
            if head[8:9] == b"{" or file.suffix.lower() == ".safetensors":
                return read_tensors(file)
            if zipfile.is_zipfile(file):
                _look_over_archive(file)
            elif head[:1] == b"\x80":
                opened.seek(0)
                _look_over_pickles(opened, _PICKLES)
            else:
                raise ValueError("it holds neither safetensors nor what torch.save writes")
        with torch.serialization.safe_globals([argparse.Namespace]):  # settings; timm's loader allows them as well
            return torch.load(file, map_location="cpu", weights_only=True)
    except ValueError:
        raise
    except Exception as error:  # torch's errors are of many bases
        more = isinstance(error, MemoryError) or "allocate" in str(error)
        raise ValueError("it claims more values than it holds" if more else one_line(error)) from error


def check_values(tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError where a tensor holds other values than finite real numbers."""
    import torch

    for name, tensor in tensors.items():
        kept = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta
        if not kept or tensor.is_complex() or not bool(tensor.isfinite().all()):
            raise ValueError(f"tensor {name} holds values that are no finite numbers")


def layers_of_one_value(tensors: Mapping[str, Tensor]) -> tuple[list[str], int]:
    """Names of the weights of layers that hold the same value throughout, such as zeros; and how many there are.

    A layer's weights have several values for each of several units. Biases, scales and tokens may be anything.
    """
    import torch

    layers = [
        (name, tensor)
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and tensor.ndim > 1 and len(tensor) > 1 and tensor.numel() > len(tensor)
    ]
    found = [name for name, tensor in layers if torch.equal(*torch.aminmax(tensor.detach()))]
    return found, len(layers)


def check_sizes(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Raise ValueError where tensors claim more values than the file has, by repeating them."""
    total = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if size > tensor.untyped_storage().nbytes():
            raise ValueError(f"tensor {name} is larger than what is stored of it")
        total += size
    if total > _ALIASES * file.stat().st_size:
        raise ValueError("its tensors are larger than the file")


def _look_over_archive(file: Path) -> None:
    """Raise ValueError where an archive of torch's is compressed, or its pickle asks for more than weights need."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if any(member.filename.endswith("/constants.pkl") for member in members):
            raise ValueError("it is a TorchScript archive, which holds code: save the state dict of its network")
        if len({member.filename for member in members}) < len(members):
            raise ValueError("it holds a file of one name twice")
        if any(
            member.compress_type != zipfile.ZIP_STORED or member.file_size > member.compress_size for member in members
        ):
            raise ValueError("it is compressed, which torch's files are not")
        pickles = [member for member in members if member.filename.endswith("data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it is an archive, but not one of torch's")
        with archive.open(pickles[0]) as opened:
            _look_over_pickles(opened, 1)


def _look_over_pickles(opened: IO[bytes], count: int) -> None:
    """Raise ValueError where pickles, read instruction by instruction and not followed, ask for more than `_PLAIN`."""
    for _ in range(count):
        for code, value, place in pickletools.genops(opened):
            if place is not None and place > _MAX_PICKLE:
                raise ValueError(f"it holds more than {_MAX_PICKLE >> 20} MiB beside its tensors")
            if code.name == "GLOBAL" and not _PLAIN.fullmatch(str(value)):
                asked = str(value).replace(" ", ".")[:80]
                raise ValueError(f"it asks for {asked}, which weights do not need: save the state dict alone")


def one_line(error: BaseException) -> str:
    """What an error says, on one line of at most 200 letters."""
    return re.sub(r"\s+", " ", str(error)).strip()[:200] or type(error).__name__
