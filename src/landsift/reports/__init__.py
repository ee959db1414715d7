"""Self-contained HTML pages made from runs."""
