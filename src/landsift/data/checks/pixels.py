"""What the pixel values of a store look like: per band, and patch by patch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.bands import BRIGHTNESS, PLAUSIBLE, REFLECTANCE, BandSpec
from landsift.data.checks.findings import EXAMPLES, Section, Verdict, example, number_of
from landsift.data.checks.no_data import empty_areas
from landsift.runtime.progress_bar import progress_bar

if TYPE_CHECKING:
    from landsift.data.store.patch_store import PatchStore

DARK = 32
"""Levels of 255 below which a band of wrongly scaled reflectances lies."""
DEAD = 0.5
"""Share of patches in which a band is one value while others vary, from which it says little."""
MORE_NODATA = 0.05
"""Share of a band's pixels without data, above what most bands have, that is told."""
BRIGHTEST = 1.0
"""Mean reflectance of a band above which a source is all snow and clouds, or has another scale."""
DARKEST = 0.0005
"""Reflectance that something of each band exceeds, which for the cirrus band is the noise."""
CIRRUS = ("b10", "cirrus")
"""Names of the band at 1,375 nm, which sees next to nothing of the ground."""
MOST_SHOWN = 16
"""Bands of which mean and range are said in words."""
MOST_ODD = 16
"""Odd things about bands that are said in words."""
CLIPPED = 0.05
"""Share of a band's pixels at 0 or at 255 from which it is worth a look."""
HALF, MOST = 0.4, 0.6
"""Shares of a patch without data (`emptiness.py`) from which it is half empty, and mostly empty."""

UNSEEN = " (empty areas are looked for where bands name a nodata, and in 8-bit images)"

_CHUNK_BYTES = 2**25


@dataclass(frozen=True)
class PixelFacts:
    """Counts over some patches, per band (C numbers) or per patch."""

    patches: int
    """How many patches were looked at."""
    low: NDArray[Any]
    """Smallest value of each band's data, [C]."""
    high: NDArray[Any]
    """Largest value of each band's data, [C]."""
    zero: NDArray[np.float64]
    """Share of each band's pixels that are 0, [C]."""
    saturated: NDArray[np.float64]
    """Share of each band's pixels at the highest value of their type, [C]; 0 of floats."""
    dark: NDArray[np.float64]
    """Share of each band's pixels below `DARK`, [C]; of 8-bit pictures."""
    nodata: NDArray[np.float64]
    """Share of each band's pixels without data, [C]."""
    flat: NDArray[np.float64]
    """Share of the patches in which a band's data is one value where another band's is not, [C]."""
    equal: tuple[tuple[int, int], ...]
    """Pairs of bands that are equal in every pixel."""
    blank: NDArray[np.int64]
    """Rows of patches of one colour."""
    half_empty: NDArray[np.int64]
    """Rows of patches about half of which is empty: from `HALF` to `MOST`."""
    mostly_empty: NDArray[np.int64]
    """Rows of patches that are empty for the most part, but not of one colour."""


