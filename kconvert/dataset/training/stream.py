"""A stream of whole batches for torch, for slow disks and buckets: clips come in runs, each by one read, ahead of use.

It is a pipeline of webdataset's, so that its stages can follow; `DataLoader(stream(...), batch_size=None)` reads it.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import torch
import webdataset
from torch.utils.data import default_collate, get_worker_info

from kconvert.dataset.reader import ClipData, Clips, open_clips
from kconvert.dataset.training.clip_dataset import ClipDataset
from kconvert.dataset.training.order import EpochIndex, Mode, Share, in_one_piece, in_runs, require_number
from kconvert.dataset.training.ranks import ranks

_MAX_WORKERS = 128
"""Of a DataLoader."""
_KEPT = 8
"""Passes of each worker that are remembered: of two workers one is never more than one behind."""
_NAME_BITS = 31
_MAX_NAME = (1 << _NAME_BITS) - 1
_MAX_PASSES = 1 << 20
_MAX_SERIES = 1 << 10
_NUM_STAGES = 3
"""Of a stream as it is made."""
_Batch = Sequence[EpochIndex]


class Stream(webdataset.DataPipeline, webdataset.FluidInterface):  # type: ignore[misc]
    """Batches of a split, as `stream` makes them. Each pass is the next epoch, from 0 on; pipelines that are made of
    one stream count together."""

    def __init__(self, planner: _Planner, *stages: Callable[[Iterator[Any]], Iterator[Any]]) -> None:
        super().__init__(planner, *stages)
        self.planner = planner

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch."""
        if len(self.pipeline) > _NUM_STAGES:
            raise TypeError("how many samples later stages make is not known; say it by with_length")
        return self.planner.num_batches()

    def set_epoch(self, epoch: int) -> None:
        """The next pass is that epoch. Raises `ValueError` if it is none."""
        self.planner.passes.reset(require_number("epoch", epoch))


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """How a split is streamed, beside what a sample is."""

    collate_fn: Callable[[list[dict[str, Any]]], Any] = default_collate
    """Makes a batch of samples."""
    mode: Mode = "train"
    """What is promised."""
    seed: int = 0
    """Of all that is random; the same on all ranks."""
    shuffle: bool = True
    """Whether the runs of `train` are mixed; the clips of `eval` are in their order."""
    num_replicas: int | None = None
    """How many ranks there are; `None` for what `torch.distributed` says, 1 if it does not."""
    rank: int | None = None
    """Which this is; `None` for what `torch.distributed` says, 0 if it does not."""
    run_length: int = 4
    """How many clips that follow each other in a shard stay together, and are one read."""
    num_ahead: int = 2
    """How many batches each worker reads before they are wanted."""
    consumed: int = 0
    """Samples of the first epoch that this rank's loop has used already."""

    def __post_init__(self) -> None:
        for name in ("run_length", "num_ahead"):
            if require_number(name, getattr(self, name)) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: expected 1 or more")
        require_number("seed", self.seed)
        if not callable(self.collate_fn):
            raise TypeError(f"collate_fn {self.collate_fn}: expected a function of a list of samples")


