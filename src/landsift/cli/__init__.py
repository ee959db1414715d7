"""The command line: parses, calls, prints."""

from landsift.extras import needs

needs("rich", "typer", extra="train", what="the command line")
