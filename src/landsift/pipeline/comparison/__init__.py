"""A comparison of strategies: its grid, its trainings in processes, and its folder."""
