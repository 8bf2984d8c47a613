"""The `kconvert` command, also as `python -m kconvert`: stops at a signal from its first moment on.

What the command needs takes a while to import, so that this module imports none of it by itself.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

EXIT_INTERRUPTED = 130


def main() -> int:
    """Runs the command; returns its exit code."""
    # A signal raises once and only in here, at any line of it: those after the first find themselves ignored.
    try:
        try:
            return _run()
        finally:
            # What is left is Python's end.
            _ignore_signals()
    except KeyboardInterrupt:
        with suppress(BrokenPipeError):
            print("kconvert: interrupted; run the same command again to resume", file=sys.stderr, flush=True)
        return EXIT_INTERRUPTED


def _run() -> int:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    # Ignored by whoever started this, the end of a worker could not be waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Closed by whoever started this; there is then nobody to print for.
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    from kconvert.engines.imports import without_arrays

    without_arrays()
    from kconvert.cli.commands import run_command

    return run_command(sys.argv[1:])


def _interrupt(number: int, frame: object) -> NoReturn:
    # Once: what is left to do takes a moment, and leaves nothing half-done behind if nobody interrupts that as well.
    _ignore_signals()
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
