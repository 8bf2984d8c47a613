"""Planning: which batches of a pass each worker of a rank makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch.utils.data import get_worker_info

from kconvert.dataset.reader import Clips
from kconvert.dataset.training.order import EpochIndex, Order, Share, in_one_piece
from kconvert.dataset.training.passes import MAX_WORKERS, Passes

Batch = Sequence[EpochIndex]
"""Which clips are in it."""


@dataclass(frozen=True)
class Place:
    """How far a worker is in a pass."""

    epoch: int
    """From 0."""
    start: int
    """Of this worker's next batch, in samples of the rank's epoch."""
    step: int
    """From one batch of this worker to its next, in samples."""


@dataclass(eq=False)
class Planner:
    """Gives a worker the batches that it makes."""

    clips: Clips
    """Of the split."""
    share: Share
    """Of the rank."""
    order: Order
    """Of each epoch."""
    passes: Passes
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

    def require_place(self, start: int, batch_size: int) -> None:
        """Raises `ValueError` if no batch of a worker begins there, or batches are of another size."""
        size, num = self.share.multiple_of, len(self.share.piece(len(self.clips)))
        if batch_size != size:
            raise ValueError(f"state: of batches of {batch_size}: expected those of {size}")
        if start > num + MAX_WORKERS * size or (start % size and start < num):
            raise ValueError(f"state: start {start}: expected where a batch begins")

    def __call__(self) -> Iterator[Batch]:
        return self.batches(self.begin())

    def begin(self, epoch: int | None = None, start: int = 0) -> Place:
        """Begins the next pass of this worker. If an epoch is given, it is that one, and the next batch of this worker
        begins at `start` of it."""
        info = get_worker_info()
        worker, num_workers = (0, 1) if info is None else (info.id, info.num_workers)
        size = self.share.multiple_of
        begun, consumed = self.passes.begin(epoch)
        return Place(begun, consumed + worker * size if epoch is None else start, num_workers * size)

    def batches(self, place: Place) -> Iterator[Batch]:
        """Those of this worker from there on."""
        own = in_one_piece(self.share, self.order(self.clips, place.epoch), place.epoch, self.order.has_repeats)
        for start in range(place.start, len(own), place.step):
            yield own[start : start + self.share.multiple_of]
