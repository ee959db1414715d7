"""What `landsift data check` looks for."""

from landsift.extras import needs

needs("pandas", "scipy", extra="train", what="a check of the data")
