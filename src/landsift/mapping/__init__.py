"""Maps of scenes: from a trained model to classes on a grid, to areas and to change."""

from landsift.extras import needs

needs("odc", "pyproj", "pystac", "rasterio", "shapely", extra="maps", what="a map")
