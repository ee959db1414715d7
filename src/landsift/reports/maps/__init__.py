"""Pages of maps."""
