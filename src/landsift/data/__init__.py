"""Labelled patches: sources, the store that holds them decoded, splits, batches and augmentation."""
