"""What a task reports of its progress while it runs, for whoever watches.

Events are small and lossy by intent: nothing depends on them but what a person sees.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

StepKind = Literal["reading", "packing", "joining", "verifying"]


@dataclass(frozen=True)
class Advance:
    """Work done since the last event. Numbers are negative when an archive has to start again."""

    num_bytes: int = 0
    """Bytes read from the origin, or written into shards."""
    num_clips: int = 0
    """Clips checked, or packed."""
    flagged: Mapping[str, int] = field(default_factory=dict)
    """Clips with a defect, by defect."""


@dataclass(frozen=True)
class Step:
    """A step of a run: archives that are read, shards that are packed or verified, or clips that are joined with
    further annotations, one beside the other."""

    split: str
    """`""` if it is of several."""
    kind: StepKind
    """What is done in it."""
    text: str
    """What a person calls it, with its split."""
    num_bytes: int | None
    """To be read or written; `None` where unknown."""
    num_clips: int | None = None
    """`None` where unknown."""


@dataclass(frozen=True)
class SplitWork:
    """What is still to be done of a split when a run begins, as far as is known then."""

    num_read_bytes: int | None
    """Of archives to be read; `None` where some do not say how large they are."""
    num_packed_bytes: int
    """Of clips to be packed, at most."""


@dataclass(frozen=True)
class SplitDone:
    """What a split came to."""

    split: str
    """Its name."""
    num_written: int
    """Clips."""
    num_flagged: int
    """Of these, clips with a defect."""
    num_rejected: int
    """Clips."""
    num_shards: int
    """0 or more."""
    num_bytes: int
    """Of the shards."""


Emit = Callable[[Advance], None]
"""Takes an event; must return quickly and never raise."""


@dataclass(frozen=True)
class Snapshot:
    """How far a run is; nothing depends on it but what a person sees."""

    step: str
    """As a person calls it."""
    num_bytes: int
    """Of this step, read or written so far."""
    total_bytes: int | None
    """`None` where unknown."""
    num_clips: int
    """Of this step, so far."""
    total_clips: int | None
    """`None` where unknown."""
    clips_per_second: float
    """Of this step, over the last while."""
    remaining_seconds: float | None
    """Of the whole run; `None` where nobody knows."""
    flagged: Mapping[str, int]
    """Clips of this step with a defect, by defect."""


class Observer(Protocol):
    """Watches a run."""

    def run_begins(self, work: Mapping[str, SplitWork]) -> None:
        """A run begins that is to make these splits, in this order."""

    def begin(self, step: Step) -> None:
        """A step of the run begins."""

    def advance(self, event: Advance) -> None:
        """The step advances."""

    def task_begins(self, name: str) -> None:
        """A task of the step is worked on, or is about to be."""

    def task_ends(self, name: str) -> None:
        """It is done, or has failed."""

    def note(self, text: str) -> None:
        """Something a person should know."""

    def end(self) -> None:
        """The step is over."""

    def split_ends(self, done: SplitDone) -> None:
        """A split is whole."""

    def snapshot(self) -> Snapshot | None:
        """How far the run is now; `None` if this one does not know."""


class Silent:
    """An observer that shows nothing."""

    def run_begins(self, work: Mapping[str, SplitWork]) -> None: ...

    def begin(self, step: Step) -> None: ...

    def advance(self, event: Advance) -> None: ...

    def task_begins(self, name: str) -> None: ...

    def task_ends(self, name: str) -> None: ...

    def note(self, text: str) -> None: ...

    def end(self) -> None: ...

    def split_ends(self, done: SplitDone) -> None: ...

    def snapshot(self) -> None: ...


class Accumulator:
    """Adds events up and passes them on a few times a second, so that reporting costs next to nothing."""

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
