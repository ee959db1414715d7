"""The page of a pretraining."""
