"""The same images and the same split for both sides of a comparison; used by against_reference.py."""

from __future__ import annotations

import csv
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png"}
VAL_SHARE = 0.1
"""Of the training patches, as in the tutorial."""


@dataclass(frozen=True)
class PatchList:
    """Patches drawn from a folder, with their parts.

    Attributes:
        folder: `train`, `val` and `test` with one folder per class, of links to the images; what ImageFolder reads.
        table: a CSV with the columns path, label and split; what landsift reads.
        counts: patches per part.
        digest: SHA-256 of names, contents and parts: equal for equal lists alone.
    """

    folder: Path
    table: Path
    counts: dict[str, int]
    digest: str


def draw(source: Path, patches: int, test: int, seed: int, out: Path) -> PatchList:
    """Draw patches by class, the same share of each; files that repeat another's bytes are left out first.

    Args:
        source: one folder per class.
        patches: how many to train and validate on, 90/10.
        test: how many others to test on.
        seed: of the drawing.
        out: an empty folder for the links and the table.
    """
    from sklearn.model_selection import train_test_split

    known: dict[str, Path] = {}
    for file in sorted(source.glob("*/*")):
        if file.suffix.lower() in SUFFIXES:
            known.setdefault(hashlib.sha256(file.read_bytes()).hexdigest(), file.absolute())
    hashes = {file: content for content, file in known.items()}
    files = sorted(hashes)
    if patches + test > len(files):
        sys.exit(f"{source} holds {len(files)} different images in class folders, fewer than {patches} + {test}")

    def part(pool: list[Path], taken: int) -> tuple[list[Path], list[Path]]:
        """`taken` files of the pool by class, and the rest."""
        if taken == len(pool):
            return pool, []
        labels = [file.parent.name for file in pool]
        some, rest = train_test_split(pool, train_size=taken, random_state=seed, stratify=labels)
        return sorted(some), sorted(rest)

    seen, rest = part(files, patches)
    val, train = part(seen, round(patches * VAL_SHARE))
    parts = {"train": train, "val": val, "test": part(rest, test)[0]}

    lines, rows = [], [("path", "label", "split")]
    for name, members in parts.items():
        for file in members:
            link = out / "images" / name / file.parent.name / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
            rows.append((str(file), file.parent.name, name))
            lines.append(f"{name} {file.parent.name}/{file.name} {hashes[file]}")
    table = out / "patches.csv"
    with table.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return PatchList(out / "images", table, {name: len(members) for name, members in parts.items()}, digest)
