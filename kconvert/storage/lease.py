"""Leases: locks for object stores, which have none. An object that its holder writes anew every few seconds.

No clocks are compared: whoever finds a lease watches it, and takes it over once it has stood still for so long that
its holder must be dead, or at once if that was a process of this machine that is gone. What a run does is the same
whoever does it, so that two of them for a moment, after a pause of a whole machine, write the same bytes.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kconvert.storage.objects import ObjectPath

_RENEW_SECONDS = 5.0
_LOOK_SECONDS = 1.0


@contextmanager
def leased(path: ObjectPath, dead_seconds: float = 30.0) -> Iterator[bool]:
    """Holds a lease during the block; false if somebody else has it, and has written it anew within that time."""
    mine = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}"
    if not _take(path, mine, dead_seconds):
        yield False
        return
    is_over = threading.Event()
    thread = threading.Thread(target=_renew, args=(path, mine, is_over), daemon=True)
    thread.start()
    try:
        yield True
    finally:
        is_over.set()
        thread.join(_RENEW_SECONDS)
        with suppress(OSError):
            if _said(path).startswith(mine):
                path.unlink(missing_ok=True)


def is_leased(path: ObjectPath) -> bool:
    """Whether somebody seems to hold a lease: at a glance, one that stands still is taken for held."""
    said = _said(path)
    return said != "" and not _is_gone(said)


def _take(path: ObjectPath, mine: str, dead_seconds: float) -> bool:
    while not path.create(_text(mine, 0)):
        if not _is_dead(path, dead_seconds):
            return False
        path.unlink(missing_ok=True)
    return True


def _is_dead(path: ObjectPath, dead_seconds: float) -> bool:
    """Watches a lease until it changes, or has not for long enough."""
    first = _said(path)
    end = time.monotonic() + dead_seconds
    while not _is_gone(first) and time.monotonic() < end:
        time.sleep(_LOOK_SECONDS)
        if _said(path) not in ("", first):
            return False
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


def _renew(path: ObjectPath, mine: str, is_over: threading.Event) -> None:
    number = 0
    while not is_over.wait(_RENEW_SECONDS):
        number += 1
        # A store that fails for a moment is asked again in the next one.
        with suppress(OSError):
            if not _said(path).startswith(mine):
                # This machine stood still for so long that somebody else has it by now.
                return
            path.write_bytes(_text(mine, number))


def _text(mine: str, number: int) -> bytes:
    return f"{mine} {number}\n".encode()


def _said(path: ObjectPath) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
