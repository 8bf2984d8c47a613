"""Every error that kconvert raises on purpose.

Each one is built from plain positional values, so that it survives the way from a worker to the driver
(pickle), and its text says what, where, got, expected and what to do.
Defects of a clip are not errors: they are values in its row (see `verdict`).
"""

from __future__ import annotations

import errno
import signal
from dataclasses import dataclass
from typing import Any


class KconvertError(Exception):
    """Base of all errors that are raised on purpose. The command line prints its text as one line."""


class UsageError(KconvertError):
    """The command, its configuration or its surroundings cannot work; nothing was fetched (exit code 2)."""


class BusyError(UsageError):
    """Another run works on the folder."""


class OriginError(UsageError):
    """The origin is unreachable, is not laid out as an origin, or states something that cannot be read."""


class AnnotationError(OriginError):
    """An annotation file cannot be read, or too many of its rows cannot; `problems` holds all of them."""

    MAX_SHOWN = 20

    def __init__(self, path: str, problems: tuple[Problem, ...], allowed: str) -> None:
        super().__init__(path, problems, allowed)
        self.path = path
        self.problems = problems
        self.allowed = allowed
        """How many of how many rows may be malformed; `""` if it is no matter of rows."""

    def __str__(self) -> str:
        shown = "; ".join(str(problem) for problem in self.problems[: self.MAX_SHOWN])
        more = len(self.problems) - self.MAX_SHOWN
        tail = f"; and {more:,} more" if more > 0 else ""
        allowed = f", of at most {self.allowed} (--max_malformed)" if self.allowed else ""
        found = f"{self.path}: {len(self.problems):,} problem(s){allowed}: {shown}{tail}"
        return f"{found}; correct them, or use another --origin"


class TaskError(KconvertError):
    """A fault that fails one task; the other tasks continue, and the next run tries it again (exit code 3)."""

    next_step = "run the same command again: it resumes there"
    """What a person does about it. It is printed once for all tasks that failed in one way."""


class FetchError(TaskError):
    """A resource could not be transferred. Raised once retrying has ended or cannot help."""

    next_step = "run the same command again; if it stays so, look at the network and the origin"

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where = where
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


class NotFoundError(FetchError):
    """The server, or the folder, says that there is no such resource (HTTP 403, 404, 410)."""

    next_step = "check --origin: its path list names what it does not have, or does not let you have"


class UnreachableError(FetchError):
    """Nobody answers: no connection could be made, however often that was tried."""

    next_step = "run the same command again once the origin answers; check --origin and the network"


class SourceChangedError(FetchError):
    """What was read so far can not be continued; the caller has to start this resource again."""


class ArchiveError(TaskError):
    """An archive is damaged: nothing of it is kept, as nobody can say what is missing from it."""

    next_step = "run the same command again: it is fetched anew; if it stays so, the origin's copy is no archive"

    def __init__(self, archive: str, problem: str) -> None:
        super().__init__(archive, problem)
        self.archive = archive
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.archive}: {self.problem}"


class StagingError(TaskError):
    """A staged file is not what its receipt says."""

    def __init__(self, message: str, part: Any = None) -> None:
        super().__init__(message, part)
        self.part = part
        """The part that is worth nothing; `None` if there is none."""

    def __str__(self) -> str:
        return str(self.args[0])


class DiskError(TaskError):
    """The system refused to read or write a file. The text names the path and what to do."""

    next_step = "mend what the system says, then run the same command again"


class DiskFullError(DiskError):
    """There is no space on the disk, or it may not be written to: whatever is tried next fails as well."""


def disk_error(error: OSError, task: str = "") -> DiskError:
    """What a person should know of an error of the system, in the task of that name."""
    kind = DiskFullError if error.errno in _FULL else DiskError
    said = [task, str(error.filename or "unknown file"), error.strerror or str(error)]
    return kind(": ".join(text for text in said if text) + _ADVICE.get(error.errno or 0, ""))


