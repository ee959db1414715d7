"""The `landsift` command, which is `python -m landsift` too."""

import sys


def main() -> None:
    """Run the command line, or say what it lacks."""
    from landsift.extras import MissingExtraError

    try:
        from landsift.cli.main import main as run
    except MissingExtraError as missing:
        sys.exit(f"error: {missing}")
    run()


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working folder, whose random.py is not to be run
    main()
