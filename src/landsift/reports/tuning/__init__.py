"""The page of a search of settings."""
