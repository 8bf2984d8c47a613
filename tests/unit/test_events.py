import pytest

from kconvert.events import Accumulator, Advance, SplitWork, Step, Tally
from kconvert.pace import Pace


def test_nothing_is_lost_between_events() -> None:
    told: list[Advance] = []
    accumulator = Accumulator(told.append)
    for number in range(1000):
        accumulator(Advance(num_bytes=number, num_clips=1, flagged={"short": 1}))
    accumulator.flush()
    assert sum(event.num_bytes for event in told) == sum(range(1000))
    assert sum(event.num_clips for event in told) == 1000
    assert sum(event.flagged["short"] for event in told) == 1000
    assert len(told) < 100


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(Pace.__init__, "__defaults__", (lambda: self.now,))


def work(clock: Clock, tally: Tally, step: Step, num_bytes: int, seconds: int) -> None:
    """Does part of a step at an even pace."""
    for _ in range(seconds):
        clock.now += 1
        tally.advance(Advance(num_bytes=num_bytes // seconds))


def test_the_time_that_remains_is_that_of_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    tally = Tally()
    tally.work = {"train": SplitWork(1000, 1000), "val": SplitWork(500, 500)}
    reading = Step("train", "reading", "train: reading", 1000)
    tally.begin(reading)
    assert tally.remaining_seconds() is None
    work(clock, tally, reading, 500, 50)
    # 1,000 bytes to read at 10 a second; 1,500 to pack, 2.5 times as fast.
    assert tally.remaining_seconds() == pytest.approx(100 + 60, rel=0.05)
    work(clock, tally, reading, 500, 50)
    tally.end()
    packing = Step("train", "packing", "train: packing", None, 10)
    tally.begin(packing)
    work(clock, tally, packing, 500, 25)
    # 500 bytes to read as before, 1,000 to pack at 20 a second, as is known by now.
    assert tally.remaining_seconds() == pytest.approx(50 + 50, rel=0.05)
    tally.end()
    tally.split_ends("train")
    tally.begin(Step("val", "reading", "val: reading", 500))
    work(clock, tally, reading, 250, 25)
    assert tally.remaining_seconds() == pytest.approx(25 + 25, rel=0.05)


def test_nobody_guesses_where_sizes_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    tally = Tally()
    tally.work = {"train": SplitWork(None, 1000)}
    step = Step("train", "reading", "train: reading", None)
    tally.begin(step)
    work(clock, tally, step, 500, 50)
    assert tally.remaining_seconds() is None
