"""Backbones, their weights and blocks, and the classifier on top."""
