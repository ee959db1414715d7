"""What change, zones, samples and areas need beyond a map; imported before them, so that its extra is named."""

from landsift.extras import needs

needs("exactextract", "geopandas", "pandas", "pyogrio", "scipy", extra="maps", what="an area")
