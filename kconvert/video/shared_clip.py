"""Memory in which a child sees the clip that it is to look into: a memfd, used again for the next clip.

It is no file in /dev/shm, which containers limit to 64 MB, and where the end of space is a SIGBUS.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

_KEPT_BYTES = 16 << 20
"""What is not given back between two clips."""


class SharedClip:
    """Holds one clip at a time, where the system has such memory (see `is_shared`)."""

    def __init__(self) -> None:
        self._handle: int | None = None
        # Not every system has such memory, and some forbid it.
        with suppress(AttributeError, OSError):
            self._handle = os.memfd_create("clip")
        self._num_bytes = 0

    @property
    def is_shared(self) -> bool:
        """Whether there is such memory; else clips have to be sent."""
        return self._handle is not None

    @property
    def handles(self) -> Sequence[int]:
        """What a child needs to see it; nothing if there is no such memory."""
        return () if self._handle is None else (self._handle,)

    def put(self, clip: bytes) -> None:
        """Puts a clip where the child sees it; nothing if there is no such memory. Raises `OSError` if there is too
        little."""
        if self._handle is None:
            return
        if len(clip) > self._num_bytes or self._num_bytes > max(_KEPT_BYTES, len(clip)):
            os.ftruncate(self._handle, len(clip))
            self._num_bytes = len(clip)
        view = memoryview(clip)
        while view:
            view = view[os.pwrite(self._handle, view, len(clip) - len(view)) :]

    def close(self) -> None:
        """Gives it back."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
