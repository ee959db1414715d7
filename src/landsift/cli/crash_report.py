"""How the command line reports an unexpected error: two lines, and where the traceback is."""

from __future__ import annotations

import datetime
import os
import sys
import tempfile
import traceback
from pathlib import Path

from landsift.errors import plain

DEBUG = "LANDSIFT_DEBUG"
"""Variable that has the whole traceback printed."""
_LONGEST = 300


def tell(error: Exception) -> None:
    """Print what failed and where its traceback was written."""
    trace = "".join(traceback.format_exception(error))
    if os.environ.get(DEBUG):
        print(trace, file=sys.stderr, end="")
    line = next((plain(line.strip()) for line in str(error).splitlines() if line.strip()), "")
    line = line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."
    print(f"error: {type(error).__name__}{': ' * bool(line)}{line}", file=sys.stderr)
    file = _kept(trace)
    where = (
        f"the traceback is in {plain(str(file))}" if file else f"with {DEBUG}=1 the same command prints the traceback"
    )
    print(f"this is an unexpected error; {where}", file=sys.stderr)


def _kept(trace: str) -> Path | None:
    """Write the traceback to the cache folder, or else to a temporary file; None where neither can be written."""
    text = f"{' '.join(map(plain, sys.argv))}\n\n{trace}"
    name = f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}-{os.getpid()}.txt"
    try:
        from landsift.config import cache_folder

        file = cache_folder() / "errors" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
    except Exception:  # noqa: BLE001 (whatever it is, the error is told)
        try:
            descriptor, place = tempfile.mkstemp(prefix="landsift-", suffix=".txt")
            with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as other:
                other.write(text)
            return Path(place)
        except OSError:
            return None
    return file
