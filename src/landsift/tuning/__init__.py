"""A search of settings on the validation patches: what is searched, what is tried next, and which trial is chosen."""

from landsift.extras import needs

needs("optuna", extra="tune", what="tuning")
