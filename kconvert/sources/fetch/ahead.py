"""Fetching ahead: a big resource over several connections at once, given out in its order.

One connection to an object store gives some 50 to 90 MB/s, whatever the link
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html: byte-range fetches of 8
to 16 MB). So the resource is cut into ranges, each fetched by one of a few threads, as far ahead of the reader as a
bounded ring of ranges allows. Each range survives what a whole resource survives (see `resource_stream`), and is of the
same version.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from kconvert.errors import FetchError
from kconvert.sources.fetch.resource import Resource
from kconvert.sources.fetch.resource_stream import ResourceStream
from kconvert.sources.fetch.stream import ByteStream, OnBytes, Remote, Start, ignore

RANGE_BYTES = 1 << 23
"""Of a range; one more range than there are connections is held in memory at most."""
_END_SECONDS = 1.0
FETCHING = "kconvert-fetch"
"""What the threads are called."""
_spare: list[memoryview] = []
"""Buffers of whole ranges that nobody uses any more: fresh memory costs as much as the copying."""


def read_ahead(resource: Resource, on_bytes: OnBytes, start: Start) -> ByteStream:
    """A resource from an offset on, by several connections; by one where the server has no ranges, or names no version.

    Raises: as `ByteStream.read`.
    """
    is_closed = threading.Event()
    first = ResourceStream(resource, on_bytes, start, start.offset + RANGE_BYTES, is_closed)
    return _AheadStream(resource, on_bytes, start.offset, first, is_closed) if first.is_range else first


@dataclass
class _Range:
    """A part of the resource, being fetched."""

    offset: int
    """Its first byte in the resource."""
    num_bytes: int
    """Of the range."""
    buffer: memoryview
    """At least as long."""
    stream: ResourceStream | None
    """What it comes by; `None` until that is opened."""
    num_fetched: int = 0
    """Bytes of it that are in the buffer."""
    num_read: int = 0
    """Bytes of it that the reader has."""

    @property
    def unfilled(self) -> memoryview:
        """Where the next bytes go; empty once it is whole."""
        return self.buffer[self.num_fetched : self.num_bytes]


class _AheadStream(ByteStream):
    """The reader's side; `_Ring` is what it shares with the threads."""

    def __init__(
        self, resource: Resource, on_bytes: OnBytes, offset: int, first: ResourceStream, is_closed: threading.Event
    ) -> None:
        self._on_bytes = on_bytes
        self._first = first
        self._ring = _Ring(resource, first, offset, is_closed)

    @property
    def remote(self) -> Remote:
        return self._first.remote

    def read(self) -> memoryview:
        chunk = self._ring.take()
        if not chunk:
            self._first.confirm()
        self._on_bytes(len(chunk))
        return chunk

    def close(self) -> None:
        self._ring.close()


class _Failure(NamedTuple):
    """What ended a thread before its time."""

    offset: int
    """The first byte of the resource that will not come."""
    error: Exception
    """Of any kind."""


