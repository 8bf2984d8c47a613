"""A stream of whole batches for torch, for slow disks and buckets: clips come in runs, each by one read, ahead of use.

It is a pipeline of webdataset's, so that its stages can follow; `DataLoader(stream(...), batch_size=None)` reads it.
"""

from __future__ import annotations

import os
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
from kconvert.dataset.training.order import EpochIndex, Mode, Share, in_one_piece, in_runs
from kconvert.dataset.training.ranks import ranks

_MAX_WORKERS = 128
"""Of a DataLoader."""
_Batch = Sequence[EpochIndex]


class Stream(webdataset.DataPipeline, webdataset.FluidInterface):  # type: ignore[misc]
    """Batches of a split, as `stream` makes them. Each pass is the next epoch, from 0 on."""

    def __init__(self, planner: _Planner, *stages: Callable[[Iterator[Any]], Iterator[Any]]) -> None:
        super().__init__(planner, *stages)
        self.planner = planner

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch."""
        return self.planner.num_batches()

    def set_epoch(self, epoch: int) -> None:
        """The next pass is that epoch."""
        self.planner.passes.reset(epoch)


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
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: expected 1 or more")


def stream(folder: str | os.PathLike[str], split: str, batch_size: int, **options: Any) -> Stream:
    """Batches of the clips of a split of a folder, or of a place in an object store: what `ClipDataset` gives of each
    clip, collated. The options are the fields of `StreamOptions` and those of `ClipDataset`.

    `train`: all ranks have equal numbers of whole batches of `batch_size`; what is left over is dropped, other clips in
    each epoch. `eval`: every clip exactly once over all ranks, in their order; counts differ by one at most, a rank may
    have none, and its last batch may be smaller.

    The batches of a rank, and their order, depend on `seed`, the epoch and the number of ranks alone: not on shards or
    workers. An interrupted epoch goes on with `consumed` and `set_epoch`, with any number of workers; later ones are
    whole.

    Raises: `UsageError` as `kconvert.open` does, `ValueError` for an option that makes no sense.
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
    """Which epoch each worker is at: in memory that all share, as workers may be begun anew for each epoch, or stay.

    Passes are counted by each worker of each number of workers, so that none depends on how far the others are.
    """

    def __init__(self, consumed: int) -> None:
        self._first = torch.zeros(2, dtype=torch.int64).share_memory_()
        """The epoch of the first pass, and how many of its samples are consumed."""
        self._begun = torch.zeros(_MAX_WORKERS + 1, _MAX_WORKERS, dtype=torch.int64).share_memory_()
        """Passes that were begun, by how many workers there are (none where the process reads by itself) and which."""
        self._first[1] = consumed

    def reset(self, epoch: int) -> None:
        """The next pass is that epoch; what of it is consumed counts if none has begun yet."""
        if self._begun.any():
            self._first[1] = 0
        self._first[0] = epoch
        self._begun.zero_()

    def begin(self, worker: int, num_workers: int) -> tuple[int, int]:
        """The epoch of a worker's next pass, and how many of its samples are consumed; 0 workers where there is none.

        Raises: `ValueError` for more workers than can be counted.
        """
        if num_workers > _MAX_WORKERS:
            raise ValueError(f"{num_workers} workers: expected at most {_MAX_WORKERS}")
        before = self._begun.amax(1)
        number = int(before.sum() - before[num_workers] + self._begun[num_workers, worker])
        self._begun[num_workers, worker] += 1
        return int(self._first[0]) + number, 0 if number else int(self._first[1])


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
        if not 0 <= consumed <= most or (consumed % self.share.multiple_of and consumed != most):
            raise ValueError(
                f"consumed {consumed}: expected 0 to {most}, the samples of this rank's epoch, and whole batches"
            )

    def __call__(self) -> Iterator[_Batch]:
        info = get_worker_info()
        worker, num_workers = (0, 0) if info is None else (info.id, info.num_workers)
        epoch, consumed = self.passes.begin(worker, num_workers)
        own = in_one_piece(self.share, self._order(epoch), epoch)
        size = self.share.multiple_of
        for start in range(consumed + worker * size, len(own), max(1, num_workers) * size):
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
