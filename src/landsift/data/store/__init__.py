"""Patches decoded once: the store, how it is written, and its index."""

from landsift.extras import needs

needs("pandas", "platformdirs", "pyarrow", "scipy", extra="train", what="a patch store")
