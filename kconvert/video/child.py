"""What happens in the video process: clips are mapped, and what is sent along is done with them, one by one."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar, overload

from kconvert.video.limits import bound_memory, is_near_limit

R = TypeVar("R")


class Clip:
    """A clip's bytes, as they are in the child: a slice is `bytes`, what is not looked at is not copied."""

    def __init__(self, memory: mmap.mmap | bytes, size: int | None = None) -> None:
        """The first `size` bytes of the memory; `None` for all."""
        self._memory = memory
        self._size = len(memory) if size is None else size

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice[Any, Any, Any]) -> bytes: ...

    def __getitem__(self, index: int | slice[Any, Any, Any]) -> int | bytes:
        """A byte, or a copy of several. Raises `IndexError` beyond its end."""
        if isinstance(index, slice):
            start, stop, _ = index.indices(self._size)
            return self._memory[start:stop]
        if not 0 <= index < self._size:
            raise IndexError(f"byte {index:,} of {self._size:,}")
        return self._memory[index]

    def open(self) -> ClipFile:
        """The same as a file, to be read."""
        return ClipFile(self)


class ClipFile:
    """A clip as libraries read files. They seek beyond its end."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        self._offset = 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes: fewer at the end."""
        data = self._clip[self._offset : len(self._clip) if size < 0 else self._offset + size]
        self._offset += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Returns where the next bytes are read from then on."""
        self._offset = max(
            0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: len(self._clip)}[whence]
        )
        return self._offset

    def tell(self) -> int:
        """Where the next bytes are read from."""
        return self._offset


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
    memory = _SharedMemory(handles[1]) if len(handles) > 1 else None
    with suppress(EOFError, ConnectionError):
        while True:
            work, more, size = connection.recv()
            clip = memory.clip(size) if memory is not None else _received(connection)
            connection.send(_outcome(work, clip, connection, more))


class _SharedMemory:
    """The memory that clips come in, mapped once for all of them that have room there."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._mapped: mmap.mmap | None = None

    def clip(self, size: int) -> Clip:
        """The clip of that size that is there now."""
        if self._mapped is None or len(self._mapped) < size:
            # Whatever was mapped goes once nobody looks at it any more.
            self._mapped = mmap.mmap(self._handle, os.fstat(self._handle).st_size, access=mmap.ACCESS_READ)
        return Clip(self._mapped, size)


def _received(connection: Connection) -> Clip:
    data = connection.recv_bytes()
    return Clip(data)


def _outcome(work: Work[Any], clip: Clip, connection: Connection, more: tuple[object, ...]) -> Done | Raised | Spent:
    try:
        result = work(clip, lambda what: connection.send(Interim(what)), *more)
    except MemoryError:
        return Spent()
    except Exception as error:  # noqa: BLE001
        return Spent() if is_near_limit() else Raised(error)
    return Done(result)
