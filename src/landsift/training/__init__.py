"""Phases, the Lightning module that trains through them, and what one training leaves behind."""
