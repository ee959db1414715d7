"""`python -m landsift` is the `landsift` command."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working folder, whose random.py is not to be run
    from landsift.cli.main import main

    main()
