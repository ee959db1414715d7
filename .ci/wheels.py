"""Build the wheel and the sdist, look into them, and install the wheel in fresh environments.

    python .ci/wheels.py            what CI does: `landsift[runtime]`, the smallest with a command line
    python .ci/wheels.py --all      every extra in an environment of its own, as `make wheels`

Environments share files with uv's cache where the disk allows it.
"""

from __future__ import annotations

import argparse
import email
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = str(Path(sys.executable).with_name("uv"))
NEEDED = (
    "landsift/py.typed", "landsift/data/sensors/sensors.yaml", "landsift/reports/templates/base.html",
    "landsift/reports/templates/figures.js", "landsift/reports/templates/style.css",
)  # fmt: skip
WITHOUT_COMMAND_LINE = ("", "torch", "bands", "cluster", "cloud")
"""Extras without typer: the package is imported, and the command line says what it needs."""
CLASSES = {
    "": "landsift.BandSpec, landsift.RunConfig",
    "torch": "landsift.load_model, landsift.BandSpec; import torch, timm, safetensors",
    "bands": "landsift.BandSpec; import rasterio, spyndex",
    "train": "landsift.build_store, landsift.check_data; import landsift.training.start",
    "report": "landsift.load_model; import landsift.reports.run.page, plotly, jinja2",
    "pipeline": "landsift.run, landsift.compare; import flyte, wandb",
    "cluster": "landsift.BandSpec; import landsift.engine.cluster, dask_jobqueue",
    "cloud": "landsift.BandSpec; import fsspec, s3fs",
    "tune": "landsift.run; import optuna, landsift.pipeline.tuning.search",
    "pretrain": "landsift.load_model; import lightly, landsift.pretraining.start",
    "maps": "landsift.load_model; import landsift.mapping.make, landsift.reports.maps.page, maplibre, exactextract",
    "export": "landsift.load_model; import landsift.export.write, onnx, onnxscript",
    "runtime": "landsift.load_model; import onnxruntime, landsift.models.onnx_predictor",
    "runtime-maps": "landsift.load_model; import onnxruntime, landsift.mapping.make",
    "all": "landsift.run; import landsift.mapping.make, landsift.pretraining.start, landsift.export.write",
}
"""What each extra is for: it must be there, and what it imports must be installed."""


def main() -> None:
    """Build, look, install."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every extra")
    parser.add_argument("extras", nargs="*", help="extras to install; none: runtime")
    given = parser.parse_args()
    extras = _extras() if given.all else given.extras or ["runtime"]
    with tempfile.TemporaryDirectory() as folder:
        wheel, sdist = build(Path(folder))
        look_into(wheel, sdist)
        for extra in extras:
            install(wheel, extra, Path(folder))
    print(f"{wheel.name}, {sdist.name}: built and installed ({', '.join(extra or 'no extra' for extra in extras)})")


def _extras() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own = [name for name in project["optional-dependencies"] if name not in ("dev", "docs")]
    missing = set(own) - set(CLASSES)
    assert not missing, f"nothing is said of what the extras {missing} are for"
    return ["", *own]


def build(folder: Path) -> tuple[Path, Path]:
    """The wheel, made from the sdist, and the sdist."""
    run(UV, "build", "--quiet", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(folder), str(ROOT))
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


def look_into(wheel: Path, sdist: Path) -> None:
    """Check that the wheel has all files of the package and complete metadata, and the sdist the tests and docs."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        about = email.message_from_bytes(archive.read(next(n for n in names if n.endswith(".dist-info/METADATA"))))
    source = {f"landsift/{p.relative_to(ROOT / 'src' / 'landsift').as_posix()}" for p in _of_package()}
    lacking = [name for name in {*source, *NEEDED} if name not in names]
    assert not lacking, f"the wheel lacks {lacking}"
    others = [n for n in names if not n.startswith(("landsift/", "landsift-"))]
    assert not others, f"the wheel has {others}"
    for field in (
        "Name",
        "Version",
        "Summary",
        "License-Expression",
        "License-File",
        "Requires-Python",
        "Description-Content-Type",
    ):
        assert about[field], f"the metadata lack {field}"
    assert str(about.get_payload()).startswith("# landsift"), "the metadata lack the README"
    provided = set(about.get_all("Provides-Extra") or [])
    assert {name for name in _extras() if name} <= provided, provided
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "src/landsift/__init__.py"} <= inside


def _of_package() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "src/landsift"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\0")
    return [ROOT / name for name in listed if name]


def install(wheel: Path, extra: str, folder: Path) -> None:
    """Install the wheel with one extra into a new environment, and use it there."""
    there = folder / f"env-{extra or 'none'}"
    python = there / "bin" / "python"
    run(UV, "venv", "--quiet", "--python", sys.executable, str(there))
    wanted = f"landsift[{extra}] @ {wheel.as_uri()}" if extra else f"landsift @ {wheel.as_uri()}"
    run(
        UV,
        "pip",
        "install",
        "--quiet",
        "--python",
        str(python),
        "--constraint",
        str(ROOT / "requirements.lock"),
        wanted,
    )
    run(UV, "pip", "check", "--quiet", "--python", str(python))
    uses, _, imports = CLASSES[extra].partition("; ")
    run(str(python), "-c", f"import landsift\n{imports}\n[{uses}]", cwd=folder)
    command = [str(there / "bin" / "landsift")]
    if extra in WITHOUT_COMMAND_LINE:
        said = subprocess.run([*command, "--help"], cwd=folder, capture_output=True, text=True, check=False)
        assert said.returncode == 1, said.stdout
        assert "landsift[" in said.stderr, said.stderr
    else:
        run(*command, "--help", cwd=folder)
        run(*command, "config", "data.split", cwd=folder)
    shutil.rmtree(there)


def run(*command: str, cwd: Path | None = None) -> None:
    """Run a command; what it prints is shown only if it fails."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
