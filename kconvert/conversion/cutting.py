"""Cutting: which of the shuffled clips of a split come into the same shard.

A shard is cut where the next sample might not fit, by a bound that is known without writing it, or so that there are as
many shards as were asked for: the plan of all shards depends on nothing but the clips.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from kconvert.dataset.formats.format import Format
from kconvert.errors import UsageError
from kconvert.units import ByteSize

_MAX_BYTES = ByteSize(10**9)
_MAX_SAMPLES = 10_000

SampleSize = tuple[int, Sequence[int]]
"""Of the video of a sample, and of each of its further annotations, in bytes."""


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
class Cut:
    """A planned shard."""

    number: int
    """In its split, from 0."""
    start: int
    """Where its samples begin among all that are cut."""
    stop: int
    """Behind the last of them; there is one at least."""


def cut(
    sizes: Iterable[SampleSize], num_samples: int, options: ShardOptions, layout: Format, first_number: int
) -> Iterator[Cut]:
    """Cuts so many samples of these sizes into shards; none is empty. Where there is to be a number of shards, they are
    all samples of the split.

    Raises: `UsageError` if a shard would be larger than its format can be.
    """
    if options.num_shards is not None:
        return _cut_evenly(sizes, num_samples, options.num_shards, layout)
    return _cut_by_size(sizes, options, layout, first_number)


def _cut_by_size(
    sizes: Iterable[SampleSize], options: ShardOptions, layout: Format, first_number: int
) -> Iterator[Cut]:
    limit = options.max_bytes - layout.overhead_bytes
    start = stop = size = 0
    for video_bytes, annotation_bytes in sizes:
        sample_bytes = layout.max_sample_bytes(video_bytes, annotation_bytes)
        if stop > start and (size + sample_bytes > limit or stop - start == options.max_samples):
            yield Cut(first_number, start, stop)
            first_number, start, size = first_number + 1, stop, 0
        stop += 1
        size += sample_bytes
    if stop > start:
        yield Cut(first_number, start, stop)


def _cut_evenly(sizes: Iterable[SampleSize], num_samples: int, num_shards: int, layout: Format) -> Iterator[Cut]:
    left = iter(sizes)
    for number in range(num_shards):
        start, stop = num_samples * number // num_shards, num_samples * (number + 1) // num_shards
        size = sum(layout.max_sample_bytes(*sample) for sample in islice(left, stop - start))
        layout.require_shards_of(size + layout.overhead_bytes, f"--shard.num_shards {num_shards}: shard {number} of")
        yield Cut(number, start, stop)
