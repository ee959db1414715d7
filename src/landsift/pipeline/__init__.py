"""Flyte: task environments, cache policy, tasks and their submission."""
