import random

import pytest

from kconvert.pace import Pace, spoken


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
