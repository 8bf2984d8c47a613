"""The limits of what looks into clips, from within and without."""

import multiprocessing
import signal
import subprocess
import sys
import time

import pytest

from kconvert.video.limits import MAX_MEMORY_BYTES, bounded_memory, deadline

SLEEPING = "import sys, time\nfrom kconvert.video.limits import deadline\nwith deadline(0.2):\n    time.sleep(20)\n"


def test_what_overruns_its_time_is_ended_by_the_kernel() -> None:
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", SLEEPING], check=False, timeout=10)
    assert done.returncode == -signal.SIGALRM
    assert time.monotonic() - start < 5


def _allocate(sender: "multiprocessing.connection.Connection") -> None:
    held = bytes(1 << 28)
    with deadline(10), bounded_memory():
        try:
            bytes(MAX_MEMORY_BYTES + (1 << 20))
            got = "too much"
        except MemoryError:
            got = "refused"
        small = bytes(MAX_MEMORY_BYTES // 2)
    after = bytes(MAX_MEMORY_BYTES + (1 << 20))
    sender.send((got, len(held), len(small), len(after)))


def test_memory_is_bounded_by_what_is_asked_for_in_the_block_only() -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux can bound the memory of a process")
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_allocate, args=(sender,))
    process.start()
    sender.close()
    with receiver:
        assert receiver.recv() == ("refused", 1 << 28, MAX_MEMORY_BYTES // 2, MAX_MEMORY_BYTES + (1 << 20))
    process.join()
    process.close()
