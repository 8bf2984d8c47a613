"""The order of an epoch: which clips each rank sees. It comes from the seed and the epoch alone, before any division by
ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy

Mode = Literal["train", "eval"]
_MAX_SPARES = 8
"""Clips that may take the place of one that fails."""


@dataclass(frozen=True)
class Share:
    """What a rank has of each epoch."""

    mode: Mode
    """`train`: all ranks as many, and a multiple of `multiple_of`; `eval`: each clip once over all ranks."""
    num_replicas: int
    """How many ranks there are."""
    rank: int
    """Which this is, from 0."""
    multiple_of: int = 1
    """Clips of a batch, times the batches whose gradients are added."""

    def __post_init__(self) -> None:
        if self.mode not in ("train", "eval"):
            raise ValueError(f"mode {self.mode!r}: expected train or eval")
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(f"rank {self.rank} of {self.num_replicas}: expected 0 to {self.num_replicas - 1}")
        if self.multiple_of < 1:
            raise ValueError(f"multiple_of {self.multiple_of}: expected 1 or more")

    def num(self, num_clips: int) -> int:
        """How many clips the rank has of so many."""
        return len(self.places(num_clips))

    def places(self, num_clips: int) -> range:
        """Those of the rank in the order of an epoch of so many, which begins again where it has too few."""
        if self.mode == "eval" or not num_clips:
            return range(self.rank, num_clips, self.num_replicas)
        # Of too few, some are there more than once: a rank without any would have the others wait for ever.
        num = max(1, num_clips // (self.num_replicas * self.multiple_of)) * self.multiple_of
        return range(self.rank, num * self.num_replicas, self.num_replicas)


def permutation(num_clips: int, seed: int, epoch: int) -> list[int]:
    """All clips, in another order in each epoch."""
    found: list[int] = numpy.random.default_rng([seed, epoch]).permutation(num_clips).tolist()
    return found


def balanced(targets: Sequence[int], seed: int, epoch: int) -> list[int]:
    """As many clips as there are, drawn with repetition, so that each class is as likely as any other."""
    labels: numpy.ndarray[Any, Any] = numpy.asarray(targets)
    generator = numpy.random.default_rng([seed, epoch])
    order = numpy.argsort(labels, kind="stable")
    _, firsts, counts = numpy.unique(labels[order], return_index=True, return_counts=True)
    drawn = generator.integers(len(counts), size=len(labels))
    within = (generator.random(len(labels)) * counts[drawn]).astype(numpy.int64)
    found: list[int] = order[firsts[drawn] + within].tolist()
    return found


class EpochIndex(int):
    """An index that carries the epoch to whatever worker it is given to, and the clips of the same rank's epoch that
    may take this one's place."""

    epoch: int
    repeat: int
    mode: Mode
    spares: tuple[int, ...]

    def __new__(cls, index: int, of: tuple[int, int, Mode], spares: tuple[int, ...]) -> EpochIndex:
        """`of` is the epoch, how often the clip was there in it before, and the mode."""
        made = super().__new__(cls, index)
        made.epoch, made.repeat, made.mode = of
        made.spares = spares
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return EpochIndex, (int(self), (self.epoch, self.repeat, self.mode), self.spares)


def with_epoch(share: Share, order: Sequence[int], epoch: int) -> Iterator[EpochIndex]:
    """The indexes of a rank in an epoch of that order; the clips that follow each there may take its place."""
    places = share.places(len(order))
    num_spares = min(_MAX_SPARES, len(places) - 1)
    repeats = _repeats(order) if share.mode == "train" else None
    for number, place in enumerate(places):
        spares = tuple(order[places[(number + step) % len(places)] % len(order)] for step in range(1, num_spares + 1))
        turn, at = divmod(place, len(order))
        repeat = turn if repeats is None else repeats[at] + turn * len(order)
        yield EpochIndex(order[at], (epoch, repeat, share.mode), spares)


def _repeats(order: Sequence[int]) -> list[int]:
    """How often each was there before."""
    seen: dict[int, int] = {}
    found = []
    for index in order:
        found.append(seen.get(index, 0))
        seen[index] = found[-1] + 1
    return found
