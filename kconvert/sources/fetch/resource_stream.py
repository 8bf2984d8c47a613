"""Reading a resource so that the stream survives what breaks below it.

An answer that breaks is followed by another one, from the byte that was reached. The bytes are all of one version: that
is what `Resource.ask` promises, and what `Resource.confirm` is asked at the end.
"""

from __future__ import annotations

import threading

from kconvert.errors import SourceChangedError
from kconvert.sources.fetch.resource import Answer, BrokenError, Resource, Span
from kconvert.sources.fetch.retry import Retries
from kconvert.sources.fetch.stream import CHUNK_BYTES, ByteStream, OnBytes, Remote, Start, ignore

_FROM_THE_START = Start()


class ResourceStream(ByteStream):
    """A resource from an offset on: to its end, or to `end` if one is given and the resource can be had in ranges."""

    def __init__(
        self,
        resource: Resource,
        on_bytes: OnBytes = ignore,
        start: Start = _FROM_THE_START,
        end: int | None = None,
        is_cancelled: threading.Event | None = None,
    ) -> None:
        """`on_bytes` is called with the size of what `read` gives; `is_cancelled` ends the pauses between attempts.

        Raises: as `read`.
        """
        self._resource = resource
        self._on_bytes = on_bytes
        self._offset = start.offset
        self._known = start.remote
        self._end = end
        self._retries = Retries(resource.location, resource.options, is_cancelled)
        self._answer: Answer | None = None
        self._is_end_sure = False
        self._chunk = memoryview(b"")
        if not self._is_at_end():
            self._retries.run(self._ask)

    @property
    def remote(self) -> Remote:
        assert self._known is not None
        return self._known

    @property
    def is_end_sure(self) -> bool:
        return self.remote.size_bytes is not None or self._is_end_sure

    @property
    def is_range(self) -> bool:
        """Whether this ends at the `end` that was asked for, or before it."""
        return self._end is not None

    def read(self) -> memoryview:
        if not self._chunk:
            self._chunk = memoryview(bytearray(CHUNK_BYTES))
        num = self.read_into(self._chunk)
        if not num:
            self.confirm()
        self._on_bytes(num)
        return self._chunk[:num]

    def read_into(self, buffer: memoryview) -> int:
        """Puts some next bytes into the beginning of a buffer; returns how many, 0 at the end. Raises as `read`."""
        return self._retries.run(lambda: self._try_to_read_into(buffer))

    def confirm(self) -> None:
        """Asks whether all that was read of the resource, also by other streams, is of the version that `remote` names.

        Raises: as `read`.
        """
        self._retries.run(lambda: self._resource.confirm(self.remote))

    def _limit(self) -> int | None:
        """Where this ends; `None` if that is not known."""
        size = None if self._known is None else self._known.size_bytes
        return size if self._end is None else min(self._end, size or self._end)

    def _is_at_end(self) -> bool:
        limit = self._limit()
        return self._known is not None and limit is not None and self._offset >= limit

    def _ask(self) -> Answer:
        try:
            answer = self._resource.ask(Span(self._offset, self._end), self._known)
        except SourceChangedError as error:
            if not (broke := self._retries.last_reason):
                raise
            # It had to be asked again for a reason, which may be the one to mend.
            raise SourceChangedError(error.where, f"{broke}; then {error.problem}") from error
        if not answer.is_range:
            self._end = None
        self._known, self._is_end_sure, self._answer = answer.remote, answer.is_end_sure, answer
        return answer

    def _try_to_read_into(self, buffer: memoryview) -> int:
        if self._is_at_end():
            return 0
        answer = self._answer or self._ask()
        limit = self._limit()
        try:
            num = answer.read_into(buffer if limit is None else buffer[: limit - self._offset])
            if not num and limit is not None:
                raise BrokenError("the answer ended")
        except BrokenError as error:
            self.close()
            reached = f"after {self._offset:,} of {self.remote.size_bytes or 0:,} bytes"
            raise BrokenError(f"{error.reason} {reached}", error.retry_after, error.kind) from error
        self._offset += num
        self._retries.advanced(num)
        if self._is_at_end():
            self.close()
        return num

    def cut(self) -> None:
        """Ends what is being waited for; called from another thread."""
        answer = self._answer
        if answer is not None:
            answer.cut()

    def close(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()
