"""What landsift needs of the process and the machine it runs in: notices, signals, threads, places to write to."""
