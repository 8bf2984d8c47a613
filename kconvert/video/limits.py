"""Limits for code that cannot be trusted to end: a C library, or a program, that looks into a clip.

What asks for too much memory gets none. Only Linux can say and limit how much a process may have.
"""

from __future__ import annotations

import math
import os
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

MAX_MEMORY_BYTES = 2 << 30
"""What the check of one clip may need; a decoder of 4K video takes a tenth of it."""
TOO_MUCH_MEMORY = f"the check needs more than {MAX_MEMORY_BYTES >> 30} GiB of memory"
_NEAR_BYTES = 64 << 20
"""Who came so near to the limit has probably been refused more."""
_STATE = Path("/proc/self/statm")
_STATUS = Path("/proc/self/status")


def bound_memory() -> None:
    """Lets this process grow by at most `MAX_MEMORY_BYTES` from now on, and leaves no image of it when it crashes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform != "linux":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        own = _address_space_bytes() + MAX_MEMORY_BYTES
    except OSError:
        # There is no /proc, as in a bare chroot: how much there is now, nobody knows.
        return
    limits = [own, soft, hard]
    resource.setrlimit(resource.RLIMIT_AS, (min(one for one in limits if one != resource.RLIM_INFINITY), hard))
    # Where memory is scarce, the kernel takes this process's, not its worker's.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


def is_near_limit() -> bool:
    """Whether this process has at any time had nearly as much memory as it may have."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if sys.platform != "linux" or limit == resource.RLIM_INFINITY:
        return False
    try:
        status = _STATUS.read_text("ascii", "replace")
    except OSError:
        return False
    peak = re.search(r"^VmPeak:\s+(\d+) kB$", status, re.MULTILINE)
    return peak is not None and int(peak[1]) * 1024 > limit - _NEAR_BYTES


def bound_program(process_id: int, seconds: float) -> None:
    """The same for a program that has just been started; its time, too, in case nobody is left to end it."""
    if sys.platform == "linux":
        resource.prlimit(process_id, resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
        resource.prlimit(process_id, resource.RLIMIT_CPU, (math.ceil(seconds) + 5,) * 2)


def _address_space_bytes() -> int:
    return int(_STATE.read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
