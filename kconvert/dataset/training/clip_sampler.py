"""A sampler for torch's DataLoader: the clips of each epoch, shared out over ranks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch.utils.data import Sampler

from kconvert.dataset.reader import Clips
from kconvert.dataset.training.order import EpochIndex, Mode, Share, balanced, permutation, with_epoch
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
    _next_epoch: int = field(default=0, init=False)
    """Of the next pass."""
    _at: tuple[int, int] = field(default=(0, 0), init=False)
    """The epoch of this pass, and how many of it were given out."""

    def __post_init__(self) -> None:
        self._share = Share(self.mode, *ranks(self.num_replicas, self.rank), self.multiple_of)
        self._at = (0, self.consumed)
        self._require_within()
        if self.balanced and self.mode == "eval":
            raise ValueError("balanced: expected mode train; in evaluation every clip counts once")

    def set_epoch(self, epoch: int) -> None:
        """The next pass is that epoch."""
        self._next_epoch = epoch
        self._at = (epoch, self.consumed)

    def __len__(self) -> int:
        """Samples of this rank in the next pass."""
        return max(0, self._share.num(len(self.clips)) - self.consumed)

    def __iter__(self) -> Iterator[EpochIndex]:
        epoch, start = self._next_epoch, self.consumed
        self._next_epoch, self.consumed = epoch + 1, 0
        self._at = (epoch, start)
        for number, index in enumerate(itertools.islice(self._epoch(epoch), start, None), start + 1):
            self._at = (epoch, number)
            yield index
        self._at = (epoch + 1, 0)

    def _epoch(self, epoch: int) -> Sequence[EpochIndex]:
        num = len(self.clips)
        if self.mode == "eval" or not (self.shuffle or self.balanced):
            order = list(range(num))
        elif self.balanced:
            order = balanced(self.clips.targets, self.seed, epoch)
        else:
            order = permutation(num, self.seed, epoch)
        return with_epoch(self._share, order, epoch, has_repeats=self.balanced)

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its samples were given out: of a loader that knows what of them was used, as
        torchdata's StatefulDataLoader. Else give `consumed`."""
        return {"epoch": self._at[0], "consumed": self._at[1]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next pass goes on there."""
        self.consumed = state["consumed"]
        self._require_within()
        self.set_epoch(state["epoch"])

    def _require_within(self) -> None:
        most = self._share.num(len(self.clips))
        if not 0 <= self.consumed <= most:
            raise ValueError(f"consumed {self.consumed}: expected 0 to {most}, the samples of this rank's epoch")
