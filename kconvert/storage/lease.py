"""Leases: locks for stores that have none. A file that its holder writes anew every few seconds.

There is one key, and the last writer has it: whoever wants it finds nobody alive there, writes, waits for longer than a
request may take, and reads it back. Nothing is asked of the store but that what was written is read: some ignore
conditions, some refuse them. No clocks are compared: a lease that stands still for so long that its holder must be dead
is taken over, or at once if that was a process of this machine that is gone.

A lease that is lost ends the run, as restic's locks do: somebody else may be at work by then.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from kconvert.errors import LostLockError
from kconvert.storage.store import StorePath

SETTLE_SECONDS = 2.5
"""Between writing and reading back: what somebody else wrote at the same time is there by then."""
_PROMPT_SECONDS = 2.0
"""Who takes longer from looking to having written may have written over somebody who has read back already. That one
ends by itself, within `LOST_SECONDS`, and is waited for."""
RENEW_SECONDS = 5.0
LOST_SECONDS = 20.0
"""Without a renewal that succeeded, a holder gives up: well before others take it for dead."""
DEAD_SECONDS = 30.0
"""How long a lease has to stand still to be taken over."""
_LOOK_SECONDS = 1.0


@contextmanager
def leased(path: StorePath, dead_seconds: float = DEAD_SECONDS) -> Iterator[bool]:
    """Holds a lease during the block; false if somebody else has it, and has written it anew within that time.

    Raises: `LostLockError` if the lease is lost meanwhile. The block is then interrupted (`KeyboardInterrupt`) if it
    runs in the main thread.
    """
    mine = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}"
    if not _take(path, mine, dead_seconds):
        yield False
        return
    keeper = _Keeper(path, mine)
    keeper.start()
    try:
        yield True
    except KeyboardInterrupt:
        if not keeper.why_lost:
            raise
    finally:
        keeper.stop()
        if not keeper.why_lost:
            with suppress(OSError):
                if _said(path).startswith(mine):
                    path.remove()
    if keeper.why_lost:
        raise LostLockError(str(path), keeper.why_lost)


def is_leased(path: StorePath) -> bool:
    """Whether somebody seems to hold a lease: at a glance, one that stands still is taken for held."""
    said = _said(path)
    return said != "" and not _is_gone(said)


def _take(path: StorePath, mine: str, dead_seconds: float) -> bool:
    if (first := _said(path)) and not _is_dead(path, first, dead_seconds):
        return False
    looked = time.monotonic()
    if _said(path) not in ("", first):
        # Somebody else may have watched it as long, and taken it just now.
        return False
    path.show(_text(mine, 0))
    is_prompt = time.monotonic() - looked < _PROMPT_SECONDS
    time.sleep(SETTLE_SECONDS if is_prompt else SETTLE_SECONDS + LOST_SECONDS)
    return _said(path).startswith(mine)


def _is_dead(path: StorePath, first: str, dead_seconds: float) -> bool:
    """Watches a lease until it changes, or has not for long enough."""
    end = time.monotonic() + dead_seconds
    while not _is_gone(first) and time.monotonic() < end:
        time.sleep(_LOOK_SECONDS)
        if (said := _said(path)) != first:
            # Given back, or renewed.
            return said == ""
    return True


def _is_gone(said: str) -> bool:
    """Whether the holder was a process of this machine, and is no more."""
    host, _, rest = said.partition(" ")
    process = rest.partition(" ")[0]
    if host != socket.gethostname() or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


@dataclass
class _Keeper:
    """Renews a lease until it is over, or lost."""

    path: StorePath
    """Of the lease."""
    mine: str
    """What stands in the lease while it is ours."""
    is_over: threading.Event = field(default_factory=threading.Event)
    """Set when the lease is given back."""
    why_lost: str = ""
    """`""` while it is held."""

    def __post_init__(self) -> None:
        self._holder = threading.current_thread()
        self._last = time.monotonic()
        """When it was renewed last."""
        self._problem = "the store does not answer"
        """Why the last renewal failed."""
        self._renewer = threading.Thread(target=self._renew, daemon=True)
        # A renewal may hang for longer than the lease is good for: the store's library tries again by itself.
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begins to renew it."""
        self._renewer.start()
        self._watcher.start()

    def stop(self) -> None:
        """Renews it no more; what is lost is left to others at once."""
        self.is_over.set()
        if not self.why_lost:
            self._renewer.join(RENEW_SECONDS)

    def _renew(self) -> None:
        number = 0
        while not self.is_over.wait(RENEW_SECONDS):
            number += 1
            try:
                if not _said(self.path).startswith(self.mine):
                    self._lose("another run has taken it over")
                    return
                self.path.show(_text(self.mine, number))
                self._last = time.monotonic()
            except OSError as error:
                # A store that fails for a moment is asked again in the next one.
                self._problem = error.strerror or str(error)

    def _watch(self) -> None:
        while not self.is_over.wait(min(_LOOK_SECONDS, LOST_SECONDS / 4)):
            if time.monotonic() - self._last > LOST_SECONDS:
                self._lose(f"it could not be renewed for {LOST_SECONDS:.0f} s ({self._problem})")
                return

    def _lose(self, why: str) -> None:
        self.why_lost = self.why_lost or why
        if self._holder is threading.main_thread() and not self.is_over.is_set():
            # Interrupts whatever it waits for; the workers end with it.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _text(mine: str, number: int) -> bytes:
    return f"{mine} {number}\n".encode()


def _said(path: StorePath) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