def pixel_facts(images: NDArray[Any], most: int | None = None, bands: BandSpec | None = None) -> PixelFacts:
    """Look at every patch, or at `most` patches that lie evenly over the store.

    Args:
        images: [N, H, W, C] of the bands' type; may be memory-mapped.
        most: How many patches to look at; None: all.
        bands: What the numbers mean; None: 8-bit pictures.
    """
    N, H, W, C = images.shape
    rows = np.arange(N) if most is None or most >= N else np.linspace(0, N - 1, most).astype(np.int64)
    least, highest = _limits(images.dtype)
    low, high = np.full(C, highest), np.full(C, least)
    zero, saturated, dark, nodata, flat = (np.zeros(C, dtype=np.int64) for _ in range(5))
    equal = {(a, b) for b in range(C) for a in range(b)}
    blank, half_empty, mostly_empty = [], [], []
    step = max(1, _CHUNK_BYTES // (H * W * C * images.dtype.itemsize))
    with progress_bar("Looking at pixels", len(rows)) as advance:
        for start in range(0, len(rows), step):
            here = rows[start : start + step]
            chunk = np.asarray(images[here[0] : here[-1] + 1] if len(rows) == N else images[here])
            each = [np.ascontiguousarray(chunk[..., c]).reshape(len(here), -1) for c in range(C)]  # the fast layout
            missing = None if bands is None else bands.missing(chunk)
            held = [None if missing is None else ~missing[..., c].reshape(len(here), -1) for c in range(C)]
            lows = np.stack([_least(band, data, highest) for band, data in zip(each, held, strict=True)], axis=1)
            highs = np.stack([_most(band, data, least) for band, data in zip(each, held, strict=True)], axis=1)
            low, high = np.minimum(low, lows.min(axis=0)), np.maximum(high, highs.max(axis=0))
            for c, (band, data) in enumerate(zip(each, held, strict=True)):
                zero[c] += np.count_nonzero(band == 0 if data is None else (band == 0) & data)
                nodata[c] += 0 if data is None else np.count_nonzero(~data)
                if band.dtype.kind != "f":
                    saturated[c] += np.count_nonzero(band == highest)
                if band.dtype == np.uint8:
                    dark[c] += np.count_nonzero(band < DARK)
            equal = {(a, b) for a, b in equal if np.array_equal(each[a], each[b], equal_nan=chunk.dtype.kind == "f")}
            one_colour = (lows >= highs).all(axis=1)  # above, where there is no data
            flat += ((lows == highs) & ~np.asarray(one_colour)[:, None]).sum(axis=0)
            empty = empty_areas(chunk) if chunk.dtype == np.uint8 else np.zeros(chunk.shape[:3], dtype=bool)
            share = (empty if missing is None else empty | missing.all(axis=-1)).mean(axis=(1, 2))
            blank.append(here[one_colour])
            half_empty.append(here[(share >= HALF) & (share < MOST) & ~one_colour])
            mostly_empty.append(here[(share >= MOST) & ~one_colour])
            advance(len(here))
    pixels = len(rows) * H * W
    return PixelFacts(
        len(rows),
        low,
        high,
        zero / pixels,
        saturated / pixels,
        dark / pixels,
        nodata / pixels,
        flat / len(rows),
        tuple(sorted(equal)),
        np.concatenate(blank),
        np.concatenate(half_empty),
        np.concatenate(mostly_empty),
    )


def _limits(kind: np.dtype[Any]) -> tuple[float, float] | tuple[int, int]:
    """The smallest and the largest number of a type."""
    if kind.kind == "f":
        return -np.inf, np.inf
    limits = np.iinfo(kind)
    return int(limits.min), int(limits.max)


def _least(band: NDArray[Any], data: NDArray[np.bool_] | None, otherwise: float) -> NDArray[Any]:
    """The smallest number of each patch's data, [n, pixels]; `otherwise` where there is none."""
    found: NDArray[Any] = band.min(axis=1) if data is None else band.min(axis=1, where=data, initial=otherwise)
    return found


def _most(band: NDArray[Any], data: NDArray[np.bool_] | None, otherwise: float) -> NDArray[Any]:
    """The largest number of each patch's data, [n, pixels]; `otherwise` where there is none."""
    found: NDArray[Any] = band.max(axis=1) if data is None else band.max(axis=1, where=data, initial=otherwise)
    return found


def bands_section(store: PatchStore, facts: PixelFacts) -> Section:
    """What is odd about whole bands: constant, scaled wrongly, equal to another, clipped."""
    spec = store.bands
    C, pictures = len(spec), spec.dtype == "uint8" and spec.units == BRIGHTNESS
    top: float = 255 if pictures else 1  # of pictures people know the levels
    names = [str(c) for c in range(C)] if spec.is_rgb8 else list(spec.names)
    mean, std = ([top * value for value in values] for values in (store.mean, store.std))
    counts = {
        "patches_looked_at": facts.patches,
        "mean": [round(m, 2) if pictures else m for m in mean],
        "std": [round(s, 2) if pictures else s for s in std],
        "low": [_plain(value) for value in facts.low.tolist()],
        "high": [_plain(value) for value in facts.high.tolist()],
        "zero": facts.zero.round(4).tolist(),
        "saturated": facts.saturated.round(4).tolist(),
    }
    if spec.nodata is not None:
        counts["nodata"] = facts.nodata.round(4).tolist()
    wrong = [f"band {names[c]} is {facts.low[c]} everywhere" for c in range(C)
             if store.std[c] == 0 and facts.nodata[c] < 1]  # fmt: skip
    dark = [c for c in range(C) if pictures and facts.dark[c] >= 0.999 and store.std[c] > 0]
    if dark and len(dark) == C:
        wrong.append(f"nearly all pixels are below {DARK} of 255: the values are scaled wrongly")
        dark = []
    if spec.units == REFLECTANCE:
        wrong += [f"band {names[c]} has a mean reflectance of {mean[c]:.4g}: the values are scaled wrongly"
                  for c in range(C) if not PLAUSIBLE[0] <= mean[c] <= PLAUSIBLE[1]]  # fmt: skip
    look = [f"band {names[c]} is below {DARK} of 255 nearly everywhere" for c in dark]
    look += _per_band(spec, names, mean, store.std, facts)
    look += [f"bands {names[a]} and {names[b]} are equal" for a, b in facts.equal if store.std[a] > 0]
    clipped = [(facts.zero, 0), (facts.saturated, _limits(spec.numpy_dtype)[1])]
    for shares, level in clipped if spec.dtype != "float32" else clipped[:1]:
        look += [
            f"{100 * shares[c]:.1f} % of band {names[c]} is {level}"
            for c in range(C)
            if shares[c] >= CLIPPED and store.std[c] > 0
        ]
    found = "; ".join(_shortened(said, MOST_ODD, "; ") for said in (wrong, look) if said)
    verdict: Verdict = "wrong" if wrong else "look" if look else "ok"
    if pictures:
        means = ", ".join(f"{m:.0f} ± {s:.0f}" for m, s in zip(mean, std, strict=True))
        return Section("bands", verdict, f"{found or 'values look sound'} (mean ± std of 255: {means}).", counts)
    each = [
        f"{names[c]} {mean[c]:.4g} ± {std[c]:.4g}, {_in_units(spec, c, facts.low[c]):.4g} to "
        f"{_in_units(spec, c, facts.high[c]):.4g}"
        if facts.nodata[c] < 1
        else f"{names[c]} none"
        for c in range(C)
    ]
    means = _shortened(each, MOST_SHOWN, ", ")
    without = f"; {100 * facts.nodata.mean():.1f} % of the numbers are nodata" if facts.nodata.any() else ""
    text = f"{found or 'values look sound'} (mean ± std and range, {spec.units}: {means}{without})."
    return Section("bands", verdict, text, counts)


def _shortened(said: Sequence[str], most: int, between: str) -> str:
    """The first of what is said of bands, and how many more there are; all of it is in the section's counts."""
    more = f"{between}and {len(said) - most} more" if len(said) > most else ""
    return between.join(said[:most]) + more


def _per_band(
    spec: BandSpec, names: Sequence[str], mean: Sequence[float], std: Sequence[float], facts: PixelFacts
) -> list[str]:
    """What is odd about single bands, in words: dead in many patches, much nodata, improbable reflectance."""
    bands = [c for c in range(len(spec)) if std[c] > 0]
    found = [
        f"band {names[c]} is one value in {100 * facts.flat[c]:.0f} % of the patches, where others are not"
        for c in bands
        if facts.flat[c] >= DEAD
    ]
    if facts.nodata.any():
        usual = float(np.median(facts.nodata))
        found += [
            f"{100 * facts.nodata[c]:.1f} % of band {names[c]} has no data, more than of others ({100 * usual:.1f} %)"
            for c in bands
            if usual + MORE_NODATA <= facts.nodata[c] < 1
        ]
    if spec.units != REFLECTANCE:
        return found
    for c in bands:
        highest = _in_units(spec, c, facts.high[c])
        if mean[c] > BRIGHTEST and mean[c] <= PLAUSIBLE[1]:
            found.append(f"band {names[c]} has a mean reflectance of {mean[c]:.4g}, as only snow and clouds have")
        elif PLAUSIBLE[0] <= mean[c] < 0:
            found.append(f"band {names[c]} has a mean reflectance of {mean[c]:.4g}, below 0: the offset may be wrong")
        elif highest < DARKEST and len(bands) > 1 and max(mean) > 10 * highest:
            found.append(
                f"band {names[c]} is below a reflectance of {highest:.2g} everywhere: its scale may be another"
            )
    cirrus = [c for c in bands if spec.names[c].lower() in CIRRUS]
    found += [
        f"band {names[c]} (cirrus) is about as bright as the others: the order of the bands may be wrong"
        for c in cirrus
        if len(bands) > 2 and mean[c] > 0.5 * float(np.median([mean[b] for b in bands if b != c]))
    ]
    return found


def _in_units(spec: BandSpec, c: int, value: float) -> float:
    return spec.scale[c] * float(value) + spec.offset[c]


def _plain(value: float) -> float | None:
    """A number as JSON has it; None where there was no data."""
    return value if math.isfinite(value) else None


def blank_section(store: PatchStore, facts: PixelFacts) -> Section:
    """Patches that show nothing, or little."""
    nothing = " or without data" if store.bands.nodata is not None else ""
    kinds = (
        (facts.blank, "blank", f"of one colour{nothing}"),
        (facts.mostly_empty, "mostly_empty", "mostly empty"),
        (facts.half_empty, "half_empty", "half empty"),
    )
    counts = {"patches_looked_at": facts.patches} | {name: len(rows) for rows, name, _ in kinds}
    of = "" if facts.patches == len(store) else f" among the {facts.patches:,} checked"
    only = "" if store.bands.dtype == "uint8" or store.bands.nodata is not None else UNSEEN
    if not any(len(rows) for rows, _, _ in kinds):
        half_empty = "" if only else " or half empty"
        return Section("blank patches", "ok", f"no patch is of one colour{half_empty}{of}{only}.", counts)
    said = [number_of(len(rows), f"patch is {what}", f"patches are {what}") for rows, _, what in kinds if len(rows)]
    if store.bands.dtype != "uint8":
        text = f"{'; '.join(said)}{of}{only}."
        examples = [example(store, [int(row)]) | {"what": what} for rows, _, what in kinds for row in rows[:EXAMPLES]]
        return Section("blank patches", "look", text, counts, examples[:EXAMPLES])
    emptiness = len(facts.mostly_empty) + len(facts.half_empty) > 0
    text = f"{'; '.join(said)}{of}{' (an area of one colour that ends abruptly, up to the edge)' if emptiness else ''}."
    examples = [example(store, [int(row)]) | {"what": what} for rows, _, what in kinds for row in rows[:EXAMPLES]]
    return Section("blank patches", "look", text, counts, examples[:EXAMPLES])
