"""Limits for code that cannot be trusted to end: a C library, or a program, that looks into a clip.

What overruns its time is ended by the kernel, as a crash would end it. So hanging needs no handling of its own:
whoever survives a crashed worker survives a hanging one. What asks for too much memory gets none.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIGNAL = signal.SIGALRM
"""What a process is ended by that overran."""
MAX_MEMORY_BYTES = 2 << 30
"""What the check of one clip may need; a decoder of 4K video takes a tenth of it."""
TOO_MUCH_MEMORY = f"the check needs more than {MAX_MEMORY_BYTES >> 30} GiB of memory"
_STATE = Path("/proc/self/statm")


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Ends this process by `SIGNAL` if the block takes longer."""
    signal.signal(SIGNAL, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Lets this process grow by at most `MAX_MEMORY_BYTES` in the block; only Linux can tell and hold that."""
    if sys.platform != "linux":
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _address_space_bytes() + MAX_MEMORY_BYTES
    limits = [known for known in (limit, soft, hard) if known != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def bound_program(process_id: int, seconds: float) -> None:
    """The same for a program that has just been started; its time, too, in case nobody is left to end it."""
    if sys.platform == "linux":
        resource.prlimit(process_id, resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
        resource.prlimit(process_id, resource.RLIMIT_CPU, (math.ceil(seconds) + 5,) * 2)


def _address_space_bytes() -> int:
    return int(_STATE.read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
