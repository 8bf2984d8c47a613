"""The video process: a child in which clips are looked into, decoded and encoded, so that a clip can harm only itself.

Each worker has one, as long as it lives. A clip goes there through memory that both have (a memfd, used again for the
next one; a pipe where the system has none), the child maps it read-only, and what was found comes back as messages. A
child that dies, takes too long or needs too much memory is replaced, and that clip has its fault; nobody else notices.

What was blamed on a clip in a child that had seen others before is tried once more in a fresh one: an earlier clip may
have left the child in no good state, and what is said of a clip must not depend on its neighbours.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import socket
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar

from kconvert.errors import OutOfMemoryError, WorkerDiedError, describe_exit
from kconvert.machine_limits import MemoryKills
from kconvert.video.child import Done, Interim, Raised, Spent, Work
from kconvert.video.forker import UNFORESEEN, Forker
from kconvert.video.limits import TOO_MUCH_MEMORY
from kconvert.video.shared_clip import SharedClip

R = TypeVar("R")
_MAX_LOOKS = 3
"""At a clip whose child is ended by what may not be the clip's doing."""
_STEP_SECONDS = 1.0


class ClipFault(Exception):
    """A clip was too much for the video process."""

    def __init__(self, defect: Literal["crashed", "timeout"], detail: str, interim: object) -> None:
        super().__init__(defect, detail, interim)
        self.defect = defect
        self.detail = detail
        self.interim = interim
        """What was reported of the clip last, before the work was done; `None` if nothing was."""


