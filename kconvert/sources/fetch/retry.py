"""Patience: how often, and after which pauses, something that failed is tried again."""

from __future__ import annotations

import logging
import random
import threading

from kconvert.errors import FetchError
from kconvert.sources.fetch.stream import FetchOptions

_log = logging.getLogger(__name__)

_PROGRESS_BYTES = 1 << 16
"""What has to come between two failures for the first to be forgotten."""


class Attempts:
    """Counts failures in a row and waits between them: exponential back-off with full jitter."""

    def __init__(self, location: str, options: FetchOptions, is_cancelled: threading.Event) -> None:
        self.location = location
        self._options = options
        self._is_cancelled = is_cancelled
        self._num_failures = 0
        self._num_bytes = 0
        """Since the last failure."""
        self.last_reason = ""
        """Of the last failure."""

    def advanced(self, num_bytes: int) -> None:
        """Some bytes have come. A trickle between failures is no success."""
        self._num_bytes += num_bytes
        if self._num_bytes >= _PROGRESS_BYTES:
            self._num_failures = 0

    def failed(self, reason: str, retry_after: float | None = None, kind: type[FetchError] = FetchError) -> None:
        """Waits before the next attempt. Raises an error of that kind when there have been enough."""
        self.last_reason = reason
        if self._num_failures >= self._options.max_retries:
            raise kind(self.location, f"{reason} (tried {self._num_failures + 1} times)")
        limit = self._options.max_backoff_seconds
        pause = min(limit, self._options.min_backoff_seconds * 2**self._num_failures) * random.uniform(0.5, 1.0)
        if retry_after is not None:
            pause = min(max(pause, retry_after), 10 * limit)
        self._num_failures += 1
        self._num_bytes = 0
        _log.info("%s: %s; trying again in %.1f s", self.location, reason, pause)
        if self._is_cancelled.wait(pause):
            raise kind(self.location, f"{reason}; nobody wants the rest")
