"""A stream of whole batches for torch, for slow disks and buckets: clips come in runs, each by one read, ahead of use.

It is a pipeline of webdataset's, so that its stages can follow; `DataLoader(stream(...), batch_size=None)` reads it.
"""

from __future__ import annotations

import copy
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import webdataset
from torch.utils.data import default_collate

from kconvert.dataset.reader import ClipData, Clips, open_clips
from kconvert.dataset.training.clip_dataset import ClipDataset
from kconvert.dataset.training.order import InRuns, Mode, Share, order_of, require_number
from kconvert.dataset.training.passes import Passes
from kconvert.dataset.training.planner import Batch, Place, Planner
from kconvert.dataset.training.ranks import ranks

_NUM_STAGES = 3
"""Of a stream as it is made."""


class Stream(webdataset.DataPipeline, webdataset.FluidInterface):  # type: ignore[misc]
    """Batches of a split, as `stream` makes them. Each pass is the next epoch, from 0 on; pipelines that are made of
    one stream count together."""

    def __init__(self, planner: Planner, *stages: Callable[[Iterator[Any]], Iterator[Any]]) -> None:
        super().__init__(planner, *stages)
        self.planner = planner

    def __iter__(self) -> _Pass:
        return _Pass(self)

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch."""
        if not self.is_plain:
            raise TypeError("how many samples later stages make is not known; say it by with_length")
        return self.planner.num_batches()

    @property
    def is_plain(self) -> bool:
        """Whether it gives the batches of one epoch, as they are."""
        return len(self.pipeline) == _NUM_STAGES and self.repetitions == 1

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
    balanced: bool = False
    """Whether classes are equally likely, with repetition. Each clip is a read of its own then."""
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
    workers. An interrupted epoch goes on with `consumed` and `set_epoch`, with any number of workers, or by the state
    of torchdata's StatefulDataLoader, with as many; later ones are whole.

    Raises: `UsageError` as `kconvert.open` does, `ValueError` and `TypeError` for an option that makes no sense.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size}: expected 1 or more")
    known = {field.name for field in fields(StreamOptions)} & set(options)
    asked = StreamOptions(**{name: options.pop(name) for name in known})
    clips = open_clips(folder, split)
    samples = ClipDataset(clips, seed=asked.seed, **options)
    share = Share(asked.mode, *ranks(asked.num_replicas, asked.rank), batch_size)
    order = order_of(asked.mode, asked.shuffle, asked.balanced, asked.seed, InRuns(asked.seed, asked.run_length))
    planner = Planner(clips, share, order, Passes(asked.consumed))
    planner.require_within(asked.consumed)
    return Stream(planner, _ReadAhead(clips, asked.num_ahead), _Samples(samples, asked.collate_fn))


class _Start:
    """The first stage of one pass: its batches, from a place that is known before; those of the next epoch where it is
    asked again, as by a pipeline that repeats."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self.place: Place | None = None

    def begun(self) -> Place:
        """Where it begins."""
        if self.place is None:
            self.place = self._planner.begin()
        return self.place

    def __call__(self) -> Iterator[Batch]:
        place, self.place = self.begun(), None
        return self._planner.batches(place)


class _Pass(Iterator[Any]):
    """One pass of a stream by one worker."""

    def __init__(self, stream: Stream) -> None:
        self._planner = stream.planner
        self._is_plain = stream.is_plain
        self._start = _Start(stream.planner)
        self._begun: Place | None = None
        self._num_given = 0
        self._num_passed_over = 0
        own = copy.copy(stream)
        own.pipeline = [self._start, *stream.pipeline[1:]]
        self._made = webdataset.DataPipeline.__iter__(own)

    def __next__(self) -> Any:
        self._begin()
        while self._num_given < self._num_passed_over:
            next(self._made)
            self._num_given += 1
        found = next(self._made)
        self._num_given += 1
        return found

    def _begin(self) -> Place:
        if self._begun is None:
            self._begun = self._start.begun()
        return self._begun

    def state_dict(self) -> dict[str, int]:
        """For torchdata's StatefulDataLoader: the epoch, where in it this worker's next batch begins, and what is to be
        passed over from there on. A pass whose state was asked for has begun.

        What later stages make of batches is nothing that can be begun in the middle: where there are any, it is made
        again from the beginning, and passed over.
        """
        begun, num = self._begin(), max(self._num_given, self._num_passed_over)
        start, given = (begun.start + num * begun.step, 0) if self._is_plain else (begun.start, num)
        return {"epoch": begun.epoch, "start": start, "given": given, "batch_size": self._planner.share.multiple_of}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes on there. Raises `ValueError` for what is no state of such a pass, or if this one has begun."""
        if self._begun is not None:
            raise ValueError("a state is loaded before the first batch of a pass, or its own state, is asked for")
        epoch, start, given, size = (
            require_number(f"state: {name}", state.get(name, -1)) for name in ("epoch", "start", "given", "batch_size")
        )
        self._planner.require_place(start, size)
        self._start.place = self._planner.begin(epoch, start)
        self._num_passed_over = given


@dataclass(eq=False)
class _ReadAhead:
    """Reads batches while those before them are decoded."""

    clips: Clips
    """Of the split."""
    num: int
    """How many batches."""

    def __call__(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, dict[int, ClipData]]]:
        reading: deque[tuple[Batch, Future[dict[int, ClipData]]]] = deque()
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

    def __call__(self, batches: Iterable[tuple[Batch, dict[int, ClipData]]]) -> Iterator[Any]:
        for batch, clips in batches:

            def read(index: int, found: Mapping[int, ClipData] = clips) -> ClipData:
                # What was not had together is asked for alone, which tells why.
                return found[index] if index in found else self.dataset.clips[index]

            yield self.collate([self.dataset.sample_of(index, read) for index in batch])
