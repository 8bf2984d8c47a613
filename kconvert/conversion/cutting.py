"""Cutting: which of the shuffled clips of a split come into the same shard.

A shard is cut where the next sample might not fit, by a bound that is known without writing it, or so that there are as
many shards as were asked for: the plan of all shards depends on nothing but the clips.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from kconvert.dataset.formats.format import Format
from kconvert.errors import UsageError
from kconvert.units import ByteSize

_MAX_BYTES = ByteSize(10**9)
_MAX_SAMPLES = 10_000

Item = TypeVar("Item")
Sized = tuple[Item, int, Sequence[int]]
"""What is cut, with the sizes of its video and of its further annotations in bytes."""


@dataclass(frozen=True)
class ShardOptions:
    """How large shards are."""

    max_bytes: ByteSize = _MAX_BYTES
    """A shard is at most this large, unless a single clip is larger; also with kB, MB, GB, KiB, MiB or GiB."""
    max_samples: int = _MAX_SAMPLES
    """A shard has at most this many clips."""
    num_shards: int | None = None
    """How many shards each split has, equal within one clip, instead of both. Default: as many as it takes."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ValueError(f"--shard.max_bytes {self.max_bytes}: expected 1 or more")
        if self.max_samples < 1:
            raise ValueError(f"--shard.max_samples {self.max_samples}: expected 1 or more")
        if self.num_shards is None:
            return
        if self.num_shards < 1:
            raise ValueError(f"--shard.num_shards {self.num_shards}: expected 1 or more")
        for name, usual in (("max_bytes", _MAX_BYTES), ("max_samples", _MAX_SAMPLES)):
            if getattr(self, name) != usual:
                raise ValueError(f"--shard.{name}: would be ignored with --shard.num_shards; leave out one of both")

    def identity(self) -> dict[str, int]:
        """All that changes bytes."""
        if self.num_shards is not None:
            return {"num_shards": self.num_shards}
        return {"max_bytes": int(self.max_bytes), "max_samples": self.max_samples}

    def require_enough(self, split: str, num_clips: int) -> None:
        """Raises `UsageError` if a split has fewer clips than it is to have shards."""
        if self.num_shards is not None and num_clips < self.num_shards:
            raise UsageError(
                f"--shard.num_shards {self.num_shards}: the split {split} has {num_clips:,} clips to write; expected "
                f"1 to {num_clips:,}, or leave out the split with --split"
            )


@dataclass(frozen=True)
class Cut(Generic[Item]):
    """A planned shard."""

    number: int
    """In its split, from 0."""
    items: tuple[Item, ...]
    """In their order; one at least."""


def cut(items: Iterable[Sized[Item]], options: ShardOptions, layout: Format, first_number: int) -> Iterator[Cut[Item]]:
    """Cuts items into shards; none is empty. Where there is to be a number of them, all items of the split are given.

    Raises: `UsageError` if a shard would be larger than its format can be.
    """
    if options.num_shards is not None:
        return _cut_evenly(list(items), options.num_shards, layout)
    return _cut_by_size(items, options, layout, first_number)


def _cut_by_size(
    items: Iterable[Sized[Item]], options: ShardOptions, layout: Format, first_number: int
) -> Iterator[Cut[Item]]:
    pending: list[Item] = []
    limit = options.max_bytes - layout.overhead_bytes
    size = 0
    for item, video_bytes, annotation_bytes in items:
        item_bytes = layout.max_sample_bytes(video_bytes, annotation_bytes)
        if pending and (size + item_bytes > limit or len(pending) == options.max_samples):
            yield Cut(first_number, tuple(pending))
            first_number, pending, size = first_number + 1, [], 0
        pending.append(item)
        size += item_bytes
    if pending:
        yield Cut(first_number, tuple(pending))


def _cut_evenly(items: Sequence[Sized[Item]], num_shards: int, layout: Format) -> Iterator[Cut[Item]]:
    for number in range(num_shards):
        start, end = len(items) * number // num_shards, len(items) * (number + 1) // num_shards
        size = sum(layout.max_sample_bytes(video, annotations) for _, video, annotations in items[start:end])
        layout.require_shards_of(size + layout.overhead_bytes, f"--shard.num_shards {num_shards}: shard {number} of")
        yield Cut(number, tuple(item for item, _, _ in items[start:end]))
