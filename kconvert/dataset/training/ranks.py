"""Ranks: how many processes train together, and which of them this is."""

from __future__ import annotations

import torch


def ranks(num_replicas: int | None, rank: int | None) -> tuple[int, int]:
    """How many ranks there are, and which this is; `None` for what `torch.distributed` says, 1 and 0 if it does not."""
    num, own = 1, 0
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        num, own = torch.distributed.get_world_size(), torch.distributed.get_rank()
    return num if num_replicas is None else num_replicas, own if rank is None else rank
