"""Pace: how fast something goes, and how long it and the whole run will take."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable

from kconvert.events import Advance, Snapshot, SplitWork, Step, StepKind

_MIN_WINDOW_SECONDS = 5.0
_MAX_WINDOW_SECONDS = 300.0
_WINDOW_SHARE = 1 / 3
"""Of the time so far: old enough that a burst hardly counts, young enough that a slower link does."""
_TICK_SECONDS = 0.5
_READING_SHARE = 0.4
"""How fast archives are read beside their clips being packed, by `tools/bench stages`; until a run knows better."""


class Pace:
    """Amounts done, and their rate: a mean of the last third of the time, in which older amounts count less."""

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = self._last = clock()
        self._at_last = 0
        self._rate = 0.0
        self._is_begun = False
        self.total = total
        """`None` where unknown."""
        self.done = 0

    def advance(self, amount: int) -> None:
        """More is done; less, where work had to start again."""
        self.done += amount
        now = self._clock()
        passed = now - self._last
        if passed < _TICK_SECONDS:
            return
        found = max(0.0, self.done - self._at_last) / passed
        if self._is_begun:
            window = min(max((now - self._start) * _WINDOW_SHARE, _MIN_WINDOW_SECONDS), _MAX_WINDOW_SECONDS)
            self._rate += (1 - math.exp(-passed / window)) * (found - self._rate)
        else:
            self._rate, self._is_begun = found, True
        self._last, self._at_last = now, self.done

    @property
    def rate(self) -> float:
        """Amount a second."""
        return self._rate if self._is_begun else self.done / max(self._clock() - self._start, 1e-3)

    @property
    def mean_rate(self) -> float:
        """Amount a second, of all the time."""
        return self.done / max(self._clock() - self._start, 1e-3)

    def remaining_seconds(self) -> float | None:
        """`None` where nobody knows."""
        if not self.total or self.rate <= 0 or not 0 < self.done <= self.total:
            return None
        return (self.total - self.done) / self.rate


def spoken(seconds: float) -> str:
    """A time as a person says it: no finer than it is known."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(round(minutes / 5) * 5, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours / 24:.1f} days"


class Tally:
    """How far a step of a run is, and how fast; and how long the whole run will take."""

    def __init__(self) -> None:
        self.work: dict[str, SplitWork] = {}
        """Of the splits that are not done; empty where nobody said."""
        self._rates: dict[StepKind, float] = {}
        """Bytes a second, of each kind of step as it went the last time."""
        self._done: Counter[StepKind] = Counter()
        """Bytes of the split that is made, in its steps before this one."""
        self.step = Step("", "verifying", "", None)
        self.begin(self.step)

    def begin(self, step: Step) -> None:
        """A step begins, now that the one before has ended."""
        if step.split in self.work and step.split != self.step.split:
            # Splits come in their order: what is before this one is made, or failed.
            self._done.clear()
            self.work = dict(itertools.dropwhile(lambda item: item[0] != step.split, self.work.items()))
        self.step = step
        self.bytes = Pace(step.num_bytes)
        self.clips = Pace(step.num_clips)
        self.flagged: Counter[str] = Counter()
        """Clips with a defect, by defect."""

    def advance(self, event: Advance) -> None:
        """The step advances."""
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
        """Of the whole run, or of the step where nobody said what the whole is; `None` where nobody knows."""
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
            if is_now and kind == "packing" and (sure := self._left_of_last_step()) is not None:
                left += sure
                continue
            done = self._done[kind] + (self.bytes.done if kind == self.step.kind else 0) if is_now else 0
            left += max(0, expected - done)
        return left

    def _left_of_last_step(self) -> int | None:
        """The bytes that are left to be packed of a split that is read, by the clips of the step: shards of an earlier
        run are not packed again, nor clips of other classes. `None` where that is not known yet."""
        work = self.work[self.step.split]
        is_read = work.num_read_bytes is not None and self._done["reading"] >= work.num_read_bytes
        if self.step.kind != "packing" or not is_read or not self.clips.total or not self.clips.done:
            return None
        return round((self.clips.total - self.clips.done) * self.bytes.done / self.clips.done)

    def snapshot(self) -> Snapshot:
        """How far the run is now."""
        return Snapshot(
            step=self.step.text,
            num_bytes=self.bytes.done,
            total_bytes=self.bytes.total,
            num_clips=self.clips.done,
            total_clips=self.clips.total,
            clips_per_second=self.clips.rate,
            remaining_seconds=self.remaining_seconds(),
            flagged=dict(self.flagged),
        )
