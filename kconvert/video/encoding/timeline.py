"""When frames are shown: on a timeline that begins with the first one, that only rises, and that may have one rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

Picture = TypeVar("Picture")


@dataclass(frozen=True)
class Timed(Generic[Picture]):
    """A picture, and when it is shown."""

    picture: Picture
    """Whatever is shown."""
    time: int
    """From the first one, in units of the time base."""
    duration: int
    """In units of the time base; 0 where nobody says it."""


@dataclass
class Raw(Generic[Picture]):
    """A picture as it comes out of a decoder."""

    picture: Picture
    """Whatever is shown."""
    time: int | None
    """In units of the time base; `None` where the file has none."""
    duration: int
    """In units of the time base; 0 where nobody says it."""


class Timeline:
    """Gives pictures times that rise."""

    def __init__(self, time_base: Fraction, rate: Fraction | None) -> None:
        """`rate` is that of the frames, a second, where the file states one."""
        self.time_base = time_base
        self._usual = max(1, round(1 / (rate * time_base))) if rate else 1
        self.num_raised = 0
        """Pictures that were moved, as theirs was no later than the one before."""
        self.num_guessed = 0
        """Pictures without a time."""
        self.start: int | None = None
        """When the first is shown, in units of the time base; `None` before it, or where none has a time."""

    def timed(self, pictures: Iterable[Raw[Picture]]) -> Iterator[Timed[Picture]]:
        """The same pictures; the last one has a duration in any case."""
        held: Raw[Picture] | None = None
        time = 0
        for raw in pictures:
            if held is None:
                self.start = raw.time
            else:
                yield Timed(held.picture, time, held.duration)
            time = self._next(raw, held, time)
            held = raw
        if held is not None:
            yield Timed(held.picture, time, held.duration or self._usual)

    def _next(self, raw: Raw[Picture], before: Raw[Picture] | None, time: int) -> int:
        if before is None:
            self.num_guessed += raw.time is None
            return 0
        if raw.time is None or self.start is None:
            self.num_guessed += 1
            return time + (before.duration or self._usual)
        wanted = raw.time - self.start
        self.num_raised += wanted <= time
        return max(wanted, time + 1)


def at_rate(pictures: Iterable[Timed[Picture]], time_base: Fraction, rate: Fraction) -> Iterator[Timed[Picture]]:
    """Pictures at a constant rate: the k-th is the one that is shown nearest to k / rate seconds, the earlier one of
    two that are equally near, for all k before the end of the last one. Their times are k."""
    number = 0
    held: Timed[Picture] | None = None
    for timed in pictures:
        while held is not None and 2 * number <= (held.time + timed.time) * time_base * rate:
            yield Timed(held.picture, number, 1)
            number += 1
        held = timed
    while held is not None and number < (held.time + held.duration) * time_base * rate:
        yield Timed(held.picture, number, 1)
        number += 1
