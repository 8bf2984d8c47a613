import random

import pytest

from kconvert.cli.pace import Pace, Tally, spoken
from kconvert.events import Advance, SplitWork, Step


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def remaining(pace: Pace) -> float:
    seconds = pace.remaining_seconds()
    assert seconds is not None
    return seconds


@pytest.mark.parametrize("seed", range(5))
def test_bursts_hardly_move_the_time_that_remains(seed: int) -> None:
    """Data comes in bursts, with pauses of some seconds; the rate over a minute is steady."""
    draw, clock = random.Random(seed), Clock()
    pace = Pace(3_600_000, clock)
    before = None
    jumps = []
    for second in range(1, 1800):
        clock.now += 1
        pace.advance(draw.choice([0, 0, 1000, 2000, 2000]))
        if second > 60:
            now = remaining(pace)
            if before is not None:
                jumps.append(abs(now - (before - 1)) / before)
            before = now
    assert max(jumps) < 0.12
    assert sum(jumps) / len(jumps) < 0.01


def test_a_link_that_gets_slower_is_noticed_within_minutes() -> None:
    clock = Clock()
    pace = Pace(1_000_000, clock)
    for rate, seconds in ((1000, 300), (500, 240)):
        for _ in range(seconds):
            clock.now += 1
            pace.advance(rate)
    truth = (1_000_000 - pace.done) / 500
    assert remaining(pace) == pytest.approx(truth, rel=0.25)


def test_nobody_can_tell_without_a_total_or_before_anything_is_done() -> None:
    clock = Clock()
    assert Pace(None, clock).remaining_seconds() is None
    pace = Pace(100, clock)
    assert pace.remaining_seconds() is None
    clock.now += 10
    pace.advance(50)
    assert remaining(pace) == pytest.approx(10)
    pace.advance(-50)
    assert pace.remaining_seconds() is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (89, "89 s"), (95, "2 min"), (3600, "60 min"), (9000, "2 h 30 min"), (200_000, "2.3 days")],
)
def test_times_are_spoken_no_finer_than_they_are_known(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


class Seconds:
    """Seconds that pass when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(Pace.__init__, "__defaults__", (lambda: self.now,))


def work(clock: Seconds, tally: Tally, step: Step, num_bytes: int, seconds: int) -> None:
    """Does part of a step at an even pace."""
    for _ in range(seconds):
        clock.now += 1
        tally.advance(Advance(num_bytes=num_bytes // seconds))


def test_the_time_that_remains_is_that_of_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Seconds(monkeypatch)
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
    clock = Seconds(monkeypatch)
    tally = Tally()
    tally.work = {"train": SplitWork(None, 1000)}
    step = Step("train", "reading", "train: reading", None)
    tally.begin(step)
    work(clock, tally, step, 500, 50)
    assert tally.remaining_seconds() is None
