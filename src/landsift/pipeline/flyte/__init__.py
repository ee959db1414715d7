"""Flyte: its local mode, task environments, files between tasks, errors, and submission to a cluster."""

from landsift.extras import needs

needs("flyte", "flyteplugins", "wandb", extra="pipeline", what="the pipeline")