class _TimeLimit:
    """How long a child may take. Where all of us are stopped and go on later, as by Ctrl-Z, a step passes at most."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def hears(self, connection: Connection) -> bool:
        """Waits; returns whether something came before the end of it."""
        while self._left > 0:
            step, start = min(_STEP_SECONDS, self._left), time.monotonic()
            is_heard = connection.poll(step)
            self._left -= min(time.monotonic() - start, step)
            if is_heard:
                return True
        return False


class Looking(Generic[R]):
    """A clip that is looked into."""

    def __init__(
        self, process: VideoProcess, work: Work[R], clip: bytes, seconds: float, more: tuple[object, ...]
    ) -> None:
        self._process = process
        self.work = work
        self.clip = clip
        self.seconds = seconds
        """How long the child may take, from when the result is asked for."""
        self.more = more

    def result(self) -> R:
        """What the work came to, to be asked for once.

        Raises: what it raises; `ClipFault` if it crashed, takes longer, or needs too much memory; `OutOfMemoryError` if
        the kernel killed it for memory that others have.
        """
        return self._process.finish(self)


class _Child:
    """The child that is there, what forks it, and the memory that it sees clips in."""

    def __init__(self, preload: tuple[str, ...]) -> None:
        self._preload = preload
        self._forker: Forker | None = None
        self._connection: Connection | None = None
        self.memory = SharedClip()
        self.num_done = 0
        """Clips that it has seen to their end."""

    def prepare(self) -> None:
        """Starts what forks the children: best before this process has threads, as it is forked itself then."""
        if self._forker is None:
            self._forker = Forker(self._preload)

    def connected(self) -> Connection:
        """The way to it; it is begun if there is none."""
        if self._connection is not None:
            return self._connection
        self.num_done = 0
        ours, theirs = socket.socketpair()
        with theirs, ours:
            handles = [theirs.fileno(), *self.memory.handles]
            try:
                self._fork(handles)
            except OSError:
                # Somebody has killed it.
                self._forget_forker()
                self._fork(handles)
            self._connection = Connection(ours.detach())
        return self._connection

    def _fork(self, handles: list[int]) -> None:
        if self._forker is None:
            self._forker = Forker(self._preload)
        self._forker.fork(handles)

    def end(self) -> int | None:
        """Ends the child; returns its exit code, `None` if nobody knows it any more."""
        self._disconnect()
        try:
            return self._forker.end() if self._forker is not None else 0
        except OSError:
            # Who could say it was killed, and the child with it.
            self._forget_forker()
            return None

    def _forget_forker(self) -> None:
        if self._forker is not None:
            self._forker.close()
            self._forker = None

    def close(self) -> None:
        """Ends it, and what forks others."""
        self.end()
        self._forget_forker()
        self.memory.close()

    def abandon(self) -> None:
        """Leaves it to the process that this one was forked off."""
        self._disconnect()
        if self._forker is not None:
            self._forker.abandon()
            self._forker = None
        self.memory.close()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class VideoProcess:
    """One child at a time, begun when it is needed. To be closed; it ends with this process in any case."""

    def __init__(self, preload: tuple[str, ...] = ()) -> None:
        self._child = _Child(preload)
        self._is_fresh = True
        """Whether the child had seen no other clip when it was given this one."""
        self._interim: object = None
        self._looking: Looking[Any] | None = None
        """The clip that it is at; `None` if its last word was heard."""
        self._kills = MemoryKills()

    def prepare(self) -> None:
        """Starts what forks the children: best before this process has threads, as it is forked itself then."""
        self._child.prepare()

    def run(self, work: Work[R], clip: bytes, seconds: float, *more: object) -> R:
        """What the work comes to for a clip: `work(clip, report, *more)`, done in the child. Raises: as `begin`, and
        `Looking.result`."""
        return self.begin(work, clip, seconds, *more).result()

    def begin(self, work: Work[R], clip: bytes, seconds: float, *more: object) -> Looking[R]:
        """The same, while the caller does something else; one clip at a time: a clip that is begun before the result of
        another was asked for is the only one from then on. Raises: `ValueError` for a clip without bytes."""
        if not clip:
            raise ValueError("has no bytes")
        if self._looking is not None:
            # Nobody hears what is said of that clip.
            self._looking = None
            self._child.end()
        looking = Looking(self, work, clip, seconds, more)
        self._send(looking)
        self._looking = looking
        return looking

    def finish(self, looking: Looking[R]) -> R:
        """See `Looking.result`. Raises `WorkerDiedError` if something else ends the processes, `RuntimeError` if it
        is no longer what is looked at."""
        if looking is not self._looking:
            raise RuntimeError("the result of a clip was asked for twice, or after another clip was begun")
        try:
            # Where the first is ended by what came before, perhaps: in a fresh child it is the clip's own doing.
            found = self._answer(looking)
            for _ in range(_MAX_LOOKS - 1):
                if found is not None:
                    break
                self._send(looking)
                found = self._answer(looking)
        finally:
            self._looking = None
        if found is None:
            raise WorkerDiedError("the check of a clip", "its processes were killed from outside")
        if isinstance(found, Raised):
            raise found.error
        result: R = found.result
        return result

    def _send(self, looking: Looking[Any]) -> None:
        """Gives the child a clip."""
        connection = self._child.connected()
        self._is_fresh, self._interim = self._child.num_done == 0, None
        # Were there no memory for it, the child would have no part in that.
        self._child.memory.put(looking.clip)
        try:
            # One that is dead is found so when it is listened to.
            with suppress(OSError):
                size = len(looking.clip) if self._child.memory.is_shared else None
                connection.send((looking.work, looking.more, size))
                if size is None:
                    connection.send_bytes(looking.clip)
        except BaseException:
            self._child.end()
            raise

    def _answer(self, looking: Looking[Any]) -> Done | Raised | None:
        """What the child says; `None` if it is no more, and that may not be the clip's doing."""
        is_fresh = self._is_fresh
        try:
            found = self._hear(self._child.connected(), looking.seconds)
        except (EOFError, OSError):
            self._died(is_fresh)
            return None
        except BaseException:
            # Whoever is interrupted does not hear the answer, which is not to be taken for that of the next clip.
            self._child.end()
            raise
        if isinstance(found, Done | Raised):
            self._child.num_done += 1
            return found
        self._child.end()
        if found is None:
            raise ClipFault("timeout", f"the check took longer than {looking.seconds:g} s", self._interim)
        if is_fresh:
            raise ClipFault("crashed", TOO_MUCH_MEMORY, self._interim)
        return None

    def _hear(self, connection: Connection, seconds: float) -> Done | Raised | Spent | None:
        """The child's last word; `None` if it does not come in that time."""
        limit = _TimeLimit(seconds)
        while limit.hears(connection):
            found: Interim | Done | Raised | Spent = connection.recv()
            if not isinstance(found, Interim):
                return found
            self._interim = found.what
        return None

    def _died(self, is_fresh: bool) -> None:
        """Raises what the death of a fresh child means."""
        code = self._child.end()
        if code == -signal.SIGKILL and self._kills.is_another():
            raise OutOfMemoryError("the check of a clip", self._kills.limit())
        if is_fresh and code in (0, UNFORESEEN):
            raise RuntimeError(f"the video process did not begin, or ended by itself (exit code {code})")
        if is_fresh and code is not None:
            raise ClipFault("crashed", f"the check was ended by {describe_exit(code)}", self._interim)

    def close(self) -> None:
        """Ends the child; nothing can be run any more."""
        self._looking = None
        self._child.close()

    def abandon(self) -> None:
        """Leaves it to the process that this one was forked off."""
        self._looking = None
        self._child.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def video_process(number: int = 0) -> VideoProcess:
    """One of this process's, begun if there is none of that number yet; it ends with this process. The first one begins
    fastest (see `prepare`)."""
    return _of_process(os.getpid(), number)


def prepare() -> None:
    """Has this process be ready for a video process; to be called before it has threads."""
    video_process().prepare()


@functools.cache
def _of_process(process_id: int, number: int) -> VideoProcess:
    """Of each process its own: a child that is forked off this one gets others."""
    process = VideoProcess(preload=("kconvert.video.libav",))
    atexit.register(process.close)
    os.register_at_fork(after_in_child=process.abandon)
    return process
