"""Where patches come from: generated, EuroSAT, a folder, a table."""
