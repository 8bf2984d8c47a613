"""What a task tells of its progress while it runs, for whoever watches.

Events are small and lossy by intent: nothing depends on them but what a person sees.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from kconvert.pace import Pace


@dataclass(frozen=True)
class Advance:
    """Work done since the last event. Numbers are negative when an archive has to start again."""

    num_bytes: int = 0
    """Bytes read from the origin, or written into shards."""
    num_clips: int = 0
    """Clips checked, or packed."""
    flagged: Mapping[str, int] = field(default_factory=dict)
    """Clips with a defect, by defect."""


class Tally:
    """How far a step of a run is, and how fast."""

    def __init__(self, step: str = "", num_bytes: int | None = None, num_clips: int | None = None) -> None:
        self.step = step
        self.bytes = Pace(num_bytes)
        self.clips = Pace(num_clips)
        self.flagged: Counter[str] = Counter()
        """Clips with a defect, by defect."""

    def advance(self, event: Advance) -> None:
        """The step goes on."""
        self.bytes.advance(event.num_bytes)
        self.clips.advance(event.num_clips)
        self.flagged.update(event.flagged)

    def remaining_seconds(self) -> float | None:
        """By the bytes, where it is known how many there will be; `None` where nobody can tell."""
        return (self.bytes if self.bytes.total else self.clips).remaining_seconds()


Emit = Callable[[Advance], None]
"""Takes an event; must return quickly and never raise."""


class Observer(Protocol):
    """Watches a run."""

    def begin(self, step: str, num_bytes: int | None, num_clips: int | None) -> None:
        """A step of the run begins; the totals are `None` where unknown."""

    def advance(self, event: Advance) -> None:
        """The step goes on."""

    def task_begins(self, name: str) -> None:
        """A task of the step is worked on, or is about to be."""

    def task_ends(self, name: str) -> None:
        """It is done, or has failed."""

    def note(self, text: str) -> None:
        """Something a person should know."""

    def end(self) -> None:
        """The step is over."""


class Silent:
    """An observer that tells nobody."""

    def begin(self, step: str, num_bytes: int | None, num_clips: int | None) -> None: ...

    def advance(self, event: Advance) -> None: ...

    def task_begins(self, name: str) -> None: ...

    def task_ends(self, name: str) -> None: ...

    def note(self, text: str) -> None: ...

    def end(self) -> None: ...


class Accumulator:
    """Adds events up and passes them on a few times a second, so that telling costs next to nothing."""

    INTERVAL_SECONDS = 0.1

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._num_bytes = 0
        self._num_clips = 0
        self._flagged: Counter[str] = Counter()
        self._next_seconds = 0.0

    def __call__(self, event: Advance) -> None:
        self._num_bytes += event.num_bytes
        self._num_clips += event.num_clips
        self._flagged.update(event.flagged)
        if time.monotonic() >= self._next_seconds:
            self.flush()

    def flush(self) -> None:
        """Passes on what has come since the last time."""
        if self._num_bytes or self._num_clips or self._flagged:
            self._emit(Advance(self._num_bytes, self._num_clips, dict(self._flagged)))
            self._num_bytes = self._num_clips = 0
            self._flagged.clear()
        self._next_seconds = time.monotonic() + self.INTERVAL_SECONDS
