"""What is to be said of the files that are classified: how they are read, and what does not look like a patch."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from landsift.data.decoding.file_bands import Seen
from landsift.data.decoding.heard import Heard
from landsift.data.decoding.patches import Fit, Patches
from landsift.image_sizes import Size, by, is_scene, is_squeezed

logger = logging.getLogger("landsift")

_NAMED = 5  # files, at most


@dataclass
class Told:
    """Counts over files, those of parts of a prediction can be added up.

    Attributes:
        files: that are classified.
        resized: of them, those of another size than the model's.
        other_gsd: those of another ground sampling distance.
        notes: what is to be said, and of how many files.
        doubts: the same, of what was not known.
        scenes: number of files that look like scenes, and the first of them with their sizes.
        squeezed: the same, of those whose aspect ratio changes.
        heard: what was found in the numbers of rasters.
    """

    files: int = 0
    resized: int = 0
    other_gsd: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    doubts: Counter[str] = field(default_factory=Counter)
    scenes: tuple[int, list[str]] = (0, [])
    squeezed: tuple[int, list[str]] = (0, [])
    heard: Heard = field(default_factory=Heard)

    def add(self, path: str, seen: Seen, patches: Patches, patch: Size) -> None:
        """Take note of a file.

        Args:
            path: of the file.
            seen: what it says of itself.
            patches: that read it.
            patch: the model's size.
        """
        self.files += 1
        self.notes.update(seen.notes)
        fit = patches.fit(seen.bands)
        if isinstance(fit, Fit):
            self.notes.update(fit.notes)
            self.doubts.update(fit.plan.doubts)
        self.other_gsd += patches.other_gsd(seen.place.gsd)
        self.resized += seen.size != patch
        if is_scene(seen.size, patch):
            self.scenes = _and(self.scenes, (1, [f"{path} ({by(seen.size)})"]))
        elif is_squeezed(seen.size, patch):
            self.squeezed = _and(self.squeezed, (1, [f"{path} ({by(seen.size)})"]))

    def plus(self, other: Told) -> Told:
        """What is to be said of the files of both, these first."""
        return Told(
            self.files + other.files,
            self.resized + other.resized,
            self.other_gsd + other.other_gsd,
            self.notes + other.notes,
            self.doubts + other.doubts,
            _and(self.scenes, other.scenes),
            _and(self.squeezed, other.squeezed),
            self.heard.plus(other.heard),
        )

    def say(self, patches: Patches, size: Size) -> None:
        """Say it.

        Args:
            patches: that read them.
            size: the model's.
        """
        patch = by(size)
        for note, count in sorted(self.notes.items()):
            logger.info("%d of %d files: %s", count, self.files, note)
        for doubt, count in sorted(self.doubts.items()):
            logger.warning("%d of %d files: %s", count, self.files, doubt)
        if self.other_gsd:
            own = patches.spec.gsd
            message = "%d of %d files have another ground sampling distance than the %.3g m of the model's patches"
            logger.warning(message, self.other_gsd, self.files, own)
        if self.resized:
            logger.info("%d of %d files were resized to %s pixels", self.resized, self.files, patch)
        if self.squeezed[0]:
            logger.warning(
                "%d of %d files were resized to %s pixels with a changed aspect ratio: %s",
                self.squeezed[0],
                self.files,
                patch,
                _listed(self.squeezed),
            )
        if self.scenes[0]:
            logger.warning(
                "%d of %d files have room for several patches of %s pixels, the size the model was trained on, but "
                "each was resized to one patch with one label: %s: cut them into patches of %s pixels first, or map "
                "them with `landsift map`",
                self.scenes[0],
                self.files,
                patch,
                _listed(self.scenes),
                patch,
            )
        self.heard.say(patches.spec.names)

    def to_json(self) -> dict[str, Any]:
        """As values of JSON."""
        counts = {"notes": dict(self.notes), "doubts": dict(self.doubts)}  # `asdict` counts a Counter's pairs
        return {**asdict(self), **counts, "heard": self.heard.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Told:
        """From what `to_json` gave."""
        counts = {name: Counter(values[name]) for name in ("notes", "doubts")}
        named = {name: (int(values[name][0]), list(values[name][1])) for name in ("scenes", "squeezed")}
        return cls(**{**values, **counts, **named, "heard": Heard.from_json(values["heard"])})


def _and(one: tuple[int, list[str]], other: tuple[int, list[str]]) -> tuple[int, list[str]]:
    return one[0] + other[0], (one[1] + other[1])[:_NAMED] if other[1] else one[1]


def _listed(named: tuple[int, list[str]]) -> str:
    count, first = named
    more = f" and {count - len(first):,} more" if count > len(first) else ""
    return ", ".join(first) + more
