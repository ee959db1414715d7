"""Files opened together, as a source opens its own."""

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from landsift.bands import BandSpec
from landsift.config import DataConfig
from landsift.data.decoding.decode import quiet_pillow, read_bytes
from landsift.data.decoding.file_bands import Seen
from landsift.data.decoding.patches import Decoded, Patches
from landsift.data.decoding.unreadable import Reason, UnreadableError, in_words, summed_up
from landsift.data.decoding.wanted import Wanted
from landsift.errors import DataError
from landsift.runtime.parallel import map_rows


class Opened(NamedTuple):
    """Files that fit together, and those that do not."""

    spec: BandSpec
    patches: Patches
    left_out: list[tuple[Path, Reason]]

    def read(self, path: Path, size: tuple[int, int] | None = None) -> Decoded:
        """As `Patches.read`."""
        return self.patches.read(path, size)


def open_patches(paths: Iterable[Path], data: DataConfig) -> Opened:
    """Look at files and decide what they have in common.

    Raises:
        ConfigError: the configuration names a sensor or an index that there is none of.
        DataError: none of the files can be read.
        MissingExtraError: what the configuration asks for needs more than is installed.
    """
    patches = Patches(Wanted.of(data))
    files = list(paths)

    def look(row: int) -> Seen | Reason:
        try:
            return patches.look(files[row], read_bytes(files[row]))
        except UnreadableError as error:
            return error.reason

    with quiet_pillow():
        seen = list(map_rows(look, range(len(files))))
    kinds = Counter(each.bands for each in seen if isinstance(each, Seen))
    settled = patches.settle(kinds, [each.place.gsd for each in seen if isinstance(each, Seen)])
    for level, said in ((logging.INFO, settled.notes), (logging.WARNING, settled.doubts)):
        for text, count in said.items():
            logging.getLogger("landsift").log(level, "%d of %d files: %s", count, kinds.total(), text)
    left_out = []
    for file, each in zip(files, seen, strict=True):
        reason = each if isinstance(each, Reason) else settled.reasons.get(each.bands)
        if reason is not None:
            left_out.append((file, reason))
    if len(left_out) == len(files):
        groups = summed_up((str(file), reason) for file, reason in left_out)
        raise DataError(
            f"none of the {len(files)} files can be read; {in_words(groups)}" if groups else "no files are given",
            groups[0].reason.cause.value if groups else "",
        )
    return Opened(settled.spec, patches, left_out)
