"""A sampler for torch's DataLoader: the clips of each epoch, shared out over ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Sampler

from kconvert.dataset.reader import Clips
from kconvert.dataset.training.order import EpochIndex, Mode, Permuted, Share, order_of, require_number, with_epoch
from kconvert.dataset.training.ranks import ranks


@dataclass(eq=False)
class ClipSampler(Sampler[int]):  # type: ignore[misc]
    """The indexes of a rank's clips in each epoch; another order in each, the same for the same seed.

    `train`: all ranks have equal numbers, a multiple of `multiple_of`; what is left over is dropped, other clips in
    each epoch. `eval`: every clip exactly once over all ranks; counts differ by one at most, and a rank may have none.

    Each pass is the next epoch, from 0 on; `set_epoch` says otherwise. An interrupted epoch goes on with `set_epoch`
    and `consumed`, the samples that this rank's loop has used, or with `load_state_dict`; the epochs after it are
    whole.
    """

    clips: Clips
    """Of a split."""
    mode: Mode = "train"
    """What is promised."""
    num_replicas: int | None = None
    """How many ranks there are; `None` for what `torch.distributed` says, 1 if it does not."""
    rank: int | None = None
    """Which this is; `None` for what `torch.distributed` says, 0 if it does not."""
    seed: int = 0
    """Of the order; the same on all ranks."""
    shuffle: bool = True
    """Whether the clips of `train` are mixed; those of `eval` are in their order."""
    balanced: bool = False
    """Whether classes are equally likely, with repetition."""
    multiple_of: int = 1
    """Clips of a batch, times the batches whose gradients are added."""
    consumed: int = 0
    """Samples of the first epoch that this rank's loop has used already."""

    def __post_init__(self) -> None:
        self._share = Share(self.mode, *ranks(self.num_replicas, self.rank), self.multiple_of)
        self._order = order_of(self.mode, self.shuffle, self.balanced, self.seed, Permuted(self.seed))
        self._next = _Next(0, self._checked(self.consumed))
        self._at = (0, self.consumed)

    def set_epoch(self, epoch: int) -> None:
        """The next pass is that epoch. Raises `ValueError` if it is none."""
        self._next.epoch = require_number("epoch", epoch)
        self._at = (epoch, self._next.consumed)

    def __len__(self) -> int:
        """Samples of this rank in the next pass."""
        return max(0, self._share.num(len(self.clips)) - self._next.consumed)

    def __iter__(self) -> Iterator[EpochIndex]:
        return _Pass(self._next, self._epoch, self._reached)

    def _reached(self, epoch: int, consumed: int) -> None:
        """Takes in how far the pass is that is under way."""
        self._at = (epoch, consumed)

    def _epoch(self, epoch: int) -> Sequence[EpochIndex]:
        return with_epoch(self._share, self._order(self.clips, epoch), epoch, self._order.has_repeats)

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its samples were given out: of a loader that knows what of them was used, as
        torchdata's StatefulDataLoader. Else give `consumed`."""
        return {"epoch": self._at[0], "consumed": self._at[1]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next pass goes on there. Raises `ValueError` for what is no state of such a sampler."""
        consumed = self._checked(state["consumed"])
        self.set_epoch(state["epoch"])
        self._next.consumed = consumed
        self._at = (state["epoch"], consumed)

    def _checked(self, consumed: int) -> int:
        most = self._share.num(len(self.clips))
        if consumed not in range(most + 1):
            raise ValueError(f"consumed {consumed}: expected 0 to {most}, the samples of this rank's epoch")
        return consumed


@dataclass
class _Next:
    """What the next pass is."""

    epoch: int
    """From 0."""
    consumed: int
    """Samples of it that were used already."""


class _Pass(Iterator[EpochIndex]):
    """One pass. It begins with its first index: loaders make passes that they throw away."""

    def __init__(
        self, following: _Next, epoch: Callable[[int], Sequence[EpochIndex]], reached: Callable[[int, int], None]
    ) -> None:
        self._following = following
        self._epoch = epoch
        self._reached = reached
        self._order: Sequence[EpochIndex] = ()
        self._at: _Next | None = None

    def __next__(self) -> EpochIndex:
        at = self._at or self._begin(self._following.epoch, self._following.consumed)
        if at.consumed >= len(self._order):
            self._reached(at.epoch + 1, 0)
            raise StopIteration
        at.consumed += 1
        self._reached(at.epoch, at.consumed)
        return self._order[at.consumed - 1]

    def _begin(self, epoch: int, consumed: int) -> _Next:
        self._order = self._epoch(epoch)
        self._at = _Next(epoch, consumed)
        self._following.epoch, self._following.consumed = epoch + 1, 0
        self._reached(epoch, consumed)
        return self._at

    def state_dict(self) -> dict[str, int]:
        """For torchdata's StatefulDataLoader: of a pass that is over, unlike the sampler's, where it ended."""
        at = self._at or self._following
        return {"epoch": at.epoch, "consumed": at.consumed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on there."""
        self._begin(state["epoch"], state["consumed"])
