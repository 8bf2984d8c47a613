"""Work for engines, of all kinds; in a module of its own, as it is sent to other processes."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from kconvert.errors import ArchiveError, UsageError
from kconvert.events import Advance, Emit
from kconvert.video.open import open_prober
from kconvert.video.verdict import CheckOptions


@dataclass(frozen=True)
class Job:
    number: int
    kind: str = "good"
    folder: Path = Path()

    @property
    def name(self) -> str:
        return f"job {self.number}"


def refuse() -> None:
    """A prelude for a machine that cannot work."""
    raise UsageError("this machine is not fit")


def do(job: Job, emit: Emit) -> tuple[int, int]:
    """Returns the job's number squared, and the attempt."""
    attempt = (job.folder / f"{job.number}").stat().st_size if (job.folder / f"{job.number}").exists() else 0
    with open(job.folder / f"{job.number}", "a") as file:
        file.write("x")
    emit(Advance(num_clips=1))
    match job.kind:
        case "raises":
            raise ArchiveError(job.name, "is damaged")
        case "surprises":
            raise KeyError(job.name)
        case "disk":
            raise OSError(28, "No space left on device", str(job.folder / "x"))
        case "prints":
            for stream in (1, 2):
                os.write(stream, b"\x1b[31mmoov atom not found\n")
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        case "dies once" if attempt == 0:
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hangs once" if attempt == 0:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            time.sleep(60)
        case "exits once" if attempt == 0:
            os._exit(7)
    return job.number**2, attempt


def isolate(job: Job, emit: Emit) -> str:
    """What a prober in a process of its own says of something that is no video."""
    return str(open_prober(CheckOptions()).probe(b"no video").fault)
