"""The retry policy: how often, and after which pauses, an attempt that failed is made again."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import TypeVar

from kconvert.sources.fetch.resource import BrokenError
from kconvert.sources.fetch.stream import FetchOptions

_log = logging.getLogger(__name__)
Result = TypeVar("Result")

_PROGRESS_BYTES = 1 << 16
"""What has to come between two failures for the first to be forgotten."""


class Retries:
    """The attempts at one resource: failures in a row are counted, with exponential back-off and full jitter between
    them. Everything that is tried again in this package is tried again by `run`."""

    def __init__(self, location: str, options: FetchOptions, is_cancelled: threading.Event | None = None) -> None:
        self._location = location
        self._options = options
        self._is_cancelled = is_cancelled or threading.Event()
        self._num_failures = 0
        self._num_bytes = 0
        """Since the last failure."""
        self.last_reason = ""
        """Of the last failure; `""` if there was none."""

    def run(self, attempt: Callable[[], Result]) -> Result:
        """What an attempt gives, made again while it raises `BrokenError`.

        Raises: a `FetchError` of the kind that the last one names, after more than `max_retries` failures in a row, or
        once nobody wants the result any more; whatever else the attempt raises.
        """
        while True:
            try:
                return attempt()
            except BrokenError as error:
                self._pause(error)

    def advanced(self, num_bytes: int) -> None:
        """Takes in that some bytes have come. A trickle between failures is no success."""
        self._num_bytes += num_bytes
        if self._num_bytes >= _PROGRESS_BYTES:
            self._num_failures = 0

    def _pause(self, error: BrokenError) -> None:
        self.last_reason = error.reason
        if self._num_failures >= self._options.max_retries:
            raise error.kind(self._location, f"{error.reason} (tried {self._num_failures + 1} times)") from error
        limit = self._options.max_backoff_seconds
        seconds = min(limit, self._options.min_backoff_seconds * 2**self._num_failures) * random.uniform(0.5, 1.0)
        if error.retry_after is not None:
            seconds = min(max(seconds, error.retry_after), 10 * limit)
        self._num_failures += 1
        self._num_bytes = 0
        _log.info("%s: %s; trying again in %.1f s", self._location, error.reason, seconds)
        if self._is_cancelled.wait(seconds):
            raise error.kind(self._location, f"{error.reason}; nobody wants the rest") from error
