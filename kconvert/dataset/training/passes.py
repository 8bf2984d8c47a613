"""Which epoch each pass of a stream is, for all workers of a DataLoader."""

from __future__ import annotations

import zlib

import torch

_MAX_WORKERS = 128
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

    def begin(self, loader: int, worker: int | None, epoch: int | None = None) -> tuple[int, int]:
        """The epoch of the next pass of a worker, of the loader of that seed, and how many of its samples are consumed;
        no worker is a process that reads by itself. If an epoch is given, as all workers of a pass do then, it is that
        one, and those after it follow it.

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
        if epoch is not None:
            self._first[series, 0] = epoch - number
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
