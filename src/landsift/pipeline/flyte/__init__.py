"""Flyte: its local mode, task environments, files between tasks, errors, and submission to a cluster."""
