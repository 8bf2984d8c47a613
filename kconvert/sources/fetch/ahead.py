"""Fetching ahead: a big resource over several connections at once, given out in its order.

One connection to an object store gives some 50 to 90 MB/s, whatever the link
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html: byte-range fetches of 8
to 16 MB). So the resource is cut into ranges, each fetched by one of a few threads, as far ahead of the reader as a
bounded ring of ranges allows. Each range survives what a whole resource survives (see `http`), and is of the same
version.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from kconvert.errors import FetchError
from kconvert.sources.fetch.open import open_stream, range_stream
from kconvert.sources.fetch.stream import ByteStream, FetchOptions, OnBytes, RangeStream, Remote, ignore, is_remote

RANGE_BYTES = 1 << 23
"""Of a range; one more range than there are connections is held in memory at most."""
_END_SECONDS = 1.0
FETCHING = "kconvert-fetch"
"""What the threads are called."""
_spare: list[memoryview] = []
"""Buffers of whole ranges that nobody uses any more: fresh memory costs as much as the copying."""


class AheadStream(ByteStream):
    """A resource, from `offset` on, which must then be a place in the version that `remote` names.

    Where the server has no ranges, or names no version, it comes over one connection.
    """

    def __init__(
        self, location: str, options: FetchOptions, on_bytes: OnBytes, offset: int = 0, remote: Remote | None = None
    ) -> None:
        self._location = location
        self._options = options
        self._on_bytes = on_bytes
        self._changed = threading.Condition()
        self._is_closed = threading.Event()
        self._stream = range_stream(location)
        first = self._stream(location, options, ignore, offset, remote, offset + RANGE_BYTES, self._is_closed)
        self._remote = first.remote
        self._single = None if first.is_range else first
        self._first = first
        self._ranges: deque[_Range] = deque()
        """Those that are fetched or being fetched, from the one that is read on."""
        self._buffers: list[memoryview] = []
        """Of the ranges to come."""
        self._is_reader_waiting = False
        self._next_offset = offset
        """Where the next range begins that nobody fetches yet."""
        self._threads: list[threading.Thread] = []
        if first.is_range:
            num_ranges = -(-self._num_unclaimed() // RANGE_BYTES)
            buffer_bytes = min(RANGE_BYTES, self._num_unclaimed())
            num_buffers = min(options.connections + 1, num_ranges)
            self._buffers = [_buffer(buffer_bytes) for _ in range(num_buffers)]
            claimed = [self._claim(first), *(self._claim() for _ in range(min(options.connections, num_ranges) - 1))]
            self._threads = [
                threading.Thread(target=self._work, args=(mine,), name=FETCHING, daemon=True) for mine in claimed
            ]
            for thread in self._threads:
                thread.start()

    @property
    def remote(self) -> Remote:
        return self._remote if self._single is None else self._single.remote

    @property
    def is_end_sure(self) -> bool:
        return self._single is None or self._single.is_end_sure

    def read(self) -> bytes | memoryview:
        chunk = self._single.read() if self._single is not None else self._take()
        if self._single is None and not chunk:
            self._first.confirm()
        self._on_bytes(len(chunk))
        return chunk

    def _take(self) -> memoryview:
        """What has come of the range that is read on; nothing after the last range."""
        with self._changed:
            while self._ranges or self._num_unclaimed():
                if not self._ranges:
                    self._wait_for_bytes()
                    continue
                current = self._ranges[0]
                if current.num_read < current.num_fetched:
                    start, current.num_read = current.num_read, current.num_fetched
                    return current.buffer[start : current.num_read]
                if current.error is not None:
                    raise current.error
                if current.num_read == current.num_bytes:
                    self._ranges.popleft()
                    self._buffers.append(current.buffer)
                    self._changed.notify_all()
                else:
                    self._wait_for_bytes()
            return memoryview(b"")

    def _wait_for_bytes(self) -> None:
        self._is_reader_waiting = True
        self._changed.wait()

    def _num_unclaimed(self) -> int:
        """Bytes of which no thread has the range yet."""
        return max(0, (self._remote.size_bytes or 0) - self._next_offset)

    def _claim(self, stream: RangeStream | None = None) -> _Range | None:
        """The next range for a thread to fetch; `None` if there is none. Waits while the ring is full."""
        with self._changed:
            while len(self._ranges) > self._options.connections and not self._is_closed.is_set():
                self._changed.wait()
            num_bytes = min(RANGE_BYTES, self._num_unclaimed())
            if num_bytes <= 0 or self._is_closed.is_set():
                return None
            claimed = _Range(self._next_offset, num_bytes, self._buffers.pop(), stream)
            self._next_offset += num_bytes
            self._ranges.append(claimed)
            return claimed

    def _work(self, mine: _Range | None) -> None:
        """A thread's life: fetches ranges until there are no more."""
        while mine is not None and self._fetch(mine):
            mine = self._claim()

    def _fetch(self, mine: _Range) -> bool:
        """Fetches a range; false if that failed, and nothing behind it will be read."""
        while mine.num_fetched < mine.num_bytes and not self._is_closed.is_set():
            try:
                self._receive(mine)
            # Whoever reads this range gets it, whatever it is; else they would wait for ever.
            except Exception as error:  # noqa: BLE001
                mine.error = error
                self._tell(mine, 0)
                return False
        return True

    def _receive(self, mine: _Range) -> None:
        mine.stream = mine.stream or self._stream(
            self._location,
            self._options,
            ignore,
            mine.offset + mine.num_fetched,
            self._remote,
            mine.offset + mine.num_bytes,
            self._is_closed,
        )
        with mine.stream as stream:
            while mine.num_fetched < mine.num_bytes and not self._is_closed.is_set():
                num = stream.read_into(mine.room())
                if not num:
                    raise FetchError(self._location, f"ended after {mine.offset + mine.num_fetched:,} bytes")
                self._tell(mine, num)

    def _tell(self, mine: _Range, num_bytes: int) -> None:
        with self._changed:
            mine.num_fetched += num_bytes
            if self._is_reader_waiting and mine is self._ranges[0]:
                self._is_reader_waiting = False
                self._changed.notify_all()

    def close(self) -> None:
        self._is_closed.set()
        with self._changed:
            streams = [claimed.stream for claimed in self._ranges if claimed.stream is not None]
            # Into the others somebody may still write.
            _spare.extend(buffer for buffer in self._buffers if len(buffer) == RANGE_BYTES)
            self._buffers = []
            self._changed.notify_all()
        for stream in streams:
            stream.cut()
        if self._single is not None:
            self._single.close()
        end = time.monotonic() + _END_SECONDS
        for thread in self._threads:
            # One that is just connecting ends by itself, and harms nobody.
            thread.join(max(0.0, end - time.monotonic()))


@dataclass
class _Range:
    """A part of the resource, being fetched."""

    offset: int
    num_bytes: int
    buffer: memoryview
    stream: RangeStream | None
    num_fetched: int = 0
    num_read: int = 0
    error: Exception | None = None

    def room(self) -> memoryview:
        """Where the next bytes go."""
        return self.buffer[self.num_fetched : self.num_bytes]


def _buffer(num_bytes: int) -> memoryview:
    if num_bytes == RANGE_BYTES and _spare:
        return _spare.pop()
    return memoryview(bytearray(num_bytes))


def open_ahead(
    location: str, options: FetchOptions, on_bytes: OnBytes = ignore, offset: int = 0, remote: Remote | None = None
) -> ByteStream:
    """Opens a resource as `open_stream` does, but for something big: it comes by several connections, ahead of its
    reader; also from `offset` on, which must then be a place in the version that `remote` names."""
    if is_remote(location):
        from kconvert.sources.fetch.ahead import AheadStream

        return AheadStream(location, options, on_bytes, offset, remote)
    return open_stream(location, options, on_bytes)
