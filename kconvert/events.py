"""What a task tells of its progress while it runs, for whoever watches.

Events are small and lossy by intent: nothing depends on them but what a person sees.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from kconvert.pace import Pace

StepKind = Literal["reading", "packing", "verifying"]
_READING_SHARE = 0.4
"""How fast archives are read beside their clips being packed, by `tools/bench stages`; until a run knows better."""


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
    """A step of a run: archives that are read, or shards that are packed or verified, one beside the other."""

    split: str
    """`""` if it is of several."""
    kind: StepKind
    text: str
    """What a person calls it, with its split."""
    num_bytes: int | None
    """To be read or written; `None` where unknown."""
    num_clips: int | None = None
    """`None` where unknown."""


@dataclass(frozen=True)
class SplitWork:
    """What is still to be done of a split when a run begins, as far as can be told then."""

    num_read_bytes: int | None
    """Of archives to be read; `None` where some do not say how large they are."""
    num_packed_bytes: int
    """Of clips to be packed, at most."""


@dataclass(frozen=True)
class SplitDone:
    """What a split came to."""

    split: str
    num_written: int
    """Clips."""
    num_flagged: int
    """Of these, clips with a defect."""
    num_rejected: int
    """Clips."""
    num_shards: int
    num_bytes: int
    """Of the shards."""


class Tally:
    """How far a step of a run is, and how fast; and how long the whole run will take."""

    def __init__(self) -> None:
        self.work: dict[str, SplitWork] = {}
        """Of the splits that are not done; empty where nobody told."""
        self._rates: dict[StepKind, float] = {}
        """Bytes a second, of each kind of step as it went the last time."""
        self._done: Counter[StepKind] = Counter()
        """Bytes of the split that is made, in its steps before this one."""
        self.begin(Step("", "verifying", "", None))

    def begin(self, step: Step) -> None:
        """A step begins, now that the one before has ended."""
        self.step = step
        self.bytes = Pace(step.num_bytes)
        self.clips = Pace(step.num_clips)
        self.flagged: Counter[str] = Counter()
        """Clips with a defect, by defect."""

    def advance(self, event: Advance) -> None:
        """The step goes on."""
        self.bytes.advance(event.num_bytes)
        self.clips.advance(event.num_clips)
        self.flagged.update(event.flagged)

    def end(self) -> None:
        """The step is over."""
        self._rates[self.step.kind] = self.bytes.mean_rate
        self._done[self.step.kind] += self.bytes.done

    def split_ends(self, split: str) -> None:
        """Nothing is left to do of a split."""
        self.work.pop(split, None)
        self._done.clear()

    def remaining_seconds(self) -> float | None:
        """Of the whole run, or of the step where nobody told what the whole is; `None` where nobody can tell."""
        if self.step.split not in self.work:
            return (self.bytes if self.bytes.total else self.clips).remaining_seconds()
        if self.bytes.done <= 0:
            return None
        rates = {**self._rates, self.step.kind: self.bytes.rate}
        reading = rates.get("reading") or rates.get("packing", 0.0) * _READING_SHARE
        packing = rates.get("packing") or rates.get("reading", 0.0) / _READING_SHARE
        to_read, to_pack = self._left("reading"), self._left("packing")
        if to_read is None or to_pack is None or reading <= 0 or packing <= 0:
            return None
        return to_read / reading + to_pack / packing

    def _left(self, kind: StepKind) -> float | None:
        """The bytes that are left of the whole run for steps of a kind; `None` where nobody knows."""
        left = 0
        for split, work in self.work.items():
            expected = work.num_read_bytes if kind == "reading" else work.num_packed_bytes
            if expected is None:
                return None
            is_now = split == self.step.split
            done = self._done[kind] + (self.bytes.done if kind == self.step.kind else 0) if is_now else 0
            left += max(0, expected - done)
        return left


Emit = Callable[[Advance], None]
"""Takes an event; must return quickly and never raise."""


class Observer(Protocol):
    """Watches a run."""

    def run_begins(self, work: Mapping[str, SplitWork]) -> None:
        """A run begins that is to make these splits, in this order."""

    def begin(self, step: Step) -> None:
        """A step of the run begins."""

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

    def split_ends(self, done: SplitDone) -> None:
        """A split is whole."""


class Silent:
    """An observer that tells nobody."""

    def run_begins(self, work: Mapping[str, SplitWork]) -> None: ...

    def begin(self, step: Step) -> None: ...

    def advance(self, event: Advance) -> None: ...

    def task_begins(self, name: str) -> None: ...

    def task_ends(self, name: str) -> None: ...

    def note(self, text: str) -> None: ...

    def end(self) -> None: ...

    def split_ends(self, done: SplitDone) -> None: ...


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
