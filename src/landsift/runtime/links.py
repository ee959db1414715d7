"""Large files in another folder, taking no room of their own where the file system can do that.

Checkpoints, weights and decoded patches are large and are never changed. Where the file system shares the blocks of
equal files (btrfs, XFS), such a file is a clone, which may be edited freely. Elsewhere it is a hard link, so that an
edit in place would change both: it is made read-only, which editors, `cp` and `torch.save` respect and who deletes or
replaces a file does not notice; and what is edited all the same of a result is noticed by its time and its SHA-256
before the cache uses it (`pipeline/cache/results.damage`). On another disk it is a copy.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

LARGE = (".ckpt", ".safetensors")
"""Endings of files that are written once; all other files of a run are small, or written again in its folder."""
_FICLONE = 0x40049409  # of Linux's ioctl


def put(source: str | Path, target: str | Path) -> Path:
    """Have a file of a run at `target` too, shared if it is large; for `shutil.copytree`.

    Raises:
        OSError: `target` cannot be written.
    """
    source, target = Path(source), Path(target)
    if source.suffix not in LARGE:
        shutil.copy2(source, target)
    else:
        share(source, target)
    return target


def share(source: Path, target: Path) -> None:
    """Have a file at `target` too, with as little work as the file system allows.

    Raises:
        OSError: `target` cannot be written.
    """
    if not (_cloned(source, target) or _linked(source, target)):
        shutil.copyfile(source, target)


def _cloned(source: Path, target: Path) -> bool:
    try:
        import fcntl

        with source.open("rb") as read, target.open("xb") as written:
            fcntl.ioctl(written.fileno(), _FICLONE, read.fileno())
    except (ImportError, OSError):
        target.unlink(missing_ok=True)
        return False
    return True


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
        target.chmod(target.stat().st_mode & ~0o222)
    except OSError:  # another disk, one without links, too many of them, or a file of somebody else's
        with contextlib.suppress(OSError):
            target.unlink()
        return False
    return True
