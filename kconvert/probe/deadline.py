"""A limit in time for code that cannot be interrupted: a C library that hangs.

When the time is over the kernel ends the process, as a crash would. So hanging needs no handling of its own: whoever
survives a crashed worker survives a hanging one.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNAL = signal.SIGALRM
"""What a process is ended by that overran."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Ends this process by `SIGNAL` if the block takes longer."""
    signal.signal(SIGNAL, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
