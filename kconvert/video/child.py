"""What happens in the video process: clips are mapped, and what is sent along is done with them, one by one."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from kconvert.video.limits import bound_memory, is_near_limit

R = TypeVar("R")
Clip = mmap.mmap
"""A clip's bytes, as they are in the child: a slice is `bytes`."""
Work = Callable[..., R]
"""What the child does: a function of a module, of the clip, of what takes reports of what is known before the work is
done, and of what else is sent along."""


@dataclass(frozen=True)
class Interim:
    """Something that is known of a clip before the work is done."""

    what: object
    """Anything that can be pickled."""


@dataclass(frozen=True)
class Done:
    """What the work came to."""

    result: Any
    """Of the work."""


@dataclass(frozen=True)
class Raised:
    """What the work raised."""

    error: Exception
    """By the work."""


@dataclass(frozen=True)
class Spent:
    """The child has no more memory to give, be it for this clip or by those before."""


def serve_clips(handles: list[int]) -> None:
    """The child's life: does what is sent, until nothing more can come."""
    bound_memory()
    connection = Connection(handles[0])
    with suppress(EOFError, ConnectionError):
        while True:
            work, more, size = connection.recv()
            # Somebody who still looks at a clip keeps it from being closed.
            with suppress(BufferError), _mapped(connection, handles, size) as clip:
                connection.send(_outcome(work, clip, connection, more))


def _mapped(connection: Connection, handles: list[int], size: int | None) -> Clip:
    if size is not None:
        return mmap.mmap(handles[1], size, access=mmap.ACCESS_READ)
    data = connection.recv_bytes()
    clip = mmap.mmap(-1, len(data))
    clip[:] = data
    return clip


def _outcome(work: Work[Any], clip: Clip, connection: Connection, more: tuple[object, ...]) -> Done | Raised | Spent:
    try:
        result = work(clip, lambda what: connection.send(Interim(what)), *more)
    except MemoryError:
        return Spent()
    except Exception as error:  # noqa: BLE001
        return Spent() if is_near_limit() else Raised(error)
    return Done(result)
