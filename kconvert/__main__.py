"""The `kconvert` command, also as `python -m kconvert`: stops at a signal from its first moment on.

What the command needs takes a while to import, so that this module imports none of it by itself.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

EXIT_INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE_SECONDS = 10.0
"""What is left to do after a signal takes less, and leaves nothing half-done behind if nobody interrupts that as well.
Python loses a signal that comes within a finaliser, so that the next one has to count some day."""


class _Interruptions:
    """The signals that this process is sent."""

    last: float | None = None
    """When one was raised, in seconds on the monotonic clock; `None` if none was."""
    are_over = False
    """Whether nothing is left but Python's end."""


def main() -> int:
    """Runs the command; returns its exit code."""
    # A signal raises in here only, at any line of it.
    try:
        try:
            return _run()
        finally:
            _end()
    except KeyboardInterrupt:
        return _interrupted()
    except BaseException:
        # Where classes are made, what was raised comes as something else.
        if _Interruptions.last is None:
            raise
        return _interrupted()


def _run() -> int:
    _Interruptions.last, _Interruptions.are_over = None, False
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    # Ignored by whoever started this, the end of a worker could not be waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Closed by whoever started this; there is then nobody to print for.
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    from kconvert.engines.imports import without_arrays

    without_arrays()
    from kconvert.cli.commands import run_command

    return run_command(sys.argv[1:])


def _interrupt(number: int, frame: object) -> None:
    now = time.monotonic()
    if _Interruptions.are_over or (_Interruptions.last is not None and now < _Interruptions.last + _PATIENCE_SECONDS):
        return
    _Interruptions.last = now
    raise KeyboardInterrupt


def _interrupted() -> int:
    _end()
    with suppress(BrokenPipeError):
        print("kconvert: interrupted; run the same command again to resume", file=sys.stderr, flush=True)
    # Python remembers an interruption of an `exec` until the next one, and would end as if nobody had caught it.
    exec("")  # noqa: S102
    return EXIT_INTERRUPTED


def _end() -> None:
    """Has signals be ignored from here on."""
    _Interruptions.are_over = True
    # Python complains of one that it has heard of when it is to be ignored; whoever is asked now has heard of none.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


if __name__ == "__main__":
    sys.exit(main())
