"""The checks of `landsift data check`."""

from landsift.extras import needs

needs("pandas", "scipy", extra="train", what="a check of the data")
