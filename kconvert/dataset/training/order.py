"""The order of an epoch: which clips each rank sees. It comes from the seed and the epoch alone, before any division by
ranks."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

import numpy

if TYPE_CHECKING:
    from kconvert.dataset.reader import Clips

Mode = Literal["train", "eval"]
_MAX_SPARES = 8
"""Clips that may take the place of one that fails."""


def require_number(name: str, value: int) -> int:
    """The same. Raises `ValueError`, which names it, if it is not a whole number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 0:
        raise ValueError(f"{name} {value}: expected a whole number, 0 or more")
    return value


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
        if self.num_replicas < 1:
            raise ValueError(f"num_replicas {self.num_replicas}: expected 1 or more")
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

    def piece(self, num_clips: int) -> range:
        """Places of the rank that follow each other: as many, but that in evaluation others may have one more."""
        if self.mode == "eval":
            return range(num_clips * self.rank // self.num_replicas, num_clips * (self.rank + 1) // self.num_replicas)
        num = self.num(num_clips)
        return range(self.rank * num, (self.rank + 1) * num)


class Order(Protocol):
    """In which order the clips of a split are in an epoch, for all ranks."""

    @property
    def has_repeats(self) -> bool:
        """Whether clips may be there more than once."""

    def __call__(self, clips: Clips, epoch: int) -> Sequence[int]:
        """Their indexes in that epoch."""


def order_of(mode: Mode, shuffle: bool, is_balanced: bool, seed: int, mixed: Order) -> Order:
    """What is asked for; `mixed` is how clips are mixed if they are. Raises `ValueError` for a seed that is none, and
    for an evaluation in which clips would count more than once."""
    require_number("seed", seed)
    if is_balanced and mode == "eval":
        raise ValueError("balanced: expected mode train; in evaluation every clip counts once")
    if is_balanced:
        return Balanced(seed)
    return mixed if shuffle and mode == "train" else AsStored()


@dataclass(frozen=True)
class AsStored:
    """The order of the folder, in each epoch."""

    has_repeats = False

    def __call__(self, clips: Clips, epoch: int) -> Sequence[int]:
        """All of them."""
        return range(len(clips))


@dataclass(frozen=True)
class Permuted:
    """As `permutation`."""

    seed: int
    """Of the order."""
    has_repeats = False

    def __call__(self, clips: Clips, epoch: int) -> Sequence[int]:
        """All of them."""
        return permutation(len(clips), self.seed, epoch)


@dataclass(frozen=True)
class InRuns:
    """As `in_runs`."""

    seed: int
    """Of the order."""
    length: int
    """Of a run, in clips."""
    has_repeats = False

    def __call__(self, clips: Clips, epoch: int) -> Sequence[int]:
        """All of them."""
        return in_runs(clips.column("shard"), self.length, self.seed, epoch)


@dataclass(frozen=True)
class Balanced:
    """As `balanced`."""

    seed: int
    """Of the order."""
    has_repeats = True

    def __call__(self, clips: Clips, epoch: int) -> Sequence[int]:
        """As many as there are, some of them more than once."""
        return balanced(clips.targets, self.seed, epoch)


def permutation(num_clips: int, seed: int, epoch: int) -> list[int]:
    """All clips, in another order in each epoch."""
    found: list[int] = numpy.random.default_rng([seed, epoch]).permutation(num_clips).tolist()
    return found


def in_runs(shards: Sequence[str], length: int, seed: int, epoch: int) -> list[int]:
    """All clips, given by the shards that they are in, in runs of `length` that follow each other in a shard. The runs
    are mixed; where they begin, and so which clips are in one, is another place in each epoch."""
    generator = numpy.random.default_rng([seed, epoch])
    _, own = numpy.unique(numpy.asarray(shards, dtype=object).astype(str), return_inverse=True)
    indexes = numpy.arange(len(own))
    is_first = numpy.diff(own, prepend=-1) != 0
    within = indexes - numpy.maximum.accumulate(numpy.where(is_first, indexes, 0))
    run = (within + generator.integers(length)) // length
    starts = numpy.flatnonzero(is_first | (numpy.diff(run, prepend=-1) != 0))
    lengths = numpy.diff(starts, append=len(own))
    mixed = generator.permutation(len(starts))
    starts, lengths = starts[mixed], lengths[mixed]
    ends = numpy.cumsum(lengths)
    found: list[int] = (numpy.repeat(starts - ends + lengths, lengths) + indexes).tolist()
    return found


def balanced(targets: Sequence[int], seed: int, epoch: int) -> list[int]:
    """As many clips as there are, drawn with repetition, so that each class is as likely as any other; none without a
    label, unless all are."""
    labels: numpy.ndarray[Any, Any] = numpy.asarray(targets)
    generator = numpy.random.default_rng([seed, epoch])
    order = numpy.argsort(labels, kind="stable")
    if labels.size and labels.max() >= 0:
        order = order[labels[order] >= 0]
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


@dataclass(frozen=True)
class RankEpoch(Sequence[EpochIndex]):
    """What a rank sees in an epoch, in order."""

    order: Sequence[int]
    """Of the epoch, for all ranks."""
    epoch: int
    """From 0."""
    mode: Mode
    """What is promised."""
    places: range
    """Those of the rank in the order, which begins again where it ends."""
    repeats: Sequence[int] | None = None
    """How often the clip of each place was there before; `None` where each is there once."""

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, number: int) -> EpochIndex: ...

    @overload
    def __getitem__(self, number: slice) -> list[EpochIndex]: ...

    def __getitem__(self, number: int | slice) -> EpochIndex | list[EpochIndex]:
        if isinstance(number, slice):
            return [self._at(one) for one in range(len(self))[number]]
        return self._at(range(len(self))[number])

    def _at(self, number: int) -> EpochIndex:
        """The index, with the clips that follow it, which may take its place."""
        num, places, order = len(self.order), self.places, self.order
        turn, at = divmod(places[number], num)
        steps = range(1, min(_MAX_SPARES, len(places) - 1) + 1)
        spares = [order[places[(number + step) % len(places)] % num] for step in steps]
        # A rank that has few of its own would die of one that does not decode, and the others wait for it.
        following = (order[(at + step) % num] for step in range(1, min(_MAX_SPARES, num - 1) + 1))
        spares += [index for index in following if index not in spares][: _MAX_SPARES - len(spares)]
        repeat = turn if self.repeats is None else self.repeats[at] + turn * num
        return EpochIndex(order[at], (self.epoch, repeat, self.mode), tuple(spares))


def with_epoch(share: Share, order: Sequence[int], epoch: int, has_repeats: bool = False) -> RankEpoch:
    """What a rank sees of an epoch of that order, in which clips may be there more than once."""
    return RankEpoch(order, epoch, share.mode, share.places(len(order)), _repeats(order) if has_repeats else None)


def in_one_piece(share: Share, order: Sequence[int], epoch: int, has_repeats: bool = False) -> RankEpoch:
    """The same, but a rank has clips that follow each other in that order."""
    return RankEpoch(order, epoch, share.mode, share.piece(len(order)), _repeats(order) if has_repeats else None)


def _repeats(order: Sequence[int]) -> list[int]:
    """How often each was there before."""
    seen: dict[int, int] = {}
    found = []
    for index in order:
        found.append(seen.get(index, 0))
        seen[index] = found[-1] + 1
    return found
