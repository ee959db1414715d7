"""`python -m landsift` is the `landsift` command."""

from landsift.cli.main import main

if __name__ == "__main__":
    main()
