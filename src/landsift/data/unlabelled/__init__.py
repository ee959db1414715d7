"""Patches without labels, however many: listed one after another, read in that order, never all in memory."""
