"""Maps of scenes: from a trained model to classes on a grid, to areas and to change."""

from landsift.extras import needs

needs(
    "exactextract", "geopandas", "odc", "pyogrio", "pyproj", "pystac", "rasterio", "shapely", extra="maps", what="a map"
)  # fmt: skip
