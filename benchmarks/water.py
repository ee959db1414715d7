"""The water of maps beside that of the normalised difference water index (NDWI, McFeeters 1996) of the scene's bands.

    python benchmarks/water.py --scene SCENE.tif --green 3 --nir 8 MAP... [--classes River SeaLake]

A pixel of the scene is water where (green - nir) / (green + nir) is above 0, in groups of at least `--least` pixels.
For each map: hectares of its water classes, and how much of the index's water lies in their cells, in per cent.
"""

import argparse
from pathlib import Path

import numpy as np

import common


def main() -> None:
    """Measure and print the table."""
    import rasterio
    from rasterio.warp import Resampling, reproject
    from scipy import ndimage

    from landsift.mapping.map_file import read_classes, read_info

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", type=Path, nargs="+")
    parser.add_argument("--scene", type=Path, required=True)
    parser.add_argument("--green", type=int, required=True)
    parser.add_argument("--nir", type=int, required=True)
    parser.add_argument("--least", type=int, default=50)
    parser.add_argument("--classes", nargs="+", default=["River", "SeaLake"])
    options = parser.parse_args()
    with rasterio.open(options.scene) as file:
        green, nir = (file.read(band).astype(np.float32) for band in (options.green, options.nir))
        place = {"src_transform": file.transform, "src_crs": file.crs}
    groups, _ = ndimage.label(green > nir)
    counts = np.bincount(groups.ravel())
    counts[0] = 0
    water = (counts >= options.least)[groups].astype(np.float32)
    rows = []
    for path in options.maps:
        info = read_info(path)
        codes = read_classes(info, slice(0, info.grid.height))
        shares = np.zeros(codes.shape, np.float32)
        reproject(water, shares, dst_transform=info.grid.affine, dst_crs=info.grid.crs.to_wkt(),
                  resampling=Resampling.average, **place)  # fmt: skip
        own = np.isin(codes, [1 + info.classes.names.index(name) for name in options.classes])
        cell = abs(info.grid.affine.a * info.grid.affine.e) / 10_000
        rows.append((str(path), f"{cell * float(shares.sum()):.1f}", f"{cell * int(own.sum()):.1f}",
                     f"{100 * float(shares[own].sum() / shares.sum()):.0f}"))  # fmt: skip
    print(common.table(("map", "index (ha)", "map (ha)", "found (%)"), rows))


if __name__ == "__main__":
    main()
