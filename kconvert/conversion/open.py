"""Opening a strategy by what is asked for."""

from __future__ import annotations

from kconvert.conversion.cutting import ShardOptions
from kconvert.conversion.mirror import Mirror
from kconvert.conversion.repack import Repack
from kconvert.conversion.shuffle import ShuffleOptions
from kconvert.conversion.strategy import Strategy
from kconvert.dataset.formats.open import open_format


def open_strategy(to: str, shuffle: ShuffleOptions, shard: ShardOptions) -> Strategy:
    """The strategy that gives what `--to` names; options that it has no use for are left aside."""
    return Mirror() if to == "archives" else Repack(open_format(to), shuffle, shard)
