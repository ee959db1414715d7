"""Patches decoded once: the store, how it is written, and its index."""
