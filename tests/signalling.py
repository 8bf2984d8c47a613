"""Signals `kconvert` at each line of its first module, and says how each run ended: `python tests/signalling.py`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from itertools import count
from types import FrameType
from typing import Any

from kconvert import __main__ as command


def trace(line: int) -> None:
    """Has this process send itself SIGTERM at that line, of those of the module and of what it calls, from the one on
    that takes the signal."""
    lines = count()

    def look(frame: FrameType, event: str, _: object) -> Any:
        if command.__file__ not in (frame.f_code.co_filename, frame.f_back and frame.f_back.f_code.co_filename):
            return None
        is_taken = signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN)
        if event == "line" and is_taken and next(lines) == line:
            os.kill(os.getpid(), signal.SIGTERM)
        return look

    sys.settrace(look)


def endings() -> Iterator[int]:
    """The exit codes, until a run has not so many lines."""
    # What takes the most time is not to be imported by each of them.
    assert command.main() == 0
    for line in count():
        pid = os.fork()
        if pid == 0:
            trace(line)
            sys.exit(command.main())
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        yield code
        if code == 0:
            return


if __name__ == "__main__":
    sys.argv = ["kconvert"]
    print(*endings())