def stream(folder: str | os.PathLike[str], split: str, batch_size: int, **options: Any) -> Stream:
    """Batches of the clips of a split of a folder, or of a place in an object store: what `ClipDataset` gives of each
    clip, collated. The options are the fields of `StreamOptions` and those of `ClipDataset`.

    `train`: all ranks have equal numbers of whole batches of `batch_size`; what is left over is dropped, other clips in
    each epoch. `eval`: every clip exactly once over all ranks, in their order; counts differ by one at most, a rank may
    have none, and its last batch may be smaller.

    The batches of a rank, and their order, depend on `seed`, the epoch and the number of ranks alone: not on shards or
    workers. An interrupted epoch goes on with `consumed` and `set_epoch`, with any number of workers; later ones are
    whole.

    Raises: `UsageError` as `kconvert.open` does, `ValueError` and `TypeError` for an option that makes no sense.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size}: expected 1 or more")
    own = {field.name for field in fields(StreamOptions)} & set(options)
    asked = StreamOptions(**{name: options.pop(name) for name in own})
    clips = open_clips(folder, split)
    samples = ClipDataset(clips, seed=asked.seed, **options)
    share = Share(asked.mode, *ranks(asked.num_replicas, asked.rank), batch_size)
    is_mixed = asked.shuffle and asked.mode == "train"
    planner = _Planner(clips, share, asked.seed, asked.run_length if is_mixed else None, _Passes(asked.consumed))
    planner.require_within(asked.consumed)
    return Stream(planner, _ReadAhead(clips, asked.num_ahead), _Samples(samples, asked.collate_fn))


class _Passes:
    """Which epoch each pass is, in memory that all workers share: they may be begun anew for each epoch, or stay, or be
    ended before they begin.

    All workers of a pass know it by one number, which is drawn from the seed of their loader and how often they were
    there; the first of them that begins gives it the next epoch, and the others join. What is kept of it is one word,
    written at once, so that no lock is needed.
    """

    def __init__(self, consumed: int) -> None:
        self._series = torch.zeros(1, dtype=torch.int64).share_memory_()
        """How often an epoch was set."""
        self._first = torch.zeros(_MAX_SERIES, 2, dtype=torch.int64).share_memory_()
        """The epoch of the first pass of each series, and how many of its samples are consumed."""
        self._begun = torch.zeros(_MAX_WORKERS + 1, _KEPT, dtype=torch.int64).share_memory_()
        """The last passes that each worker has begun; the last row is of processes that read by themselves."""
        self._first[0, 1] = consumed
        self._own_series = 0
        self._counts: dict[int, int] = {}

    def reset(self, epoch: int) -> None:
        """The next pass is that epoch; what of it is consumed counts if none has begun yet."""
        before = self._own_series
        series = (before + 1) % _MAX_SERIES
        # Of a series as long ago as there are numbers for.
        self._begun[(self._begun >> _NAME_BITS) // _MAX_PASSES == series] = 0
        self._first[series, 0] = epoch
        self._first[series, 1] = 0 if self._begun.any() else self._first[before, 1]
        self._series[0] = self._own_series = series

    def begin(self, loader: int, worker: int | None) -> tuple[int, int]:
        """The epoch of the next pass of a worker, of the loader of that seed, and how many of its samples are consumed;
        `None` for a process that reads by itself.

        Raises: `ValueError` for more workers than can be counted.
        """
        if worker is not None and worker >= _MAX_WORKERS:
            raise ValueError(f"{worker + 1} workers: expected at most {_MAX_WORKERS}")
        # As at one moment: what others write meanwhile is there whole, or not at all.
        begun = self._begun.clone()
        own = self._begun[_MAX_WORKERS if worker is None else worker]
        count = self._counts.get(loader, 0)
        self._counts[loader] = count + 1
        name = self._name(loader, count, own)
        there = begun[begun & _MAX_NAME == name]
        # One that was sent off before an epoch was set, and begins only now, belongs to what was before.
        series = self._own_series if count == 0 else int(self._series[0])
        entry = int(there[0]) if len(there) else (_next_pass(begun, series) << _NAME_BITS) | name
        own[1:] = own[:-1].clone()
        own[0] = entry
        series, number = divmod(entry >> _NAME_BITS, _MAX_PASSES)
        number -= 1
        return int(self._first[series, 0]) + number, 0 if number else int(self._first[series, 1])

    def _name(self, loader: int, count: int, own: torch.Tensor) -> int:
        """What a pass goes by. A worker that was there already in one of that name is of a later loader with the same
        seed."""
        for repeat in range(_KEPT + 1):
            name = zlib.crc32(f"{loader} {count} {repeat}".encode()) & _MAX_NAME
            if count or not bool((own & _MAX_NAME == name).any()):
                break
        return name


def _next_pass(begun: torch.Tensor, series: int) -> int:
    """The number of the next pass of a series, from 1 on, behind that of the series."""
    passes = begun >> _NAME_BITS
    known = passes[(begun > 0) & (passes // _MAX_PASSES == series)]
    return int(known.max()) + 1 if len(known) else series * _MAX_PASSES + 1


@dataclass(eq=False)
class _Planner:
    """Gives a worker the batches that it makes."""

    clips: Clips
    """Of the split."""
    share: Share
    """Of the rank."""
    seed: int
    """Of the order."""
    run_length: int | None
    """Of clips that stay together; `None` for all clips in their order."""
    passes: _Passes
    """Which epoch it is."""

    def num_batches(self) -> int:
        """Those of this rank in a whole epoch."""
        return -(-len(self.share.piece(len(self.clips))) // self.share.multiple_of)

    def require_within(self, consumed: int) -> None:
        """Raises `ValueError` if that is not the end of a batch of this rank's epoch."""
        most = len(self.share.piece(len(self.clips)))
        if consumed not in range(most + 1) or (consumed % self.share.multiple_of and consumed != most):
            raise ValueError(
                f"consumed {consumed}: expected 0 to {most}, the samples of this rank's epoch, and whole batches"
            )

    def __call__(self) -> Iterator[_Batch]:
        info = get_worker_info()
        worker, num_workers = (0, 1) if info is None else (info.id, info.num_workers)
        loader = -1 if info is None else info.seed - info.id
        epoch, consumed = self.passes.begin(loader, None if info is None else worker)
        own = in_one_piece(self.share, self._order(epoch), epoch)
        size = self.share.multiple_of
        for start in range(consumed + worker * size, len(own), num_workers * size):
            yield own[start : start + size]

    def _order(self, epoch: int) -> Sequence[int]:
        if self.run_length is None:
            return range(len(self.clips))
        return in_runs(self.clips.column("shard"), self.run_length, self.seed, epoch)


@dataclass(eq=False)
class _ReadAhead:
    """Reads batches while those before them are decoded."""

    clips: Clips
    """Of the split."""
    num: int
    """How many batches."""

    def __call__(self, batches: Iterable[_Batch]) -> Iterator[tuple[_Batch, dict[int, ClipData]]]:
        reading: deque[tuple[_Batch, Future[dict[int, ClipData]]]] = deque()
        pool = ThreadPoolExecutor(self.num)
        try:
            for batch in batches:
                reading.append((batch, pool.submit(self.clips.together, [int(index) for index in batch])))
                if len(reading) > self.num:
                    first, future = reading.popleft()
                    yield first, future.result()
            while reading:
                first, future = reading.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(eq=False)
class _Samples:
    """Decodes the clips of batches, and collates them."""

    dataset: ClipDataset
    """What a sample is."""
    collate: Callable[[list[dict[str, Any]]], Any]
    """What a batch is."""

    def __call__(self, batches: Iterable[tuple[_Batch, dict[int, ClipData]]]) -> Iterator[Any]:
        for batch, clips in batches:

            def read(index: int, found: Mapping[int, ClipData] = clips) -> ClipData:
                # What was not had together is asked for alone, which tells why.
                return found[index] if index in found else self.dataset.clips[index]

            yield self.collate([self.dataset.sample_of(index, read) for index in batch])