class _Ring:
    """The ranges that are fetched, or being fetched, from the one that is read on."""

    def __init__(self, resource: Resource, first: ResourceStream, offset: int, is_closed: threading.Event) -> None:
        self._resource = resource
        self._remote = first.remote
        self._is_closed = is_closed
        self._changed = threading.Condition()
        self._ranges: deque[_Range] = deque()
        self._failure: _Failure | None = None
        """The one that the reader comes to first."""
        self._is_reader_waiting = False
        self._next_offset = offset
        """Where the next range begins that nobody fetches yet."""
        num_ranges = -(-self._num_unclaimed() // RANGE_BYTES)
        num_threads = min(resource.options.connections, num_ranges)
        buffer_bytes = min(RANGE_BYTES, self._num_unclaimed())
        self._buffers = [_buffer(buffer_bytes) for _ in range(min(num_threads + 1, num_ranges))]
        """Of the ranges to come."""
        claimed = [self._claim(stream) for stream in [first, *[None] * (num_threads - 1)]]
        self._threads = [
            threading.Thread(target=self._work, args=(mine,), name=FETCHING, daemon=True) for mine in claimed
        ]
        for thread in self._threads:
            thread.start()

    def take(self) -> memoryview:
        """What has come of the range that is read on; nothing after the last range.

        Raises: what kept a thread from fetching, once all that came before is read.
        """
        with self._changed:
            while self._ranges or self._num_unclaimed():
                if not self._ranges:
                    self._wait_for(self._next_offset)
                    continue
                current = self._ranges[0]
                if current.num_read < current.num_fetched:
                    start, current.num_read = current.num_read, current.num_fetched
                    return current.buffer[start : current.num_read]
                if current.num_read == current.num_bytes:
                    self._ranges.popleft()
                    self._buffers.append(current.buffer)
                    self._changed.notify_all()
                else:
                    self._wait_for(current.offset + current.num_read)
            return memoryview(b"")

    def _wait_for(self, offset: int) -> None:
        """Waits for the byte there, or for anything else to change. Raises why it will not come."""
        if self._failure is not None and offset >= self._failure.offset:
            raise self._failure.error
        self._is_reader_waiting = True
        self._changed.wait()

    def _num_unclaimed(self) -> int:
        """Bytes of which no thread has the range yet."""
        return max(0, (self._remote.size_bytes or 0) - self._next_offset)

    def _claim(self, stream: ResourceStream | None = None) -> _Range | None:
        """The next range for a thread to fetch; `None` if there is none. Waits while there is no buffer for it."""
        with self._changed:
            while self._num_unclaimed() and not self._buffers and not self._is_closed.is_set():
                self._changed.wait()
            num_bytes = min(RANGE_BYTES, self._num_unclaimed())
            if not num_bytes or self._is_closed.is_set():
                return None
            claimed = _Range(self._next_offset, num_bytes, self._buffers.pop(), stream)
            self._next_offset += num_bytes
            self._ranges.append(claimed)
            return claimed

    def _work(self, mine: _Range | None) -> None:
        """A thread's life: fetches ranges until there are no more."""
        try:
            while mine is not None:
                self._fetch(mine)
                mine = self._claim()
        # The reader gets it, whatever it is and wherever it came from; else they would wait for ever.
        except Exception as error:  # noqa: BLE001
            assert mine is not None
            self._fail(_Failure(mine.offset + mine.num_fetched, error))

    def _fail(self, failure: _Failure) -> None:
        with self._changed:
            if self._failure is None or failure.offset < self._failure.offset:
                self._failure = failure
            self._is_reader_waiting = False
            self._changed.notify_all()

    def _fetch(self, mine: _Range) -> None:
        start = Start(mine.offset + mine.num_fetched, self._remote)
        end = mine.offset + mine.num_bytes
        mine.stream = mine.stream or ResourceStream(self._resource, ignore, start, end, self._is_closed)
        with mine.stream as stream:
            while mine.unfilled and not self._is_closed.is_set():
                num = stream.read_into(mine.unfilled)
                if not num:
                    raise FetchError(self._resource.location, f"ended after {mine.offset + mine.num_fetched:,} bytes")
                self._advance(mine, num)

    def _advance(self, mine: _Range, num_bytes: int) -> None:
        with self._changed:
            mine.num_fetched += num_bytes
            if self._is_reader_waiting and mine is self._ranges[0]:
                self._is_reader_waiting = False
                self._changed.notify_all()

    def close(self) -> None:
        """Ends the threads. One that is just connecting ends by itself, and harms nobody."""
        self._is_closed.set()
        with self._changed:
            streams = [claimed.stream for claimed in self._ranges if claimed.stream is not None]
            # Into the others somebody may still write.
            _spare.extend(buffer for buffer in self._buffers if len(buffer) == RANGE_BYTES)
            self._buffers = []
            self._changed.notify_all()
        for stream in streams:
            stream.cut()
        end = time.monotonic() + _END_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))


def _buffer(num_bytes: int) -> memoryview:
    if num_bytes == RANGE_BYTES and _spare:
        return _spare.pop()
    return memoryview(bytearray(num_bytes))
