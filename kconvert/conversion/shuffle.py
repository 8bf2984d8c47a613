"""Shuffling: which clips stand in which shard and in which order.

Clips are ordered by a keyed hash of their names (BLAKE2b, RFC 7693), so that the order depends on the seed and the
names only: not on the order in which they were read, nor on any library's random numbers. A window of N archives,
themselves in seeded order, is mixed at a time; window 0 mixes a whole split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ShuffleOptions:
    """How clips are mixed before they are cut into shards."""

    window: int = 0
    """How many archives are mixed, and staged, at a time; 0 mixes and stages a whole split."""
    seed: int = 0
    """Any whole number; another one gives another order."""

    def __post_init__(self) -> None:
        if self.window < 0:
            raise ValueError(f"--shuffle.window {self.window}: expected 0 (a whole split) or a number of archives")


def windows(archives: Sequence[str], options: ShuffleOptions, split: str) -> list[tuple[str, ...]]:
    """The archives of each window, of which there is at least one; within it they stand in the path list's order."""
    if options.window == 0 or options.window >= len(archives):
        return [tuple(archives)]
    rank = {name: number for number, name in enumerate(archives)}
    mixed = sorted(archives, key=lambda name: draw(options.seed, split, name))
    groups = [mixed[start : start + options.window] for start in range(0, len(mixed), options.window)]
    return [tuple(sorted(group, key=lambda name: rank[name])) for group in groups]


def draw(seed: int, split: str, name: str) -> bytes:
    """What a clip, or an archive, is ordered by."""
    return hashlib.blake2b(f"{seed}\n{split}\n{name}".encode(), digest_size=16).digest()
