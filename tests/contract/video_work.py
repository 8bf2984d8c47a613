"""Work for the video process, of all kinds; in a module of its own, as it is sent to other processes."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from kconvert.video.child import Clip
from kconvert.video.process import VideoProcess

Tell = Callable[[object], None]


def measure(clip: Clip, tell: Tell) -> tuple[int, bytes, bytes]:
    """The clip's size, its first and last bytes."""
    return len(clip), clip[:4], clip[-4:]


def whoami(clip: Clip, tell: Tell) -> int:
    return os.getpid()


_kept: list[Clip] = []


def keep(clip: Clip, tell: Tell) -> int:
    """Does not let go of the clip."""
    _kept.append(clip)
    return os.getpid()


def slowly(clip: Clip, tell: Tell) -> str:
    time.sleep(1)
    return "done"


def do(clip: Clip, tell: Tell, what: str, log: Path) -> str:
    with open(log, "a") as file:
        file.write(f"{what}\n")
    tell(f"about {what}")
    match what:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(1000)
        case "hang for good":
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            while True:
                pass
        case "hog":
            # Ten gigabytes, of which none is touched.
            return str(len([bytes(1 << 28) for _ in range(40)]))
        case "raise":
            raise ValueError("there is none")
        case "print":
            os.write(1, b"\x1b[31mmoov atom not found\n")
            os.write(2, b"\x1b[31mmoov atom not found\n")
        case "write into the clip":
            clip[0] = 1  # type: ignore[index]
        case "crash if others came before" if len(log.read_text().splitlines()) == 2:
            os.kill(os.getpid(), signal.SIGABRT)
    return what


def hang_in_a_worker(log: str) -> None:
    """A worker whose video process hangs."""
    with VideoProcess() as process:
        process.run(do, b"clip", 1000.0, "hang for good", Path(log))
