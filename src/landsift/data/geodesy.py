"""Places on the sphere: distances, nearest neighbours, and blocks of equal area.

Longitude and latitude are degrees (WGS 84). Distances are along great circles of a sphere of 6,371 km,
within 0.6 % of those on the ellipsoid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EARTH_KM = 6371.0088
"""Mean radius of the Earth (IUGG), in kilometres."""

Places = NDArray[np.float64]
"""Longitude and latitude in degrees, [N, 2]; NaN where a place is not known."""


def known(places: Places) -> NDArray[np.bool_]:
    """Which places are known, [N]."""
    return np.asarray(np.isfinite(places).all(axis=1))


def distance(kilometres: float) -> str:
    """A distance as people say it: "640 m", "3.2 km", "118 km"."""
    if kilometres < 1:
        return f"{1000 * kilometres:.0f} m"
    return f"{kilometres:.1f} km" if kilometres < 10 else f"{kilometres:,.0f} km"


def nearest_km(places: Places, others: Places, k: int = 1) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The nearest of the other places to each place; the dateline and the poles are no borders.

    Args:
        places: [N, 2], all known.
        others: [M, 2], all known, M at least 1.
        k: how many of them, at most M.

    Returns:
        Kilometres [N, k], ascending, and positions in `others` [N, k].
    """
    from scipy.spatial import cKDTree

    # The order of great-circle distances is that of the chords through the sphere, so that a tree in space finds them.
    chords, rows = cKDTree(_vectors(others)).query(_vectors(places), k=range(1, k + 1))
    return _arc_km(chords), np.asarray(rows, dtype=np.int64)


def within_km(places: Places, others: Places, distance_km: float) -> NDArray[np.bool_]:
    """Whether one of the other places is nearer than a distance, [N]; there may be none."""
    if not len(places) or not len(others):
        return np.zeros(len(places), dtype=np.bool_)
    return np.asarray(nearest_km(places, others)[0][:, 0] < distance_km)


def blocks(places: Places, block_km: float) -> NDArray[np.int64]:
    """The block that each place lies in: a number from 0, in order of appearance, [N].

    The grid is the integerised sinusoidal one (Rossow & Garder 1984; that of MODIS): rows of one height from pole to
    pole, and in each row so many columns of one width that blocks are as nearly square as whole numbers let them be.
    Blocks of a row are of equal area; those of a row of n columns differ from the others by at most 1 / (2n).

    Args:
        places: [N, 2], all known.
        block_km: side of a block, in kilometres.
    """
    import pandas as pd

    rows = max(1, round(np.pi * EARTH_KM / block_km))
    row = np.minimum(((90.0 - places[:, 1]) / 180.0 * rows).astype(np.int64), rows - 1)
    around = 2 * rows * np.cos(np.radians(90.0 - 180.0 * (row + 0.5) / rows))  # blocks, on the row's middle
    columns = np.maximum(1, np.round(around)).astype(np.int64)
    turn = np.mod(places[:, 0], 360.0) / 360.0  # so that -180 and 180 are one meridian
    turn[np.abs(places[:, 1]) == 90.0] = 0.0  # a pole has every longitude
    column = np.minimum((turn * columns).astype(np.int64), columns - 1)
    return pd.factorize(row * (2 * rows + 1) + column)[0].astype(np.int64)


def _vectors(places: Places) -> NDArray[np.float64]:
    """Points on the unit sphere, [N, 3]."""
    lon, lat = np.radians(places[:, 0]), np.radians(places[:, 1])
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def _arc_km(chords: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(2 * EARTH_KM * np.arcsin(np.minimum(chords / 2, 1.0)))