def describe_exit(code: int) -> str:
    """How a process ended, from its exit code as Python has it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


STORE_ERRNO: int = getattr(errno, "EREMOTEIO", errno.EREMOTE)
"""What an error of a store goes by; macOS has no number for it, and uses this one for nothing."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_ADVICE = {
    errno.ENOSPC: "; make space there and run the same command again",
    errno.EDQUOT: "; make space in the quota, or have it raised, and run the same command again",
    errno.EROFS: "; make it writable and run the same command again",
    errno.EACCES: "; make it accessible and run the same command again",
    errno.EPERM: "; make it accessible and run the same command again",
    errno.EIO: "; the disk, or the way to it, fails: see the system's log, then run the same command again",
    STORE_ERRNO: "; the store, or the way to it, fails: check both, then run the same command again",
    errno.EMFILE: "; raise the limit of open files (`ulimit -n`) and run the same command again",
    errno.ENOMEM: "; use fewer --workers and run the same command again",
}


class LostLockError(TaskError):
    """Another run has the folder by now, or nobody knows who has it: this one has ended."""

    next_step = "run the same command again once nobody else works on the folder"

    def __init__(self, lock: str, why: str) -> None:
        super().__init__(lock, why)
        self.lock = lock
        self.why = why

    def __str__(self) -> str:
        return f"{self.lock}: the lock on this folder is lost, as {self.why}; the run has ended; {self.next_step}"


class WorkerDiedError(TaskError):
    """The process that did a task died, and so did the one that tried it again."""

    next_step = "look for what killed it (memory, as `dmesg` says?), then run again with fewer --workers"

    def __init__(self, task: str, how: str) -> None:
        super().__init__(task, how)
        self.task = task
        self.how = how

    def __str__(self) -> str:
        return f"{self.task}: the worker process died twice ({self.how})"


class OutOfMemoryError(TaskError):
    """The kernel killed a process of ours, as its container has no more memory. That says nothing of any clip."""

    next_step = "run again with fewer --workers, or with more memory"

    def __init__(self, task: str, limit: str) -> None:
        super().__init__(task, limit)
        self.task = task
        self.limit = limit
        """As a person says it; `""` if nobody knows."""

    def __str__(self) -> str:
        return f"{self.task}: the kernel killed its process for memory{f' ({self.limit})' if self.limit else ''}"


class InstructionSetError(TaskError):
    """Sound comes out otherwise on this machine than on the one that made other sound of the folder."""

    def __init__(self, task: str, theirs: str, own: str) -> None:
        super().__init__(task, theirs, own)
        self.task = task
        self.theirs = theirs
        self.own = own
        self.next_step = f"run the same command again on a machine with {theirs}, or use --audio drop and another --out"

    def __str__(self) -> str:
        return (
            f"{self.task}: has sound that is decoded or encoded, which comes out otherwise with other instructions: "
            f"other sound of this folder was made with {self.theirs}, this machine has {self.own}"
        )


class UnexpectedError(TaskError):
    """An exception nobody foresaw, carried out of a worker with its traceback."""

    next_step = "this is a fault of kconvert: please report it with the traceback that was printed"

    def __init__(self, task: str, summary: str, traceback: str) -> None:
        super().__init__(task, summary, traceback)
        self.task = task
        self.summary = summary
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.task}: {self.summary}"


class ManifestError(UsageError):
    """A manifest cannot be read as one of this format."""


class OtherFormatError(ManifestError):
    """A manifest is of another format, written by another kconvert."""


@dataclass(frozen=True)
class Problem:
    """One malformed spot in an input file."""

    where: str
    """Where in the file, e.g. `line 12`."""
    got: str
    """What stands there."""
    expected: str
    """What should."""

    def __str__(self) -> str:
        return f"{self.where}: got {self.got!r}, expected {self.expected}"
