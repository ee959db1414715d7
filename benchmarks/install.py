"""How large the installation is that runs this, and how long landsift takes in it from its import to a loaded model.

    python benchmarks/install.py [MODEL]

MODEL is a run directory or its model/ folder. Sizes are those of site-packages, torch's share apart: torch, CUDA's
libraries and triton. Seconds are the processor's, so that other work on the machine does not count.
"""

import sys
import sysconfig
import time
from pathlib import Path

TORCH = ("torch", "torchgen", "functorch", "triton", "nvidia", "cuda")
"""Folders of torch, and of what it alone brings."""


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


def main() -> None:
    packages = Path(sysconfig.get_path("purelib"))
    sizes = {path.name: size(path) for path in packages.iterdir()}
    of_torch = sum(sizes.get(name, 0) for name in TORCH)
    count = sum(name.endswith(".dist-info") for name in sizes)
    print(f"{count} packages: torch and CUDA {of_torch >> 20:,} MiB, else {sum(sizes.values()) - of_torch >> 20:,} MiB")

    start = time.process_time()
    import landsift

    imported = time.process_time()
    print(f"import landsift {imported - start:.2f} s")
    if len(sys.argv) > 1:
        landsift.load_model(sys.argv[1])
        print(f"load_model {time.process_time() - imported:.2f} s")


if __name__ == "__main__":
    main()
