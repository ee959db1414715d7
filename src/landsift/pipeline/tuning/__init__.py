"""A search of settings on this machine: its trials, its record, and the test at its end."""
