"""Figures of a trained classifier: metrics with intervals, calibration, embeddings."""
