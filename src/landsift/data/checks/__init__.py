"""What `landsift data check` looks for."""
