"""Which epoch each pass of a stream is, for all workers of a DataLoader."""

from __future__ import annotations

import multiprocessing
import os
import re
import zlib

import torch
from torch.utils.data import get_worker_info

MAX_WORKERS = 128
"""Of a DataLoader."""
_KEPT = 8
"""Passes of each worker that are remembered: of two workers one is never more than one behind."""
_NAME_BITS = 31
_MAX_NAME = (1 << _NAME_BITS) - 1
_MAX_PASSES = 1 << 20
_MAX_SERIES = 1 << 10


class Passes:
    """Which epoch each pass is, in memory that all workers share: they may be begun anew for each epoch, or stay, or be
    ended before they begin.

    All workers of a pass know it by one name; the first of them that begins gives it the next epoch, and the others
    join. What is kept of it is an epoch, and then one word, written at once, so that no lock is needed.
    """

    def __init__(self, consumed: int) -> None:
        self._series = torch.zeros(1, dtype=torch.int64).share_memory_()
        """How often an epoch was set."""
        self._first = torch.zeros(_MAX_SERIES, 2, dtype=torch.int64).share_memory_()
        """The epoch of the first pass of each series, and how many of its samples are consumed."""
        self._begun = torch.zeros(MAX_WORKERS + 1, _KEPT, dtype=torch.int64).share_memory_()
        """The last passes that each worker has begun, in turn: the number of the pass, and its name; the last row is of
        processes that read by themselves."""
        self._epochs = torch.zeros(MAX_WORKERS + 1, _KEPT, dtype=torch.int64).share_memory_()
        """Their epochs."""
        self._num_begun = torch.zeros(MAX_WORKERS + 1, dtype=torch.int64).share_memory_()
        """How many each worker has begun."""
        self._first[0, 1] = consumed
        self._own_series = 0
        self._counts: dict[str, int] = {}

    def reset(self, epoch: int) -> None:
        """The next pass is that epoch; what of it is consumed counts if none has begun yet."""
        before = self._own_series
        series = (before + 1) % _MAX_SERIES
        # Of a series as long ago as there are numbers for.
        self._begun[(self._begun >> _NAME_BITS) // _MAX_PASSES == series] = 0
        self._first[series, 0] = epoch
        self._first[series, 1] = 0 if self._begun.any() else self._first[before, 1]
        self._series[0] = self._own_series = series

    def begin(self, epoch: int | None = None) -> tuple[int, int]:
        """The epoch of the next pass of this worker, or process, and how many of its samples are consumed. If an epoch
        is given, as all workers of a pass do then, it is that one, and those after it follow it.

        Raises: `ValueError` for more workers than can be counted.
        """
        info = get_worker_info()
        if info is not None and info.id >= MAX_WORKERS:
            raise ValueError(f"{info.id + 1} workers: expected at most {MAX_WORKERS}")
        loader = _loader()
        count = self._counts.get(loader, 0)
        self._counts[loader] = count + 1
        name = zlib.crc32(f"{loader} {count}".encode()) & _MAX_NAME
        # One that was sent off before an epoch was set, and begins only now, belongs to what was before.
        number, following = self._place(name, self._own_series if count == 0 else int(self._series[0]))
        series, index = divmod(number, _MAX_PASSES)
        consumed = int(self._first[series, 1]) if index == 1 and epoch is None else 0
        epoch = following if epoch is None else epoch
        row = MAX_WORKERS if info is None else info.id
        slot = int(self._num_begun[row]) % _KEPT
        self._num_begun[row] += 1
        self._epochs[row, slot] = epoch
        # Whoever sees this sees the epoch.
        self._begun[row, slot] = (number << _NAME_BITS) | name
        return epoch, consumed

    def _place(self, name: int, series: int) -> tuple[int, int]:
        """The number of the pass of that name, and its epoch: as another worker has begun it, or the next of the
        series."""
        # As at one moment: what others write meanwhile is there whole, or not at all.
        begun = self._begun.flatten().tolist()
        own = [at for at, word in enumerate(begun) if word and word & _MAX_NAME == name]
        if own:
            return begun[own[0]] >> _NAME_BITS, int(self._epochs.flatten()[own[0]])
        known = [at for at, word in enumerate(begun) if word and (word >> _NAME_BITS) // _MAX_PASSES == series]
        if not known:
            return series * _MAX_PASSES + 1, int(self._first[series, 0])
        last = max(known, key=begun.__getitem__)
        return (begun[last] >> _NAME_BITS) + 1, int(self._epochs.flatten()[last]) + 1


def _loader() -> str:
    """What this process has in common with the other workers of its loader, and with nobody else: loaders start their
    workers one after the other, and the processes of a parent are numbered."""
    info, parent = get_worker_info(), multiprocessing.parent_process()
    if info is None:
        return ""
    number = re.search(r"\d+$", multiprocessing.current_process().name)
    first = info.seed if number is None else int(number[0])
    return f"{os.getpid() if parent is None else parent.pid} {first - info.id}"
