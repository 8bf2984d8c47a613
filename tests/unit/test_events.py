from kconvert.events import Accumulator, Advance


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
