"""What the pixel values of a store look like: per band, and patch by patch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from landsift.data.checks.findings import EXAMPLES, Section, Verdict, example, number_of
from landsift.data.checks.no_data import empty_areas
from landsift.runtime.progress_bar import progress_bar

if TYPE_CHECKING:
    from landsift.data.store.patch_store import PatchStore

DARK = 32
"""Levels of 255 below which a band of wrongly scaled reflectances lies."""
CLIPPED = 0.05
"""Share of a band's pixels at 0 or at 255 from which it is worth a look."""
HALF, MOST = 0.4, 0.6
"""Shares of a patch without data (`emptiness.py`) from which it is half empty, and mostly empty."""

_CHUNK_BYTES = 2**25


@dataclass(frozen=True)
class PixelFacts:
    """Counts over some patches, per band (C numbers) or per patch."""

    patches: int
    """How many patches were looked at."""
    low: NDArray[np.int64]
    """Smallest value of each band, [C]."""
    high: NDArray[np.int64]
    """Largest value of each band, [C]."""
    zero: NDArray[np.float64]
    """Share of each band's pixels that are 0, [C]."""
    saturated: NDArray[np.float64]
    """Share of each band's pixels that are 255, [C]."""
    dark: NDArray[np.float64]
    """Share of each band's pixels below `DARK`, [C]."""
    equal: tuple[tuple[int, int], ...]
    """Pairs of bands that are equal in every pixel."""
    blank: NDArray[np.int64]
    """Rows of patches of one colour."""
    half_empty: NDArray[np.int64]
    """Rows of patches about half of which is empty: from `HALF` to `MOST`."""
    mostly_empty: NDArray[np.int64]
    """Rows of patches that are empty for the most part, but not of one colour."""


def pixel_facts(images: NDArray[np.uint8], most: int | None = None) -> PixelFacts:
    """Look at every patch, or at `most` patches that lie evenly over the store.

    Args:
        images: uint8 [N, H, W, C]; may be memory-mapped.
        most: How many patches to look at; None: all.
    """
    N, H, W, C = images.shape
    rows = np.arange(N) if most is None or most >= N else np.linspace(0, N - 1, most).astype(np.int64)
    low, high = np.full(C, 255), np.zeros(C, dtype=np.int64)
    zero, saturated, dark = (np.zeros(C, dtype=np.int64) for _ in range(3))
    equal = {(a, b) for b in range(C) for a in range(b)}
    blank, half_empty, mostly_empty = [], [], []
    step = max(1, _CHUNK_BYTES // (H * W * C))
    with progress_bar("Looking at pixels", len(rows)) as advance:
        for start in range(0, len(rows), step):
            here = rows[start : start + step]
            chunk = images[here[0] : here[-1] + 1] if len(rows) == N else images[here]
            bands = [np.ascontiguousarray(chunk[..., c]).reshape(len(here), -1) for c in range(C)]  # the fast layout
            lows, highs = (np.stack([f(band, axis=1) for band in bands], axis=1) for f in (np.min, np.max))
            low, high = np.minimum(low, lows.min(axis=0)), np.maximum(high, highs.max(axis=0))
            for c, band in enumerate(bands):
                zero[c] += np.count_nonzero(band == 0)
                saturated[c] += np.count_nonzero(band == 255)
                dark[c] += np.count_nonzero(band < DARK)
            equal = {(a, b) for a, b in equal if np.array_equal(bands[a], bands[b])}
            one_colour = (lows == highs).all(axis=1)
            empty = empty_areas(chunk).mean(axis=(1, 2))
            blank.append(here[one_colour])
            half_empty.append(here[(empty >= HALF) & (empty < MOST)])
            mostly_empty.append(here[empty >= MOST])
            advance(len(here))
    pixels = len(rows) * H * W
    return PixelFacts(
        len(rows),
        low,
        high,
        zero / pixels,
        saturated / pixels,
        dark / pixels,
        tuple(sorted(equal)),
        np.concatenate(blank),
        np.concatenate(half_empty),
        np.concatenate(mostly_empty),
    )


def bands_section(store: PatchStore, facts: PixelFacts) -> Section:
    """What is odd about whole bands: constant, scaled wrongly, equal to another, clipped."""
    C = store.images.shape[-1]
    counts = {
        "patches_looked_at": facts.patches,
        "mean": [round(255 * m, 2) for m in store.mean],
        "std": [round(255 * s, 2) for s in store.std],
        "low": facts.low.tolist(),
        "high": facts.high.tolist(),
        "zero": facts.zero.round(4).tolist(),
        "saturated": facts.saturated.round(4).tolist(),
    }
    wrong = [f"band {c} is {facts.low[c]} everywhere" for c in range(C) if store.std[c] == 0]
    dark = [c for c in range(C) if facts.dark[c] >= 0.999 and store.std[c] > 0]
    if len(dark) == C:
        wrong.append(f"nearly all pixels are below {DARK} of 255: the values are scaled wrongly")
        dark = []
    look = [f"band {c} is below {DARK} of 255 nearly everywhere" for c in dark]
    look += [f"bands {a} and {b} are equal" for a, b in facts.equal if store.std[a] > 0]
    for shares, level in ((facts.zero, 0), (facts.saturated, 255)):
        look += [
            f"{100 * shares[c]:.1f} % of band {c} is {level}"
            for c in range(C)
            if shares[c] >= CLIPPED and store.std[c] > 0
        ]
    found = "; ".join([*wrong, *look])
    means = ", ".join(f"{255 * m:.0f} ± {255 * s:.0f}" for m, s in zip(store.mean, store.std, strict=True))
    verdict: Verdict = "wrong" if wrong else "look" if look else "ok"
    return Section("bands", verdict, f"{found or 'values look sound'} (mean ± std of 255: {means}).", counts)


def blank_section(store: PatchStore, facts: PixelFacts) -> Section:
    """Patches that show nothing, or little."""
    kinds = (
        (facts.blank, "blank", "of one colour"),
        (facts.mostly_empty, "mostly_empty", "mostly empty"),
        (facts.half_empty, "half_empty", "half empty"),
    )
    counts = {"patches_looked_at": facts.patches} | {name: len(rows) for rows, name, _ in kinds}
    of = "" if facts.patches == len(store) else f" among the {facts.patches:,} checked"
    if not any(len(rows) for rows, _, _ in kinds):
        return Section("blank patches", "ok", f"no patch is of one colour or half empty{of}.", counts)
    said = [number_of(len(rows), f"patch is {what}", f"patches are {what}") for rows, _, what in kinds if len(rows)]
    emptiness = len(facts.mostly_empty) + len(facts.half_empty) > 0
    text = f"{'; '.join(said)}{of}{' (an area of one colour that ends abruptly, up to the edge)' if emptiness else ''}."
    examples = [example(store, [int(row)]) | {"what": what} for rows, _, what in kinds for row in rows[:EXAMPLES]]
    return Section("blank patches", "look", text, counts, examples[:EXAMPLES])
