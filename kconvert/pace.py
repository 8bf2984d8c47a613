"""Pace: how fast something goes, and how long it will take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

_MIN_WINDOW_SECONDS = 5.0
_MAX_WINDOW_SECONDS = 300.0
_WINDOW_SHARE = 1 / 3
"""Of the time so far: old enough that a burst hardly counts, young enough that a slower link does."""
_TICK_SECONDS = 0.5


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
        """`None` where nobody can tell."""
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
